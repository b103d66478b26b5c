package commtest

import (
	"fmt"
	"math"
	"slices"
)

const (
	// slowRatio is how many times the median a node must take to be called slow.
	slowRatio = 1.5
	// badRatio is the same where a GPU of one node fails the node's own test.
	badRatio = 2
	// spreads is how many robust standard deviations it must stand out.
	spreads = 5
	// lateShare of the work before a collective is late.
	lateShare = 0.5
	// fewest nodes among which one can stand out, and fewest for a ring of
	// exchanges, where a bad node slows its two neighbours too.
	fewest, fewestInRing = 3, 7
)

// slowNodes names the nodes whose ranks' own times stand out, and says so as a
// clause. A hint, and no verdict. What is compared:
//
//	work      computing and copying that touches no network
//	lateness  how much later than the others a rank comes to a collective
//	exchange  sending to the next and receiving from the previous node: one bad
//	          node is the middle of three slow ones in a row
func slowNodes(logs []RankLog, want Want) (nodes []string, clause string) {
	if want.ranks() < fewest {
		return nil, ""
	}
	found := func(node, why string) {
		if clause == "" {
			clause = why
		}
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	work := perNode(logs, want, func(e event) float64 { return e.Seconds })
	for _, at := range outliers(work, slowRatio*median(work)) {
		found(nodeOf(logs, at), fmt.Sprintf("; node %s took %.2g s for its own work where the median is %.2g s", nodeOf(logs, at), work[at], median(work)))
	}
	late := perNode(logs, want, func(e event) float64 { return e.Late })
	before := perNode(logs, want, func(e event) float64 { return e.Work })
	if limit := lateShare * median(before); limit > 0 {
		for _, at := range outliers(late, limit) {
			found(nodeOf(logs, at), fmt.Sprintf("; node %s comes %.2g s late to every collective", nodeOf(logs, at), late[at]))
		}
	}
	exchange := perNode(logs, want, func(e event) float64 { return e.Exchange })
	if at, ok := middle(outliers(exchange, slowRatio*median(exchange)), len(exchange)); ok {
		found(nodeOf(logs, at), fmt.Sprintf("; node %s exchanges data slowly with both its neighbours", nodeOf(logs, at)))
	}
	slices.Sort(nodes)
	return nodes, clause
}

// perNode is the largest value of each rank's processes, by rank; empty when a
// rank did not tell.
func perNode(logs []RankLog, want Want, value func(event) float64) []float64 {
	times := make([]float64, want.ranks())
	told := 0
	for _, log := range logs {
		if log.Rank < 0 || log.Rank >= len(times) || len(log.times) == 0 {
			continue
		}
		told++
		for _, e := range log.times {
			times[log.Rank] = max(times[log.Rank], value(e))
		}
	}
	if told < len(times) {
		return nil
	}
	return times
}

// outliers are the places of values above the limit that stand out from the
// rest: the median and the median of distances to it are not moved by a few
// bad values, as mean and standard deviation are.
func outliers(values []float64, limit float64) []int {
	if len(values) < fewest {
		return nil
	}
	middle := median(values)
	distances := make([]float64, len(values))
	for i, v := range values {
		distances[i] = math.Abs(v - middle)
	}
	// 1.4826 makes the median distance of normally spread values their
	// standard deviation.
	limit = max(limit, middle+spreads*1.4826*median(distances))
	var out []int
	for i, v := range values {
		if v > limit {
			out = append(out, i)
		}
	}
	return out
}

// middle finds the one that has a slow neighbour on both sides of the ring.
func middle(slow []int, all int) (int, bool) {
	if len(slow) != 3 || all < fewestInRing {
		return 0, false
	}
	for _, at := range slow {
		if slices.Contains(slow, (at+1)%all) && slices.Contains(slow, (at+all-1)%all) {
			return at, true
		}
	}
	return 0, false
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

func nodeOf(logs []RankLog, rank int) string {
	for _, log := range logs {
		if log.Rank == rank {
			return log.Node
		}
	}
	return ""
}

// slowGPU names a GPU of a node's own test that is far slower than its
// siblings at work that it does alone; "" when none is. CPUs are not judged.
func slowGPU(logs []RankLog, want Want) string {
	if want.network() || want.Backend != "nccl" || len(logs) != 1 {
		return ""
	}
	for _, kind := range []struct {
		name  string
		value func(event) float64
	}{
		{"computing", func(e event) float64 { return e.Compute }},
		{"copying", func(e event) float64 { return e.Copy }},
	} {
		times := make([]float64, len(logs[0].times))
		for i, e := range logs[0].times {
			times[i] = kind.value(e)
		}
		for _, at := range outliers(times, badRatio*median(times)) {
			return fmt.Sprintf("GPU %d of %s took %.2g s for %s by itself where the median of its siblings is %.2g s",
				logs[0].times[at].Local, logs[0].Node, times[at], kind.name, median(times))
		}
	}
	return ""
}
