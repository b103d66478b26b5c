package simulate

import (
	"math"
	"slices"

	"gpumedic/incident"
	"gpumedic/localize"
)

// Baseline is a known way to search, re-implemented from its description.
type Baseline struct {
	Name string
	// Most is the largest site that it is played on; 0 = any.
	Most   int
	Search Search
}

// Baselines are what planners are compared with. None of them tests again what
// failed by chance, and none looks for links or switches.
func Baselines() []Baseline {
	return []Baseline{
		{Name: "all-pairs", Most: 64, Search: allPairs},
		{Name: "two-round-pairing", Search: twoRoundPairing},
		{Name: "two-pass-sweep", Search: twoPassSweep},
		{Name: "halving", Search: halving},
		{Name: "sqrt-groups+bisection", Search: sqrtBisection},
	}
}

// slowHalf is the share of the median under which the baselines call a group slow.
const slowHalf = 0.5

// run asks a round of index groups and tells which were bad.
func run(in localize.Input, ask Ask, groups [][]int) (bad []bool, gbps []float64) {
	named := make([]incident.Group, len(groups))
	for i, members := range groups {
		for _, node := range members {
			named[i].Nodes = append(named[i].Nodes, in.Nodes[node].Name)
		}
	}
	bad, gbps = make([]bool, len(groups)), make([]float64, len(groups))
	for i, outcome := range ask(named) {
		bad[i], gbps[i] = outcome.Result == incident.TestFail, outcome.BusBWGBps
	}
	expected := in.ExpectedGBps
	if expected == 0 {
		expected = median(gbps)
	}
	for i := range groups {
		bad[i] = bad[i] || gbps[i] > 0 && gbps[i] < slowHalf*expected
	}
	return bad, gbps
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	sorted = slices.DeleteFunc(sorted, func(v float64) bool { return v <= 0 })
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// names makes a verdict of node indexes.
func names(in localize.Input, bad []int) incident.Verdict {
	v := incident.Verdict{Clean: len(bad) == 0}
	slices.Sort(bad)
	for _, node := range slices.Compact(bad) {
		v.Bad = append(v.Bad, incident.BadPart{Kind: "node", ID: in.Nodes[node].Name, Confidence: 1})
	}
	return v
}

// allPairs is the full tournament by the circle method: a node that fails with
// more than half of all others is bad.
func allPairs(in localize.Input, ask Ask) incident.Verdict {
	n := len(in.Nodes)
	fails := make([]int, n)
	circle := n + n%2 // with an odd number, one rests
	for round := range circle - 1 {
		var pairs [][]int
		for i := range circle / 2 {
			a, b := (round+i)%(circle-1), (round+circle-1-i)%(circle-1)
			if i == 0 {
				b = circle - 1
			}
			if a < n && b < n {
				pairs = append(pairs, []int{a, b})
			}
		}
		failed, _ := run(in, ask, pairs)
		for i, pair := range pairs {
			if failed[i] {
				fails[pair[0]]++
				fails[pair[1]]++
			}
		}
	}
	var guilty []int
	for node, count := range fails {
		if 2*count > n-1 {
			guilty = append(guilty, node)
		}
	}
	return names(in, guilty)
}

// neighbours pairs the order; of an odd number the last group has three.
func neighbours(order []int) [][]int {
	var pairs [][]int
	for i := 0; i+1 < len(order); i += 2 {
		pairs = append(pairs, []int{order[i], order[i+1]})
	}
	if len(order)%2 == 1 && len(pairs) > 0 {
		pairs[len(pairs)-1] = append(pairs[len(pairs)-1], order[len(order)-1])
	}
	return pairs
}

func upTo(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// twoRoundPairing is elastic training's network check: neighbours first, then
// the fastest with the slowest; who failed both times is bad.
func twoRoundPairing(in localize.Input, ask Ask) incident.Verdict {
	pairs := neighbours(upTo(len(in.Nodes)))
	first, gbps := run(in, ask, pairs)
	failed, speed := make([]bool, len(in.Nodes)), make([]float64, len(in.Nodes))
	for i, pair := range pairs {
		for _, node := range pair {
			failed[node], speed[node] = first[i], gbps[i]
		}
	}
	order := upTo(len(in.Nodes))
	slices.SortStableFunc(order, func(a, b int) int { return int(math.Copysign(1, speed[b]-speed[a])) })
	var mixed []int
	for i := range order {
		if i%2 == 0 {
			mixed = append(mixed, order[i/2])
		} else {
			mixed = append(mixed, order[len(order)-1-i/2])
		}
	}
	pairs = neighbours(mixed)
	second, _ := run(in, ask, pairs)
	var guilty []int
	for i, pair := range pairs {
		for _, node := range pair {
			if second[i] && failed[node] {
				guilty = append(guilty, node)
			}
		}
	}
	return names(in, guilty)
}

// twoPassSweep pairs everybody, then everybody who failed with somebody who
// passed; without any who passed there is no second pass.
func twoPassSweep(in localize.Input, ask Ask) incident.Verdict {
	pairs := neighbours(upTo(len(in.Nodes)))
	failed, _ := run(in, ask, pairs)
	var suspects, good []int
	for i, pair := range pairs {
		if failed[i] {
			suspects = append(suspects, pair...)
		} else {
			good = append(good, pair...)
		}
	}
	switch {
	case len(suspects) == 0:
		return incident.Verdict{Clean: true}
	case len(good) < len(suspects):
		return incident.Verdict{Inconclusive: true}
	}
	return confirm(in, ask, suspects, good)
}

// confirm pairs each suspect with a good node of its own.
func confirm(in localize.Input, ask Ask, suspects, good []int) incident.Verdict {
	var pairs [][]int
	for i, node := range suspects {
		pairs = append(pairs, []int{node, good[i]})
	}
	failed, _ := run(in, ask, pairs)
	var guilty []int
	for i, node := range suspects {
		if failed[i] {
			guilty = append(guilty, node)
		}
	}
	return names(in, guilty)
}

// halving tests all, then follows the halves that fail, down to pairs.
func halving(in localize.Input, ask Ask) incident.Verdict {
	all := upTo(len(in.Nodes))
	if failed, _ := run(in, ask, [][]int{all}); !failed[0] {
		return incident.Verdict{Clean: true}
	}
	return bisect(in, ask, [][]int{all}, map[int]bool{})
}

// bisect halves failing groups in parallel until they are pairs, and then
// pairs each suspect with a node that passed.
func bisect(in localize.Input, ask Ask, failing [][]int, good map[int]bool) incident.Verdict {
	for slices.ContainsFunc(failing, func(g []int) bool { return len(g) > 3 }) {
		var next, halves [][]int
		for _, g := range failing {
			if len(g) <= 3 {
				next = append(next, g)
			} else {
				halves = append(halves, g[:len(g)/2], g[len(g)/2:])
			}
		}
		failing = append(next, screen(in, ask, halves, good)...)
	}
	return settle(in, ask, failing, good)
}

// screen returns the groups that are bad, and remembers who passed.
func screen(in localize.Input, ask Ask, groups [][]int, good map[int]bool) [][]int {
	var failing [][]int
	failed, _ := run(in, ask, groups)
	for i, g := range groups {
		if failed[i] {
			failing = append(failing, g)
			continue
		}
		for _, node := range g {
			good[node] = true
		}
	}
	return failing
}

func settle(in localize.Input, ask Ask, failing [][]int, good map[int]bool) incident.Verdict {
	suspects := slices.Concat(failing...)
	var partners []int
	for node := range in.Nodes {
		if good[node] && !slices.Contains(suspects, node) {
			partners = append(partners, node)
		}
	}
	if len(suspects) == 0 || len(partners) < len(suspects) {
		return incident.Verdict{Inconclusive: true}
	}
	return confirm(in, ask, suspects, partners)
}

// sqrtBisection screens groups of about the square root of the site, then
// bisects those that fail.
func sqrtBisection(in localize.Input, ask Ask) incident.Verdict {
	size := max(2, int(math.Ceil(math.Sqrt(float64(len(in.Nodes))))))
	good := map[int]bool{}
	failing := screen(in, ask, slices.Collect(slices.Chunk(upTo(len(in.Nodes)), size)), good)
	if len(failing) == 0 {
		return incident.Verdict{Clean: true}
	}
	return bisect(in, ask, failing, good)
}
