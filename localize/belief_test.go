package localize

import (
	"slices"
	"testing"
)

// TestBeliefFindsTwoFlakyOfAThousand: a walk that begins with nothing comes by
// the second one late, so some begin with both.
func TestBeliefFindsTwoFlakyOfAThousand(t *testing.T) {
	const nodes, first, second = 1024, 212, 879
	s := newSite(cluster(nodes, 16))
	var tests []test
	for round := range 40 {
		odd := round%2 == 1
		for k := range 3 {
			tests = append(tests, test{round: round, group: ascending(25*round+k, 1001-12*round-k), pace: unmeasured})
		}
		for i, bad := range []int{first, second} {
			tests = append(tests, test{round: round, group: ascending(bad, 24*round+12*i+3), failed: odd != (i == 0), pace: unmeasured})
		}
	}
	b := believe(newField(Input{}, s, tests))
	for _, bad := range []int{first, second} {
		if share := b.node[bad]; share < 0.9 {
			t.Errorf("node %d has %.2f of the belief, want 0.9", bad, share)
		}
	}
	start := likeliest(b.f)
	if blames := func(node int32) bool {
		return slices.ContainsFunc(start, func(p part) bool { return p.place == atNode && p.a == node })
	}; len(start) != 2 || !blames(first) || !blames(second) {
		t.Errorf("the walk begins with %v, want the two nodes", start)
	}
}
