package prometheus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"gpumedic/activities/metrics"
	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/lab/prometheus"
	"gpumedic/report/bundle"
	"gpumedic/steps"
)

// world is the hands of metrics before a Prometheus of the lab.
type world struct {
	*testing.T
	server *prometheus.Server
	hands  *metrics.Hands
	store  *bundle.Store
	params steps.CheckParams
}

// job is what most tests ask about: two ranks with a GPU each, on two nodes.
var job = incident.Workload{
	Target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama"},
	Ranks: []incident.Rank{
		{Index: 0, Pod: "llama-0-abcde", Node: "gpu-00", Phase: "Running", GPUs: 1},
		{Index: 1, Pod: "llama-1-fghij", Node: "gpu-01", Phase: "Running", GPUs: 1},
	},
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := bundle.Open(t.Context(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &world{T: t, server: start(t, prometheus.Options{}), store: store}
	w.connect(metrics.Way{URL: w.server.URL()})
	w.params = steps.CheckParams{Incident: "incident/lab", Workload: w.put("workload.json", job)}
	return w
}

// connect makes hands with the default configuration.
func (w *world) connect(way metrics.Way) {
	w.Helper()
	api, err := metrics.Connect(way)
	if err != nil {
		w.Fatal(err)
	}
	defaults := config.Default().Prometheus
	settings := metrics.Settings{Window: defaults.Window, Timeout: defaults.Timeout, Nodes: defaults.Labels.Nodes}
	for _, pair := range defaults.Labels.Pods {
		settings.Pods = append(settings.Pods, metrics.PodLabels(pair))
	}
	w.hands = metrics.New(api, settings, w.store, nil)
	w.hands.Now = func() time.Time { return midday }
}

func (w *world) put(name string, value any) incident.EvidenceRef {
	w.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		w.Fatal(err)
	}
	ref, err := w.store.Put(w.Context(), name, strings.NewReader(string(data)))
	if err != nil {
		w.Fatal(err)
	}
	return ref
}

// gpu and data carry out the checks.
func (w *world) gpu() answers {
	w.Helper()
	return w.check(w.hands.CheckGPUMetrics)
}

func (w *world) data() answers {
	w.Helper()
	return w.check(w.hands.CheckDataMetrics)
}

func (w *world) check(run func(context.Context, steps.CheckParams) (steps.CheckResult, error)) answers {
	w.Helper()
	result, err := run(w.Context(), w.params)
	if err != nil {
		w.Fatal(err)
	}
	return answers{w, result}
}

// answers are the findings of one check.
type answers struct {
	w *world
	steps.CheckResult
}

func (a answers) of(id string) []incident.Finding {
	var found []incident.Finding
	for _, finding := range a.Findings {
		if finding.ID == id {
			found = append(found, finding)
		}
	}
	return found
}

// expect wants exactly one finding of an id, with its state, subject and value,
// and words in its sentence.
func (a answers) expect(id string, state incident.State, subject, value string, words ...string) {
	a.w.Helper()
	found := a.of(id)
	if len(found) != 1 {
		a.w.Errorf("%s has %d findings: %+v", id, len(found), found)
		return
	}
	f := found[0]
	if f.State != state || f.Subject != subject || f.Value != value {
		a.w.Errorf("%s is %s of %s, value %q (%s)\nwant %s of %s, value %q", id, f.State, f.Subject, f.Value, f.Why, state, subject, value)
	}
	for _, word := range words {
		if !strings.Contains(f.Why, word) {
			a.w.Errorf("%s says %q, want %q in it", id, f.Why, word)
		}
	}
}

// file reads back what a check kept.
func (a answers) file(name string, into any) {
	a.w.Helper()
	for _, ref := range a.Evidence {
		if ref.Name != name {
			continue
		}
		content, err := a.w.store.Open(a.w.Context(), ref)
		if err != nil {
			a.w.Fatal(err)
		}
		defer content.Close()
		data, err := io.ReadAll(content)
		if err != nil {
			a.w.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			a.w.Fatal(err)
		}
		return
	}
	a.w.Errorf("no file %s was kept: %v", name, a.Evidence)
}

// curve is a value over the time since an hour before midday, in hours.
type curve func(hours float64) float64

func at(f curve) func(time.Time) (float64, bool) {
	return func(now time.Time) (float64, bool) { return f(now.Sub(midday.Add(-time.Hour)).Hours()), true }
}

func flat(v float64) curve { return func(float64) float64 { return v } }

// gpuLabels are those of dcgm-exporter 3.3 to 4.5 with Kubernetes mapping, after a
// scrape without honor_labels: what it says of the pod is renamed exported_*, and
// namespace and pod are the exporter's own.
func gpuLabels(rank int, gpu string) map[string]string {
	return map[string]string{
		"gpu": gpu, "UUID": fmt.Sprintf("GPU-%d-%s", rank, gpu), "pci_bus_id": "00000000:0" + gpu + ":00.0", "device": "nvidia" + gpu,
		"modelName": "NVIDIA H100 80GB HBM3", "Hostname": job.Ranks[rank].Node, "DCGM_FI_DRIVER_VERSION": "550.90.07",
		"exported_container": "trainer", "exported_namespace": "training", "exported_pod": job.Ranks[rank].Pod,
		"namespace": "gpu-operator", "pod": fmt.Sprintf("nvidia-dcgm-exporter-%d", rank), "container": "nvidia-dcgm-exporter",
		"instance": fmt.Sprintf("10.0.0.%d:9400", rank+1), "job": "nvidia-dcgm-exporter",
	}
}

// renamed changes names of labels, for other conventions.
func renamed(labels map[string]string, names map[string]string) map[string]string {
	out := maps.Clone(labels)
	for old := range names {
		delete(out, old)
	}
	for old, name := range names {
		if name != "" {
			out[name] = labels[old]
		}
	}
	return out
}

// total is an H100's framebuffer in MiB: used + free + reserved.
const (
	total    = 81559.0
	reserved = 466.0
)

// framebuffer is the three series of one GPU; used in MiB.
func framebuffer(labels map[string]string, used curve) []prometheus.Series {
	return []prometheus.Series{
		{Name: "DCGM_FI_DEV_FB_USED", Labels: labels, At: at(used)},
		{Name: "DCGM_FI_DEV_FB_FREE", Labels: labels, At: at(func(h float64) float64 { return total - reserved - used(h) })},
		{Name: "DCGM_FI_DEV_FB_RESERVED", Labels: labels, At: prometheus.Always(reserved)},
	}
}

// util is the gauge of a GPU's utilisation in percent.
func util(labels map[string]string, busy curve) prometheus.Series {
	return prometheus.Series{Name: "DCGM_FI_DEV_GPU_UTIL", Labels: labels, At: at(busy)}
}
