package report_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"gpumedic/incident"
	"gpumedic/report"
)

// ramp is a use of memory that rises by step each minute from a time on.
func ramp(from time.Time, minutes int, first, step float64) [][2]float64 {
	var points [][2]float64
	for m := range minutes {
		points = append(points, [2]float64{float64(from.Add(time.Duration(m) * time.Minute).Unix()), first + step*float64(m)})
	}
	return points
}

// TestMemoryPlot draws what was measured before a change and after it, each from its
// own side of the change, and nothing where nothing was measured.
func TestMemoryPlot(t *testing.T) {
	const gib = 1 << 30
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	rec := incident.Record{IncidentID: "incident/x", OpenedAt: at.Add(-10 * time.Minute), Outcome: incident.Resolved,
		Changes: []incident.Change{{Remedy: "set-allocator", AppliedAt: at, Verified: true}}}
	old := incident.Curve{Pod: "llama-3-aaaaa", GPU: "0", Total: 79.1 * gib, Points: ramp(at.Add(-50*time.Minute), 45, 40*gib, 0.8*gib)}
	fresh := incident.Curve{Pod: "llama-3-bbbbb", GPU: "0", Total: 79.1 * gib, Points: ramp(at.Add(2*time.Minute), 30, 45*gib, 0.05*gib)}
	nonsense := incident.Curve{Pod: "<script>", GPU: "1", Points: [][2]float64{{1e300, 5}, {float64(at.Unix()), 1e300}, {float64(at.Unix()), -1}}}
	page, err := report.HTML(rec, incident.Workload{}, incident.Curves{Series: []incident.Curve{old, nonsense}}, incident.Curves{Series: []incident.Curve{old, fresh}})
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("GPUMEDIC_KEEP_PAGES"); dir != "" {
		if err := os.WriteFile(dir+"/memory.html", page, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"before: pod llama-3-aaaaa, GPU 0, at most 75.2 GiB", "after: pod llama-3-bbbbb, GPU 0, at most 46.5 GiB",
		"the card has 79.1 GiB", "minutes since the change", `aria-labelledby="memory-title"`,
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(string(page), "before: pod llama-3-aaaaa"); n != 1 {
		t.Errorf("one GPU measured twice is named %d times", n)
	}
	if strings.Contains(string(page), "<script") || strings.Contains(string(page), "NaN") {
		t.Error("the page holds what was never measured")
	}
	bare, err := report.HTML(rec, incident.Workload{}, incident.Curves{}, incident.Curves{Series: []incident.Curve{nonsense}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(bare), "Memory of the GPUs") {
		t.Error("a page without measurements has a plot of them")
	}
}
