package metrics

// The checks themselves are tried against a real PromQL engine in
// lab/prometheus; here is what needs none.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gpumedic/incident"
	"gpumedic/report/bundle"
	"gpumedic/steps"
)

var midday = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func store(t testing.TB) *bundle.Store {
	t.Helper()
	store, err := bundle.Open(t.Context(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func hands(t testing.TB) *Hands {
	t.Helper()
	h := New(nil, Settings{Pods: []PodLabels{{"namespace", "pod"}}, Nodes: []string{"node"}}, store(t), nil)
	h.Now = func() time.Time { return midday }
	return h
}

func params(t testing.TB, h *Hands, pods ...string) steps.CheckParams {
	t.Helper()
	workload := incident.Workload{Target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama"}}
	for i, pod := range pods {
		workload.Ranks = append(workload.Ranks, incident.Rank{Index: i, Pod: pod, Phase: "Running", Node: "gpu-00"})
	}
	ref, err := h.keep(t.Context(), "workload.json", workload)
	if err != nil {
		t.Fatal(err)
	}
	return steps.CheckParams{Workload: ref}
}

// both checks must answer all their questions with unknown, and why.
func both(t *testing.T, h *Hands, p steps.CheckParams, why string) {
	t.Helper()
	for _, check := range []struct {
		run       func(context.Context, steps.CheckParams) (steps.CheckResult, error)
		questions []string
	}{{h.CheckGPUMetrics, gpuQuestions}, {h.CheckDataMetrics, dataQuestions}} {
		result, err := check.run(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		for _, f := range result.Findings {
			asked = append(asked, f.ID)
			if f.State != incident.Unknown || f.Subject != "job/llama" || f.ID != incident.GPUForeignProcess && f.ID != incident.VolumeFull && !strings.Contains(f.Why, why) {
				t.Errorf("%+v, want unknown: %s", f, why)
			}
		}
		if !slices.Equal(asked, check.questions) {
			t.Errorf("answered %v, asked %v", asked, check.questions)
		}
	}
}

func TestWithoutPrometheusAllIsUnknown(t *testing.T) {
	h := hands(t)
	both(t, h, params(t, h, "llama-0"), "no Prometheus is configured (prometheus.url)")
}

func TestATargetWithoutPodsIsUnknown(t *testing.T) {
	h := hands(t)
	api, err := Connect(Way{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	h.API = api
	both(t, h, params(t, h), "had no pods")
}

// TestASlowPrometheusIsUnknownAndAskedOnce: what does not answer one question
// in time is not asked the next one.
func TestASlowPrometheusIsUnknownAndAskedOnce(t *testing.T) {
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.FormValue("query")
		<-r.Context().Done()
	}))
	defer server.Close()
	h := hands(t)
	api, err := Connect(Way{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	h.API, h.Settings.Timeout = api, 100*time.Millisecond
	both(t, h, params(t, h, "llama-0"), "raise prometheus.timeout")
	if len(asked) != 2 {
		t.Errorf("two checks asked %d times", len(asked))
	}
}

// TestAPartialAnswerIsNoNo: a Thanos that lacks a store warns, and what it has
// may be only a part.
func TestAPartialAnswerIsNoNo(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sample, kind := `"value":[1,"100"]`, "vector"
		if strings.HasSuffix(r.URL.Path, "query_range") {
			sample, kind = `"values":[]`, "matrix"
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":[{"metric":{"pod":"llama-0","gpu":"0"},%s}]},"warnings":["store b is away"]}`, kind, sample)
	}))
	defer server.Close()
	h := hands(t)
	api, err := Connect(Way{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	h.API = api
	result, err := h.CheckGPUMetrics(t.Context(), params(t, h, "llama-0"))
	if err != nil {
		t.Fatal(err)
	}
	// 100 of 100 MiB are full, which stays true; busy all the time may not.
	want := map[string]incident.State{incident.GPUMemoryFull: incident.Yes, incident.GPUsIdle: incident.Unknown}
	for _, f := range result.Findings {
		if state, ok := want[f.ID]; ok && f.State != state || f.ID == incident.GPUsIdle && !strings.Contains(f.Why, "store b is away") {
			t.Errorf("%+v", f)
		}
	}
}

func TestDamagedEvidenceIsAnError(t *testing.T) {
	h := hands(t)
	ref, err := h.keep(t.Context(), "workload.json", "no workload")
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.CheckGPUMetrics(t.Context(), steps.CheckParams{Workload: ref})
	if incident.KindOf(err) != incident.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestACheckThatIsStoppedHasNoAnswer(t *testing.T) {
	h := hands(t)
	p := params(t, h, "llama-0")
	api, err := Connect(Way{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	h.API = api
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.CheckGPUMetrics(ctx, p); err == nil {
		t.Errorf("got %v", err)
	}
}

func TestABadWayIsTold(t *testing.T) {
	for _, way := range []Way{{URL: "::"}, {URL: "https://x", CAFile: "/not/there"}} {
		if _, err := Connect(way); err == nil {
			t.Errorf("%+v was accepted", way)
		}
	}
}

// TestGrowthIsRobust: noise and jumps neither make growth nor hide it.
func TestGrowthIsRobust(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	series := func(f func(minute float64) float64) (points [][2]float64) {
		for i := range 240 {
			minute := float64(i) / 4
			points = append(points, [2]float64{minute * 60, f(minute) * gib})
		}
		return points
	}
	for name, test := range map[string]struct {
		points [][2]float64
		want   bool
	}{
		"leak under noise":     {series(func(m float64) float64 { return 20 + m/3 + chance.Float64() }), true},
		"staircase":            {series(func(m float64) float64 { return 20 + 2*float64(int(m/5)) }), true},
		"noise":                {series(func(float64) float64 { return 40 + 10*chance.Float64() }), false},
		"one jump":             {series(func(m float64) float64 { return 20 + 20*float64(int(m/30)) }), false},
		"falling":              {series(func(m float64) float64 { return 60 - m/2 }), false},
		"grew, then gave back": {series(func(m float64) float64 { return 20 + m/2 - 15*float64(int(m/55)) }), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, known := growthOf(test.points)
			if !known || got.is != test.want {
				t.Errorf("known %v, %+v", known, got)
			}
		})
	}
	if _, known := growthOf(series(func(float64) float64 { return 1 })[:40]); known {
		t.Error("ten minutes told growth")
	}
}

func TestTheLongestRunIsJudged(t *testing.T) {
	points := [][2]float64{{0, 5}, {1, 9}, {2, 1}, {3, 2}, {4, 3}, {5, 2.5}, {6, 0}, {7, 1}}
	got := longestRun(points)
	if len(got) != 4 || got[0][0] != 2 || got[3][0] != 5 {
		t.Errorf("got %v", got)
	}
	if got := longestRun(nil); len(got) != 0 {
		t.Errorf("of nothing came %v", got)
	}
}

// TestSelectorsAreQuoted: names come from alerts and objects.
func TestSelectorsAreQuoted(t *testing.T) {
	h := hands(t)
	h.Settings.Matchers = map[string]string{"cluster": `a"b`}
	a := h.asker(incident.Target{Namespace: `train"ing`})
	want := `namespace="train\"ing",pod=~"(llama\\.0|x)",cluster="a\"b"`
	if got := a.pods([]string{"llama.0", "x"})[0].selector; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
