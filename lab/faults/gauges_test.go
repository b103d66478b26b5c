package faults_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/lab/faults"
)

// curve samples the gauges of a rank over the last hour, every 15 seconds.
func curve(t *testing.T, g faults.Gauges, now time.Time) []faults.Gauge {
	t.Helper()
	var all []faults.Gauge
	for at := now.Add(-59 * time.Minute); at.Before(now); at = at.Add(15 * time.Second) {
		sample, ok := g.At(at)
		if !ok {
			t.Fatalf("%s has no sample at %s", g.Pod, at)
		}
		if again, _ := g.At(at); again != sample {
			t.Fatalf("%s has two samples at %s", g.Pod, at)
		}
		all = append(all, sample)
	}
	return all
}

func extent(list []faults.Gauge, of func(faults.Gauge) float64) (least, most, mean float64) {
	least = of(list[0])
	for _, g := range list {
		least, most, mean = min(least, of(g)), max(most, of(g)), mean+of(g)/float64(len(list))
	}
	return least, most, mean
}

func share(g faults.Gauge) float64 { return g.Used / (g.Used + g.Free + g.Reserved) }

func TestGaugesShowAnHour(t *testing.T) {
	busy := func(g faults.Gauge) float64 { return g.Busy }
	waiting := func(g faults.Gauge) float64 { return g.Waiting }
	for name, c := range map[string]struct {
		scenario string
		of       func(faults.Gauge) float64
		// good is about least, most and mean.
		good func(least, most, mean float64) bool
	}{
		"fragments fill the GPU":         {"oom-fragmentation", share, func(least, most, _ float64) bool { return least < 0.6 && most > 0.85 }},
		"a leak too":                     {"oom-leak", share, func(least, most, _ float64) bool { return least < 0.6 && most > 0.9 }},
		"a healthy job is busy":          {"dataset-false-alarm", busy, func(least, _, _ float64) bool { return least > 90 }},
		"and its memory does not move":   {"dataset-false-alarm", share, func(least, most, _ float64) bool { return most == least && most < 0.7 }},
		"a starved one idles":            {"dataset-slow-storage", busy, func(_, most, _ float64) bool { return most < 20 }},
		"and waits for storage":          {"dataset-slow-storage", waiting, func(least, _, _ float64) bool { return least > 20 }},
		"for the CPU nobody waits so":    {"dataset-loader", waiting, func(_, most, _ float64) bool { return most == 0 }},
		"a tenant leaves no room for it": {"oom-foreign-process", share, func(_, most, _ float64) bool { return most > 0.55 }},
		"preprocessing uses what it may": {"dataset-metrics-missing", func(g faults.Gauge) float64 { return g.CPUs }, func(least, _, _ float64) bool { return least > 8 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := set(t, c.scenario)
			st.open()
			st.run(st.trained(2))
			all := st.model.Gauges()
			if len(all) != len(st.pods) {
				t.Fatalf("%d ranks have gauges", len(all))
			}
			if least, most, mean := extent(curve(t, all[0], time.Now()), c.of); !c.good(least, most, mean) {
				t.Errorf("least %.3f, most %.3f, mean %.3f", least, most, mean)
			}
		})
	}
}

func TestGaugesEndWithThePod(t *testing.T) {
	st := set(t, "dataset-false-alarm")
	st.open()
	st.run(st.trained(2))
	if err := st.client.CoreV1().Pods("training").Delete(t.Context(), st.pods[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := func() bool {
		for _, g := range st.model.Gauges() {
			if _, ok := g.At(time.Now().Add(time.Minute)); g.Pod == st.pods[0].Name && !ok {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(5 * time.Second); !ended(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the gauges of a deleted pod go on")
		}
	}
	for _, g := range st.model.Gauges() {
		if _, past := g.At(time.Now().Add(-time.Minute)); !past {
			t.Errorf("the past of %s is gone", g.Pod)
		}
	}
}
