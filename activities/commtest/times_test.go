package commtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSlowNodes: the ranks' own times name a node, or nobody.
func TestSlowNodes(t *testing.T) {
	set := func(r *run, rank int, change func(*event)) { change(&r.logs[rank].times[0]) }
	for name, c := range map[string]struct {
		nodes  int
		change func(r *run)
		want   []string
		clause string
	}{
		"even":            {5, func(*run) {}, nil, ""},
		"a little slower": {5, func(r *run) { set(r, 2, func(e *event) { e.Seconds *= 1.3 }) }, nil, ""},
		"one is slow":     {3, func(r *run) { set(r, 2, func(e *event) { e.Seconds *= 3 }) }, []string{"gpu-02"}, "node gpu-02 took 0.031 s for its own work"},
		"two are slow": {7, func(r *run) {
			set(r, 2, func(e *event) { e.Seconds *= 2 })
			set(r, 6, func(e *event) { e.Seconds *= 3 })
		}, []string{"gpu-02", "gpu-06"}, "node gpu-02 took"},
		"all differ widely": {5, func(r *run) {
			for rank, factor := range []float64{1, 2, 3, 4, 5} {
				set(r, rank, func(e *event) { e.Seconds *= factor })
			}
		}, nil, ""},
		"two nodes cannot be compared": {2, func(r *run) { set(r, 1, func(e *event) { e.Seconds *= 9 }) }, nil, ""},
		"one comes late":               {4, func(r *run) { set(r, 1, func(e *event) { e.Late = 0.004 }) }, []string{"gpu-01"}, "node gpu-01 comes 0.004 s late"},
		"one comes a little late":      {4, func(r *run) { set(r, 1, func(e *event) { e.Late = 0.0004 }) }, nil, ""},
		"a node slows its neighbours": {8, func(r *run) {
			for _, rank := range []int{7, 0, 1} {
				set(r, rank, func(e *event) { e.Exchange *= 4 })
			}
		}, []string{"gpu-00"}, "node gpu-00 exchanges data slowly with both its neighbours"},
		"a link slows its two ends": {8, func(r *run) {
			for _, rank := range []int{3, 4} {
				set(r, rank, func(e *event) { e.Exchange *= 4 })
			}
		}, nil, ""},
		"a rank did not tell": {3, func(r *run) {
			set(r, 2, func(e *event) { e.Seconds *= 3 })
			r.logs[0].times = nil
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := healthy(t, c.nodes)
			for rank := range r.logs {
				set(r, rank, func(e *event) {
					e.Seconds, e.Late, e.Work, e.Exchange = 0.01+0.0001*float64(rank%3), 0.00001*float64(rank%2), 0.001, 0.002
				})
			}
			c.change(r)
			got, clause := slowNodes(r.logs, r.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (c.clause == "") != (clause == "") || !strings.Contains(clause, c.clause) {
				t.Errorf("clause %q, want ...%s...", clause, c.clause)
			}
			if outcome := Parse(r.logs, r.want); !slices.Equal(outcome.SlowNodes, got) {
				t.Errorf("the outcome names %v", outcome.SlowNodes)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{0: nil, 2: {3, 2, 1}, 2.5: {4, 1, 3, 2}} {
		if got := median(values); got != want {
			t.Errorf("median of %v is %v, want %v", values, got, want)
		}
	}
}
