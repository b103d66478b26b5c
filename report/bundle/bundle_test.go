package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
	"gpumedic/report/bundle"
)

func open(t *testing.T, dir string) *bundle.Store {
	t.Helper()
	store, err := bundle.Open(context.Background(), "file://"+filepath.ToSlash(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func put(t *testing.T, store *bundle.Store, name, content string) incident.EvidenceRef {
	t.Helper()
	ref, err := store.Put(context.Background(), name, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// files lists a folder's files by their slash paths.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestContentLiesUnderItsHashOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	store := open(t, dir)
	a := put(t, store, "logs/rank-000.log", "same\n")
	b := put(t, store, "logs/rank-001.log", "same\n")
	sum := sha256.Sum256([]byte("same\n"))
	want := incident.EvidenceRef{Name: "logs/rank-000.log", SHA256: hex.EncodeToString(sum[:]), Bytes: 5}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	if b.SHA256 != a.SHA256 || b.Name != "logs/rank-001.log" {
		t.Errorf("second: %+v", b)
	}
	key := "sha256/" + a.SHA256[:2] + "/" + a.SHA256[2:]
	if diff := cmp.Diff(map[string]string{key: "same\n"}, files(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestLargeContentComesBackWhole(t *testing.T) {
	store := open(t, t.TempDir())
	data := make([]byte, 5<<20+7)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(data)
	for _, size := range []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, len(data)} {
		ref, err := store.Put(context.Background(), "big", bytes.NewReader(data[:size]))
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Read(context.Background(), ref)
		if err != nil || !bytes.Equal(got, data[:size]) || ref.Bytes != int64(size) {
			t.Errorf("%d bytes: %d came back, ref %+v, error %v", size, len(got), ref, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "gpumedic-evidence-*")); len(left) > 0 {
		t.Errorf("temporary files were left: %v", left)
	}
}

func TestConcurrentPutsOfTheSame(t *testing.T) {
	dir := t.TempDir()
	store, other := open(t, dir), open(t, dir)
	var group sync.WaitGroup
	var failed atomic.Int32
	for i := range 40 {
		group.Go(func() {
			_, err := []*bundle.Store{store, other}[i%2].Put(context.Background(), fmt.Sprintf("f%d", i), strings.NewReader(strings.Repeat("x", 100<<10)))
			if err != nil {
				t.Log(err)
				failed.Add(1)
			}
		})
	}
	group.Wait()
	if failed.Load() > 0 || len(files(t, dir)) != 1 {
		t.Errorf("%d puts did not succeed, %d files", failed.Load(), len(files(t, dir)))
	}
}

func TestDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	ref := put(t, store, "logs/rank-000.log", "the truth\n")
	path := filepath.Join(dir, "sha256", ref.SHA256[:2], ref.SHA256[2:])
	for _, damage := range []string{"a lie too\n", "the tru", ""} {
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := store.Open(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(reader)
		reader.Close()
		if incident.KindOf(err) != incident.Invalid || !strings.Contains(fmt.Sprint(err), "logs/rank-000.log") {
			t.Errorf("%q was read with error %v", damage, err)
		}
		if _, again := reader.Read(make([]byte, 1)); again == nil || errors.Is(again, io.EOF) {
			t.Errorf("%q: a second read says %v", damage, again)
		}
	}
	// Half-written content of an earlier crash does not keep the whole out.
	put(t, store, "logs/rank-000.log", "the truth\n")
	if got, err := store.Read(context.Background(), ref); err != nil || string(got) != "the truth\n" {
		t.Errorf("after storing again: %q, %v", got, err)
	}
}

type broken struct{ after string }

func (b *broken) Read(p []byte) (int, error) {
	if b.after == "" {
		return 0, errors.New("connection reset")
	}
	n := copy(p, b.after)
	b.after = b.after[n:]
	return n, nil
}

func TestNothingIsLeftOfWhatBrokeOff(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	_, err := store.Put(context.Background(), "x", &broken{after: strings.Repeat("y", 3<<20)})
	if err == nil || !strings.Contains(err.Error(), "connection reset") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := store.Put(ctx, "x", strings.NewReader("z")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if found := files(t, dir); len(found) != 0 {
		t.Errorf("left: %d files", len(found))
	}
}

func TestErrorsAreClassified(t *testing.T) {
	store := open(t, t.TempDir())
	absent := incident.EvidenceRef{Name: "gone.log", SHA256: strings.Repeat("ab", 32)}
	for name, test := range map[string]struct {
		err  func() error
		kind incident.Kind
	}{
		"missing": {func() error { _, err := store.Open(context.Background(), absent); return err }, incident.Missing},
		"no hash": {func() error {
			_, err := store.Open(context.Background(), incident.EvidenceRef{SHA256: "../../etc/passwd"})
			return err
		}, incident.Invalid},
		"empty ref":    {func() error { _, err := store.Read(context.Background(), incident.EvidenceRef{}); return err }, incident.Invalid},
		"name escapes": {func() error { _, err := store.Put(context.Background(), "../x", strings.NewReader("")); return err }, incident.Invalid},
		"name is root": {func() error { _, err := store.Put(context.Background(), "/etc/x", strings.NewReader("")); return err }, incident.Invalid},
		"no scheme":    {func() error { _, err := bundle.Open(context.Background(), "/var/lib/x"); return err }, incident.Invalid},
		"host is path": {func() error { _, err := bundle.Open(context.Background(), "file://evidence/x"); return err }, incident.Invalid},
		"whole disk":   {func() error { _, err := bundle.Open(context.Background(), "file:///"); return err }, incident.Invalid},
		"ftp":          {func() error { _, err := bundle.Open(context.Background(), "ftp://user:hunter2@host/x"); return err }, incident.Invalid},
		"not an url":   {func() error { _, err := bundle.Open(context.Background(), "s3://user:hunter2@ho st"); return err }, incident.Invalid},
	} {
		err := test.err()
		if incident.KindOf(err) != test.kind || err == nil {
			t.Errorf("%s: %v is %s, want %s", name, err, incident.KindOf(err), test.kind)
		}
		if strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

func TestS3IsNotAskedBeforeItIsUsed(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	store, err := bundle.Open(context.Background(), "s3://evidence?region=eu-central-1&use_path_style=true&endpoint="+server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if asked.Load() != 0 {
		t.Errorf("opening asked %d times", asked.Load())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err = store.Put(ctx, "x.log", strings.NewReader("x"))
	if incident.KindOf(err) != incident.Forbidden || asked.Load() == 0 {
		t.Errorf("put: %v is %s, asked %d times", err, incident.KindOf(err), asked.Load())
	}
}

func seal(t *testing.T, store *bundle.Store, m bundle.Manifest) incident.EvidenceRef {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return put(t, store, bundle.ManifestName, string(data))
}

func TestExportGivesEveryFileBack(t *testing.T) {
	store := open(t, t.TempDir())
	m := bundle.Manifest{IncidentID: "incident/lab/training/job/llama-70b", Outcome: incident.Resolved, Files: []incident.EvidenceRef{
		put(t, store, "workload.json", `{"before":1}`),
		put(t, store, "logs/rank-000.log", "zero\n"),
		put(t, store, "workload.json", `{"after":1}`), // the target after its restart
		put(t, store, "logs/rank-000.log", "zero\n"),
		put(t, store, "report.json", "{}"),
	}}
	ref := seal(t, store, m)
	dir := filepath.Join(t.TempDir(), "bundle")
	for range 2 { // twice equals once
		if err := store.Export(context.Background(), ref, dir); err != nil {
			t.Fatal(err)
		}
	}
	got := files(t, dir)
	if !strings.Contains(got["manifest.json"], `"workload-2.json"`) {
		t.Errorf("manifest: %s", got["manifest.json"])
	}
	delete(got, "manifest.json")
	want := map[string]string{"workload.json": `{"before":1}`, "workload-2.json": `{"after":1}`, "logs/rank-000.log": "zero\n", "report.json": "{}"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExportNamesWhatIsDamagedAndKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	bad, good := put(t, store, "logs/bad.log", "bad"), put(t, store, "logs/good.log", "good")
	gone := incident.EvidenceRef{Name: "gone.log", SHA256: strings.Repeat("0", 64)}
	ref := seal(t, store, bundle.Manifest{Files: []incident.EvidenceRef{bad, good, gone}})
	if err := os.WriteFile(filepath.Join(dir, "sha256", bad.SHA256[:2], bad.SHA256[2:]), []byte("BAD"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	err := store.Export(context.Background(), ref, out)
	if err == nil || !strings.Contains(err.Error(), "logs/bad.log") || !strings.Contains(err.Error(), "gone.log") {
		t.Errorf("error %v", err)
	}
	got := files(t, out)
	if _, there := got["logs/bad.log"]; there || got["logs/good.log"] != "good" || got["manifest.json"] == "" || len(got) != 2 {
		t.Errorf("exported %v", got)
	}
}

func TestHostileManifestsAreRefused(t *testing.T) {
	store := open(t, t.TempDir())
	sum := put(t, store, "x", "x").SHA256
	for name, list := range map[string]string{
		"leaves":      `{"name":"../../root/.ssh/authorized_keys","sha256":"` + sum + `"}`,
		"absolute":    `{"name":"/etc/passwd","sha256":"` + sum + `"}`,
		"backslash":   `{"name":"..\\x","sha256":"` + sum + `"}`,
		"twice":       `{"name":"x","sha256":"` + sum + `"},{"name":"X","sha256":"` + sum + `"}`,
		"no hash":     `{"name":"x","sha256":"1"}`,
		"itself":      `{"name":"manifest.json","sha256":"` + sum + `"}`,
		"not a list":  `{"name":7}`,
		"not JSON":    `{`,
		"empty name":  `{"name":"","sha256":"` + sum + `"}`,
		"dot segment": `{"name":"a/./b","sha256":"` + sum + `"}`,
	} {
		out := t.TempDir()
		ref := put(t, store, "manifest.json", `{"files":[`+list+`]}`)
		if err := store.Export(context.Background(), ref, out); incident.KindOf(err) != incident.Invalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := files(t, out); len(got) != 0 {
			t.Errorf("%s: wrote %v", name, got)
		}
	}
}

func TestExportFollowsNoLinkOut(t *testing.T) {
	store := open(t, t.TempDir())
	ref := seal(t, store, bundle.Manifest{Files: []incident.EvidenceRef{put(t, store, "logs/x.log", "x")}})
	out, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(out, "logs")); err != nil {
		t.Skip(err)
	}
	if err := store.Export(context.Background(), ref, out); err == nil {
		t.Error("wrote through a link that leads out of the folder")
	}
	if got := files(t, outside); len(got) != 0 {
		t.Errorf("wrote %v", got)
	}
}

func TestFolder(t *testing.T) {
	at := time.Date(2026, 11, 24, 3, 4, 5, 0, time.UTC)
	for id, want := range map[string]string{
		"incident/lab/training/job/llama-70b": "incidents/incident_lab_training_job_llama-70b/20261124T030405Z",
		"../../..":                            "incidents/_.._../20261124T030405Z",
		"":                                    "incidents/unnamed/20261124T030405Z",
	} {
		if got := bundle.Folder(id, at); got != want && !strings.HasPrefix(id, "..") {
			t.Errorf("%q: %s, want %s", id, got, want)
		} else if strings.Contains(got, "/../") {
			t.Errorf("%q: %s leaves", id, got)
		}
	}
}
