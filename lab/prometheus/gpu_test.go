package prometheus_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"gpumedic/activities/metrics"
	"gpumedic/incident"
	"gpumedic/lab/prometheus"
)

func TestFullMemoryFires(t *testing.T) {
	w := newWorld(t)
	// Full for five minutes half an hour ago, as a job that died was.
	burst := func(h float64) float64 {
		if h > 0.5 && h < 0.6 {
			return 80500
		}
		return 40000
	}
	w.server.Feed(framebuffer(gpuLabels(0, "3"), burst)...)
	w.server.Feed(framebuffer(gpuLabels(1, "3"), flat(40000))...)
	a := w.gpu()
	a.expect(incident.GPUMemoryFull, incident.Yes, "pod/llama-0-abcde", "99 %", "GPU 3", "78.6 GiB of its 79.6 GiB (used + free + reserved)")
	a.expect(incident.GPUMemoryGrowing, incident.No, "job/llama", "")
	a.expect(incident.GPUForeignProcess, incident.Unknown, "job/llama", "", "78.6 GiB", "node agent")
}

// TestForeignMemory: a GPU that held memory while no pod had it.
func TestForeignMemory(t *testing.T) {
	for name, test := range map[string]struct {
		held    float64
		minutes float64
		state   incident.State
		value   string
		words   string
	}{
		"a process outside":    {62464, 20, incident.Yes, "61.0 GiB", "GPU 0 of pod llama-0-abcde (GPU-0-0) held 61.0 GiB for 20 minutes"},
		"the exporter is late": {62464, 1, incident.Unknown, "", "node agent"},
		"the GPU was free":     {4, 20, incident.Unknown, "", "node agent"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			began := midday.Add(-30 * time.Minute)
			ours, nobodys := gpuLabels(0, "0"), renamed(gpuLabels(0, "0"), map[string]string{"exported_pod": "", "exported_namespace": "", "exported_container": ""})
			w.server.Feed(
				prometheus.Series{Name: "DCGM_FI_DEV_FB_USED", Labels: nobodys, At: func(at time.Time) (float64, bool) {
					return test.held, at.Before(began) && began.Sub(at).Minutes() <= test.minutes
				}},
				prometheus.Series{Name: "DCGM_FI_DEV_FB_USED", Labels: ours, At: func(at time.Time) (float64, bool) { return 78000, !at.Before(began) }},
			)
			subject := "job/llama"
			if test.state == incident.Yes {
				subject = "pod/llama-0-abcde"
			}
			w.gpu().expect(incident.GPUForeignProcess, test.state, subject, test.value, test.words)
		})
	}
}

func TestFreeMemoryDoesNotFire(t *testing.T) {
	w := newWorld(t)
	w.server.Feed(framebuffer(gpuLabels(0, "0"), flat(40000))...)
	w.server.Feed(framebuffer(gpuLabels(1, "0"), flat(42000))...)
	w.gpu().expect(incident.GPUMemoryFull, incident.No, "job/llama", "51 %", "of 2 GPUs", "llama-1-fghij", "41.0 GiB of its 79.6 GiB")
}

// TestSeriesThatAreMissing: each is unknown and named; none is healthy.
func TestSeriesThatAreMissing(t *testing.T) {
	labels := [2]map[string]string{gpuLabels(0, "0"), gpuLabels(1, "0")}
	for name, test := range map[string]struct {
		series []prometheus.Series
		words  string
	}{
		"everything":       {nil, "Prometheus has no DCGM_FI_DEV_FB_USED, which dcgm-exporter exports"},
		"mapping to pods":  {framebuffer(renamed(labels[0], map[string]string{"exported_pod": "", "exported_namespace": ""}), flat(1)), "DCGM_EXPORTER_KUBERNETES=true"},
		"one of two ranks": {framebuffer(labels[0], flat(100)), "1 of 2 pods have no series DCGM_FI_DEV_FB_USED: llama-1-fghij"},
		"free": {[]prometheus.Series{
			{Name: "DCGM_FI_DEV_FB_USED", Labels: labels[0], At: prometheus.Always(81000)},
			{Name: "DCGM_FI_DEV_FB_USED", Labels: labels[1], At: prometheus.Always(81000)},
		}, "DCGM_FI_DEV_FB_FREE is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.Feed(test.series...)
			w.gpu().expect(incident.GPUMemoryFull, incident.Unknown, "job/llama", "", test.words)
			w.gpu().expect(incident.GPUsIdle, incident.Unknown, "job/llama", "", "DCGM_FI_DEV_GPU_UTIL")
		})
	}
}

// TestOlderExporterHasNoReserved: the default counters got it in 4.4.0.
func TestOlderExporterHasNoReserved(t *testing.T) {
	w := newWorld(t)
	w.server.Feed(framebuffer(gpuLabels(0, "0"), flat(79000))[:2]...)
	w.server.Feed(framebuffer(gpuLabels(1, "0"), flat(100))[:2]...)
	w.gpu().expect(incident.GPUMemoryFull, incident.Yes, "pod/llama-0-abcde", "97 %", "77.1 GiB of its 79.2 GiB")
}

// TestOtherLabels: honor_labels, the names of old exporters by configuration,
// and one server for several clusters.
func TestOtherLabels(t *testing.T) {
	honoured := map[string]string{"namespace": "", "pod": "", "container": "", "exported_namespace": "namespace", "exported_pod": "pod", "exported_container": "container"}
	for name, test := range map[string]struct {
		names  map[string]string
		more   map[string]string
		change func(*metrics.Settings)
		state  incident.State
	}{
		"honor_labels": {names: honoured, state: incident.Yes},
		"of old": {names: map[string]string{"exported_namespace": "pod_namespace", "exported_pod": "pod_name"}, state: incident.Yes,
			change: func(s *metrics.Settings) {
				s.Pods = append(s.Pods, metrics.PodLabels{Namespace: "pod_namespace", Pod: "pod_name"})
			}},
		"of old, not configured": {names: map[string]string{"exported_namespace": "pod_namespace", "exported_pod": "pod_name"}, state: incident.Unknown},
		"of this cluster": {more: map[string]string{"cluster": "a"}, state: incident.Yes,
			change: func(s *metrics.Settings) { s.Matchers = map[string]string{"cluster": "a"} }},
		"of another cluster": {more: map[string]string{"cluster": "b"}, state: incident.Unknown,
			change: func(s *metrics.Settings) { s.Matchers = map[string]string{"cluster": "a"} }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.change != nil {
				test.change(&w.hands.Settings)
			}
			for rank := range job.Ranks {
				labels := renamed(gpuLabels(rank, "0"), test.names)
				for label, value := range test.more {
					labels[label] = value
				}
				w.server.Feed(framebuffer(labels, flat(81000))...)
			}
			for _, finding := range w.gpu().of(incident.GPUMemoryFull) {
				if finding.State != test.state {
					t.Errorf("got %+v", finding)
				}
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	leak := func(h float64) float64 { return 30000 + 20480*h }
	for name, test := range map[string]struct {
		used  curve
		state incident.State
		value string
		words []string
	}{
		"a leak":            {leak, incident.Yes, "20.0 GiB/h", []string{"49.3 GiB at 12:00 UTC, and never fell back by more than 0.0 GiB", "its 79.6 GiB are full in 1h31m"}},
		"a leak with waves": {func(h float64) float64 { return leak(h) + 500*math.Sin(200*h) }, incident.Yes, "20.0 GiB/h", nil},
		"a leak that killed it twice": {func(h float64) float64 {
			_, since := math.Modf(h / 0.45)
			return 10000 + 68000*since
		}, incident.Yes, "147.5 GiB/h", []string{"75.6 GiB at 11:26 UTC, and never fell back"}},
		"constant":                 {flat(70000), incident.No, "", []string{"none of 2 GPUs grew"}},
		"loading, then level":      {func(h float64) float64 { return min(60000, 400000*h) }, incident.No, "", nil},
		"a slow start, then level": {func(h float64) float64 { return min(60000, 30000+60000*h) }, incident.No, "", nil},
		"comes and goes":           {func(h float64) float64 { return 40000 + 5000*h + 15000*math.Sin(40*h) }, incident.No, "", nil},
		"a little":                 {func(h float64) float64 { return 40000 + 200*h }, incident.No, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.Feed(framebuffer(gpuLabels(0, "0"), test.used)...)
			w.server.Feed(framebuffer(gpuLabels(1, "0"), flat(100))...)
			subject := "job/llama"
			if test.state == incident.Yes {
				subject = "pod/llama-0-abcde"
			}
			w.gpu().expect(incident.GPUMemoryGrowing, test.state, subject, test.value, test.words...)
		})
	}
}

func TestAYoungCurveTellsNoGrowth(t *testing.T) {
	w := newWorld(t)
	for rank := range job.Ranks {
		for _, series := range framebuffer(gpuLabels(rank, "0"), func(h float64) float64 { return 10000 * h }) {
			always := series.At
			series.At = func(at time.Time) (float64, bool) {
				v, _ := always(at)
				return v, at.After(midday.Add(-10 * time.Minute))
			}
			w.server.Feed(series)
		}
	}
	w.gpu().expect(incident.GPUMemoryGrowing, incident.Unknown, "job/llama", "", "2 of 2 curves are shorter than 20m")
}

func TestIdleGPUs(t *testing.T) {
	young := func(s prometheus.Series) prometheus.Series {
		always := s.At
		s.At = func(at time.Time) (float64, bool) {
			v, _ := always(at)
			return v, at.After(midday.Add(-3 * time.Minute))
		}
		return s
	}
	engine := func(rank int, share float64) prometheus.Series {
		return prometheus.Series{Name: "DCGM_FI_PROF_GR_ENGINE_ACTIVE", Labels: gpuLabels(rank, "0"), At: prometheus.Always(share)}
	}
	busy := func(rank int, percent float64) prometheus.Series { return util(gpuLabels(rank, "0"), flat(percent)) }
	// A saw-tooth that is mostly idle: a rate over this gauge would be far from it.
	saw := util(gpuLabels(0, "0"), func(h float64) float64 {
		if math.Mod(h*60, 5) < 1 {
			return 50
		}
		return 0
	})
	for name, test := range map[string]struct {
		series []prometheus.Series
		state  incident.State
		value  string
		words  string
	}{
		"idle":                          {[]prometheus.Series{busy(0, 10), busy(1, 14)}, incident.Yes, "12 %", "between 10 % (pod llama-0-abcde) and 14 % (pod llama-1-fghij)"},
		"a saw-tooth":                   {[]prometheus.Series{saw, busy(1, 10)}, incident.Yes, "10 %", "the gauge DCGM_FI_DEV_GPU_UTIL"},
		"busy":                          {[]prometheus.Series{busy(0, 100), busy(1, 95)}, incident.No, "98 %", "busy is not useful"},
		"one of two idles":              {[]prometheus.Series{busy(0, 0), busy(1, 90)}, incident.No, "45 %", "between 0 %"},
		"only profiling":                {[]prometheus.Series{engine(0, 0.05), engine(1, 0.07)}, incident.Yes, "6 %", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"},
		"one rank unseen, and it might": {[]prometheus.Series{busy(0, 5)}, incident.Unknown, "5 %", "1 running ranks have no series"},
		"one unseen, that cannot":       {[]prometheus.Series{busy(0, 80)}, incident.No, "80 %", "1 running ranks have no series"},
		"just started":                  {[]prometheus.Series{young(busy(0, 0)), young(busy(1, 0))}, incident.Unknown, "", "loading cannot be told from idling"},
		"nothing":                       {nil, incident.Unknown, "", "neither DCGM_FI_DEV_GPU_UTIL nor DCGM_FI_PROF_GR_ENGINE_ACTIVE"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.Feed(test.series...)
			w.gpu().expect(incident.GPUsIdle, test.state, "job/llama", test.value, test.words)
		})
	}
}

func TestRanksThatDoNotRunAreNotIdle(t *testing.T) {
	w := newWorld(t)
	stopped := job
	stopped.Ranks = []incident.Rank{{Index: 0, Pod: "llama-0-abcde", Phase: "Pending"}}
	w.params.Workload = w.put("workload.json", stopped)
	w.server.Feed(util(gpuLabels(0, "0"), flat(0)))
	w.gpu().expect(incident.GPUsIdle, incident.Unknown, "job/llama", "", "no rank was running")
}

// TestCurvesAreKept for the report, within bounds.
func TestCurvesAreKept(t *testing.T) {
	w := newWorld(t)
	for rank := range job.Ranks {
		for gpu := range 40 { // as many as no node has, to go over the bound
			labels := gpuLabels(rank, fmt.Sprint(gpu))
			used := flat(1000 * float64(gpu))
			if rank == 1 && gpu == 0 { // the emptiest, but steep
				used = func(h float64) float64 { return 900 * h }
			}
			w.server.Feed(append(framebuffer(labels, used), util(labels, flat(50)))...)
		}
	}
	a := w.gpu()
	var kept struct {
		Metric, Unit string
		Series       []struct {
			Pod, GPU string
			Points   [][2]float64
		}
		LeftOut int `json:"left_out"`
	}
	a.file("metrics/gpu-memory.json", &kept)
	if len(kept.Series) != 64 || kept.LeftOut != 16 || kept.Unit != "bytes" {
		t.Fatalf("%d series kept, %d left out, unit %s", len(kept.Series), kept.LeftOut, kept.Unit)
	}
	steep := false
	for _, series := range kept.Series {
		steep = steep || series.Pod == "llama-1-fghij" && series.GPU == "0"
		if points := series.Points; len(points) > 240 || len(points) < 200 || points[len(points)-1][0] != float64(midday.Unix()) {
			t.Errorf("%s/%s has %d points", series.Pod, series.GPU, len(series.Points))
		}
	}
	if !steep {
		t.Error("the steepest curve is not among those kept")
	}
	a.expect(incident.GPUMemoryGrowing, incident.Yes, "pod/llama-1-fghij", "0.9 GiB/h")
	a.file("metrics/gpu-util.json", &kept)
	if len(kept.Series) != 64 || kept.LeftOut != 16 || kept.Series[0].Points[0][1] != 50 {
		t.Errorf("utilisation: %d series, %d left out", len(kept.Series), kept.LeftOut)
	}
	var asked []struct {
		Query  string
		Series int
		Notes  []string
	}
	a.file("metrics/gpu-queries.json", &asked)
	if len(asked) == 0 || asked[0].Series != 80 || !strings.Contains(strings.Join(asked[0].Notes, ""), "simulated") {
		t.Errorf("asked: %+v", asked)
	}
}

// TestManyFullPodsAreCounted: a thousand ranks must not fill a history.
func TestManyFullPodsAreCounted(t *testing.T) {
	w := newWorld(t)
	big := incident.Workload{Target: job.Target}
	for rank := range 1000 {
		pod := fmt.Sprintf("llama-%d-x", rank)
		big.Ranks = append(big.Ranks, incident.Rank{Index: rank, Pod: pod, Phase: "Running", Node: "gpu-00"})
		labels := gpuLabels(0, "0")
		labels["exported_pod"] = pod
		w.server.Feed(framebuffer(labels, flat(81000))...)
	}
	w.params.Workload = w.put("workload.json", big)
	began := time.Now()
	found := w.gpu().of(incident.GPUMemoryFull)
	t.Logf("1000 pods were asked about in %s", time.Since(began))
	if len(found) != 8 || !strings.Contains(found[7].Why, "992 further ones") {
		t.Errorf("%d findings, the last: %+v", len(found), found[len(found)-1])
	}
}

func TestAPrometheusThatDoesNotAnswer(t *testing.T) {
	guarded := start(t, prometheus.Options{Token: "secret"})
	for name, test := range map[string]struct {
		way   metrics.Way
		words string
	}{
		"nobody there":   {metrics.Way{URL: "http://127.0.0.1:1"}, "check prometheus.url"},
		"a wrong token":  {metrics.Way{URL: guarded.URL(), Token: "other"}, "check prometheus.token"},
		"something else": {metrics.Way{URL: guarded.URL() + "/elsewhere", Token: "secret"}, "prometheus.url"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.connect(test.way)
			for _, id := range []string{incident.GPUMemoryFull, incident.GPUMemoryGrowing, incident.GPUsIdle} {
				w.gpu().expect(id, incident.Unknown, "job/llama", "", test.words)
			}
			for _, id := range []string{incident.IOWaitHigh, incident.CPUSaturated} {
				w.data().expect(id, incident.Unknown, "job/llama", "", test.words)
			}
		})
	}
}

func TestTheTokenIsSent(t *testing.T) {
	w := newWorld(t)
	w.server = start(t, prometheus.Options{Token: "secret"})
	w.connect(metrics.Way{URL: w.server.URL(), Token: "secret"})
	w.server.Feed(framebuffer(gpuLabels(0, "0"), flat(100))...)
	w.server.Feed(framebuffer(gpuLabels(1, "0"), flat(100))...)
	w.gpu().expect(incident.GPUMemoryFull, incident.No, "job/llama", "0 %")
}
