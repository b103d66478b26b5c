package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"gpumedic/incident"
)

// logServer answers the log calls of the real client, as an API server does.
type logServer struct {
	t testing.TB
	// logs by "pod/container" and "pod/container/previous"; what is missing is
	// answered as the kubelet does.
	logs map[string]func(io.Writer) error

	mu    sync.Mutex
	asked []string
}

func saying(text ...string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(text, "\n")+"\n")
		return err
	}
}

func (s *logServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) != 8 || parts[7] != "log" || r.URL.Query().Get("timestamps") != "true" || r.URL.Query().Get("follow") != "" {
		s.t.Errorf("unexpected call %s", r.URL)
	}
	key := parts[6] + "/" + r.URL.Query().Get("container")
	if r.URL.Query().Get("previous") == "true" {
		key += "/previous"
	}
	s.mu.Lock()
	s.asked = append(s.asked, key)
	s.mu.Unlock()
	write := s.logs[key]
	if write == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"pods %q not found","code":404}`, parts[6])
		return
	}
	if err := write(w); err != nil {
		panic(http.ErrAbortHandler) // the connection breaks off
	}
}

// kubeWithLogs sends log calls to a real client and the rest to the fakes.
type kubeWithLogs struct {
	kubernetes.Interface
	logs kubernetes.Interface
}

type coreWithLogs struct {
	typedcore.CoreV1Interface
	logs typedcore.CoreV1Interface
}

type podsWithLogs struct {
	typedcore.PodInterface
	logs typedcore.PodInterface
}

func (k kubeWithLogs) CoreV1() typedcore.CoreV1Interface {
	return coreWithLogs{k.Interface.CoreV1(), k.logs.CoreV1()}
}

func (c coreWithLogs) Pods(namespace string) typedcore.PodInterface {
	return podsWithLogs{c.CoreV1Interface.Pods(namespace), c.logs.Pods(namespace)}
}

func (p podsWithLogs) GetLogs(name string, options *corev1.PodLogOptions) *rest.Request {
	return p.logs.GetLogs(name, options)
}

func (w *world) serveLogs(t testing.TB, logs map[string]func(io.Writer) error) *logServer {
	t.Helper()
	server := &logServer{t: t, logs: logs}
	listener := httptest.NewServer(server)
	listener.Config.ErrorLog = nil
	t.Cleanup(listener.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: listener.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.Kube = kubeWithLogs{w.kube, client}
	return server
}

func TestExcerpt(t *testing.T) {
	for name, test := range map[string]struct {
		text       string
		head, tail int64
		want       string
		cut        int64
	}{
		"empty":                  {"", 8, 8, "", 0},
		"fits":                   {"one\ntwo\nthree\n", 8, 8, "one\ntwo\nthree\n", 0},
		"fits exactly":           {"one\ntwo\nfour\nsix\n", 8, 9, "one\ntwo\nfour\nsix\n", 0},
		"the middle is cut":      {"one\ntwo\nthree\nfour\nfive\nsix\n", 8, 10, "one\ntwo\n... gpumedic: 11 bytes cut ...\nfive\nsix\n", 11},
		"a line is cut in two":   {"one two three\nfour\nfive\nsix\n", 7, 9, "one two\n... gpumedic: 12 bytes cut ...\nfive\nsix\n", 12},
		"one line without end":   {strings.Repeat("x", 30), 8, 8, "xxxxxxxx\n... gpumedic: 14 bytes cut ...\nxxxxxxxx", 14},
		"no end of the last one": {"one\ntwo\nthree\nfour", 4, 6, "one\n... gpumedic: 10 bytes cut ...\nfour", 10},
		"head alone":             {"one\ntwo\nthree\n", 4, 0, "one\n... gpumedic: 10 bytes cut ...\n", 10},
		"tail alone":             {"one\ntwo\nthree\n", 0, 8, "... gpumedic: 8 bytes cut ...\nthree\n", 8},
	} {
		t.Run(name, func(t *testing.T) {
			for chunk, in := range map[string]io.Reader{"whole": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text)),
				"with its end": iotest.DataErrReader(strings.NewReader(test.text))} {
				kept := newExcerpt(in, test.head, test.tail)
				got, err := io.ReadAll(kept)
				if err != nil || string(got) != test.want || kept.cut != test.cut {
					t.Errorf("%s: got %q, cut %d, %v, want %q, cut %d", chunk, got, kept.cut, err, test.want, test.cut)
				}
			}
		})
	}
}

// TestExcerptKeepsHeadAndTail compares with what slicing the whole text gives.
func TestExcerptKeepsHeadAndTail(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		text := make([]byte, random.IntN(4000))
		for i := range text {
			text[i] = "abcdefg\n"[random.IntN(8)]
		}
		head, tail := int64(1+random.IntN(1000)), int64(1+random.IntN(1000))
		kept := newExcerpt(bytes.NewReader(text), head, tail)
		got, err := io.ReadAll(kept)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(text)) <= head+tail {
			if !bytes.Equal(got, text) {
				t.Fatalf("%d bytes that fit were changed", len(text))
			}
			continue
		}
		mark := fmt.Sprintf("... gpumedic: %d bytes cut ...\n", kept.cut)
		before, after, found := bytes.Cut(got, []byte(mark))
		before = bytes.TrimSuffix(before, []byte("\n"))
		if !found || !bytes.HasPrefix(text[:head], before) || !bytes.HasSuffix(text, after) || int64(len(after)) > tail ||
			head+int64(len(after))+kept.cut != int64(len(text)) {
			t.Fatalf("head %d, tail %d of %d: kept %d and %d, cut %d", head, tail, len(text), len(before), len(after), kept.cut)
		}
	}
}

// TestLogOfAnySizeIsBounded streams far more than is kept through the real
// client and looks at what was stored and at the memory it took.
func TestLogOfAnySizeIsBounded(t *testing.T) {
	const count, size = 400_000, 150 // 60 MB
	w := newWorld(t, gang(1)...)
	filler := strings.Repeat("x", size-len("2026-11-24T00:00:00.000000000Z step 0000000 \n"))
	var peak uint64 // live bytes while the log streams
	measure := func() {
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc)
	}
	measure()
	idle := peak
	w.serveLogs(t, map[string]func(io.Writer) error{"llama-70b-0-aaaaa/trainer": func(out io.Writer) error {
		for i := range count {
			if i%40_000 == 0 {
				measure()
			}
			if _, err := fmt.Fprintf(out, "2026-11-24T00:00:00.000000000Z step %07d %s\n", i, filler); err != nil {
				return err
			}
		}
		return nil
	}})
	entry, broken, err := w.storeLog(t.Context(), "training", logSource{rank: incident.Rank{Index: 0, Pod: "llama-70b-0-aaaaa", Container: "trainer"}, container: "trainer"},
		incident.LogSettings{HeadBytes: 64 << 10, TailBytes: 256 << 10})
	if err != nil || broken != nil {
		t.Fatal(err, broken)
	}
	if !entry.Cut || entry.Bytes > 321<<10 || entry.Bytes < 310<<10 {
		t.Errorf("kept %+v", entry)
	}
	contains(t, w.store.text("logs/rank-000.log"), "step 0000000 ", "step 0399999 ", "bytes cut ...\n2026-11-24T")
	// What the HTTP client and server buffer meanwhile is counted too and differs
	// from run to run; holding the log itself would take 60 MB.
	if peak-idle > 24<<20 {
		t.Errorf("%d bytes were held while reading %d", peak-idle, count*size)
	}
}

func TestLogThatBreaksOffIsKept(t *testing.T) {
	w := newWorld(t, gang(1)...)
	w.serveLogs(t, map[string]func(io.Writer) error{"llama-70b-0-aaaaa/trainer": func(out io.Writer) error {
		io.WriteString(out, "2026-11-24T00:00:00Z the first line\n")
		out.(http.Flusher).Flush()
		return errors.New("the node is gone")
	}})
	entry, broken, err := w.storeLog(t.Context(), "training", logSource{rank: incident.Rank{Index: 0, Pod: "llama-70b-0-aaaaa", Container: "trainer"}, container: "trainer"}, incident.LogSettings{})
	if err != nil || broken == nil || !entry.Cut {
		t.Fatalf("%+v, %v, %v", entry, broken, err)
	}
	if kind := incident.KindOf(broken); kind != incident.Unreachable {
		t.Errorf("%v is %s", broken, kind)
	}
	contains(t, w.store.text("logs/rank-000.log"), "the first line", "breaks off here")
}

func TestLogNames(t *testing.T) {
	rank := incident.Rank{Index: 3, Pod: "p-3-x", Container: "trainer"}
	for want, source := range map[string]logSource{
		"logs/rank-003.log":                {rank: rank, container: "trainer"},
		"logs/rank-003.previous.log":       {rank: rank, container: "trainer", previous: true},
		"logs/rank-003.istio.previous.log": {rank: rank, container: "istio", previous: true},
		"logs/rank-003.attempt-p-3-x.log":  {rank: rank, container: "trainer", replaced: true},
		"logs/pod-p-3-x.log":               {rank: incident.Rank{Index: -1, Pod: "p-3-x", Container: "trainer"}, container: "trainer", replaced: true},
		"logs/rank-1234.log":               {rank: incident.Rank{Index: 1234, Container: "c"}, container: "c"},
	} {
		if got := source.name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
