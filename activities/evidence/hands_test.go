package evidence_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/activities/evidence"
	"gpumedic/incident"
	"gpumedic/report/bundle"
	"gpumedic/steps"
)

var now = time.Date(2026, 11, 24, 3, 2, 13, 0, time.UTC)

// world is a hand with a store in a folder of the test's own.
type world struct {
	*evidence.Hands
	files *bundle.Store
	dir   string
	t     *testing.T
}

func newWorld(t *testing.T) world {
	t.Helper()
	dir := t.TempDir()
	store, err := bundle.Open(context.Background(), "file://"+filepath.ToSlash(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	hands := evidence.New(store, nil)
	hands.Now = func() time.Time { return now }
	return world{hands, store, dir, t}
}

func (w world) put(name string, value any) incident.EvidenceRef {
	w.t.Helper()
	text, isText := value.(string)
	if !isText {
		data, err := json.Marshal(value)
		if err != nil {
			w.t.Fatal(err)
		}
		text = string(data)
	}
	ref, err := w.Store.Put(context.Background(), name, strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return ref
}

func (w world) damage(ref incident.EvidenceRef) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "sha256", ref.SHA256[:2], ref.SHA256[2:]), []byte("?"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// night is an incident with everything: a workload, an index, a test's index,
// and a workload that was read again after the restart.
func (w world) night() steps.WriteReportParams {
	workload := w.put("workload.json", incident.Workload{UID: "1", Ranks: []incident.Rank{{Index: 0, Pod: "llama-0", Node: "gpu-00", Phase: "Running"}},
		Nodes: []incident.Node{{Name: "gpu-00", Leaf: "leaf-a", Ready: true}}})
	after := w.put("workload.json", incident.Workload{UID: "1", Ranks: []incident.Rank{{Index: 0, Pod: "llama-0-new", Node: "gpu-01"}}})
	index := w.put("index.json", []incident.IndexEntry{
		{EvidenceRef: workload, Kind: "workload", Rank: -1},
		{EvidenceRef: w.put("logs/rank-000.log", "step 1\n"), Kind: "log"},
		{EvidenceRef: w.put("objects/job-llama.json", "{}"), Kind: "object", Rank: -1},
	})
	tested := w.put("commtest/gpumedic-ct-1/index.json", []incident.IndexEntry{{EvidenceRef: w.put("commtest/all/rank-000.log", "pass\n"), Kind: "log"}})
	return steps.WriteReportParams{Workload: workload, Index: index, Record: incident.Record{
		IncidentID: "incident/lab/training/job/llama", Outcome: incident.Resolved, OpenedAt: now.Add(-time.Minute), ClosedAt: now,
		Evidence: []incident.EvidenceRef{workload, index, tested, after, w.put("snapshot.json", `{"objects":[]}`)},
	}}
}

func (w world) manifest(result steps.WriteReportResult) bundle.Manifest {
	w.t.Helper()
	data, err := w.files.Read(context.Background(), result.Manifest)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := bundle.ParseManifest(data)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func names(m bundle.Manifest) []string {
	var out []string
	for _, file := range m.Files {
		out = append(out, file.Name)
	}
	return out
}

var all = []string{
	"commtest/all/rank-000.log", "commtest/gpumedic-ct-1/index.json", "index.json", "logs/rank-000.log", "objects/job-llama.json",
	"report.html", "report.json", "report.txt", "snapshot.json", "workload-2.json", "workload.json",
}

func TestManifestListsEverything(t *testing.T) {
	w := newWorld(t)
	params := w.night()
	result, err := w.WriteReport(context.Background(), params)
	if err != nil {
		t.Fatal(err)
	}
	m := w.manifest(result)
	if diff := cmp.Diff(all, names(m)); diff != "" {
		t.Error(diff)
	}
	if len(m.Gaps) > 0 || m.Outcome != incident.Resolved || !result.At.Equal(now) {
		t.Errorf("gaps %v, outcome %s, at %s", m.Gaps, m.Outcome, result.At)
	}
	placed, err := os.ReadFile(filepath.Join(w.dir, "incidents", "incident_lab_training_job_llama", "20261124T030113Z", "manifest.json"))
	if err != nil || !strings.Contains(string(placed), "report.html") {
		t.Errorf("the manifest is not where people look: %v", err)
	}
	again, err := w.WriteReport(context.Background(), params)
	if diff := cmp.Diff(result, again); diff != "" || err != nil {
		t.Errorf("a second attempt differs (%v): %s", err, diff)
	}
}

func TestBundleComesOutWhole(t *testing.T) {
	w := newWorld(t)
	result, err := w.WriteReport(context.Background(), w.night())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := w.files.Export(context.Background(), result.Manifest, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(slices.Clone(all), "manifest.json") {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Error(err)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil || !strings.Contains(string(page), "rank 0, pod llama-0") {
		t.Errorf("the page has no picture of the ranks (%v)", err)
	}
}

// TestReportIsWrittenAllTheSame: also when what it is about cannot be read.
func TestReportIsWrittenAllTheSame(t *testing.T) {
	for name, alter := range map[string]func(world, *steps.WriteReportParams){
		"nothing was ever found": func(_ world, p *steps.WriteReportParams) {
			*p = steps.WriteReportParams{Record: incident.Record{IncidentID: "incident/lab/-/node/x", Outcome: incident.Escalated}}
		},
		"workload damaged": func(w world, p *steps.WriteReportParams) { w.damage(p.Workload) },
		"workload gone": func(w world, p *steps.WriteReportParams) {
			p.Workload = incident.EvidenceRef{Name: "workload.json", SHA256: strings.Repeat("0", 64)}
		},
		"workload is no workload": func(w world, p *steps.WriteReportParams) { p.Workload = w.put("workload.json", "[1]") },
		"index damaged":           func(w world, p *steps.WriteReportParams) { w.damage(p.Index) },
		"index is no index":       func(w world, p *steps.WriteReportParams) { p.Index = w.put("index.json", "{") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			params := w.night()
			alter(w, &params)
			result, err := w.WriteReport(context.Background(), params)
			if err != nil {
				t.Fatal(err)
			}
			m := w.manifest(result)
			for _, want := range []string{"report.html", "report.json", "report.txt"} {
				if !slices.Contains(names(m), want) {
					t.Errorf("%s is not listed", want)
				}
			}
			text, err := w.files.Read(context.Background(), result.Text)
			if err != nil {
				t.Fatal(err)
			}
			if told := strings.Contains(string(text), "WHAT WENT WRONG"); told != (name != "nothing was ever found") || told != (len(m.Gaps) > 0) {
				t.Errorf("the gap is told: %v, gaps %v", told, m.Gaps)
			}
			if len(params.Record.Errors) > 0 {
				t.Error("the caller's record was altered")
			}
		})
	}
}

func TestStoreThatCannotBeWrittenIsAnError(t *testing.T) {
	w := newWorld(t)
	params := w.night()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.WriteReport(ctx, params); incident.KindOf(err) != incident.TimedOut {
		t.Errorf("error %v is %s", err, incident.KindOf(err))
	}
}

// TestPromise9ReportIsRedacted: what the record brought along does not reach
// the store.
func TestPromise9ReportIsRedacted(t *testing.T) {
	w := newWorld(t)
	params := w.night()
	params.Record.Errors = []string{"dial https://bob:hunter22hunter@api/: refused"}
	params.Record.Story = []incident.Event{{Kind: "human", Text: "bob says deny: password=hunter22hunter"}}
	if _, err := w.WriteReport(context.Background(), params); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(w.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "hunter22hunter") {
			t.Errorf("%s has the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
