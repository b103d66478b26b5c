package localize

import (
	"cmp"
	"slices"
)

// domainOffers offers every leaf as a group, every rack, every NVLink domain,
// and for the most suspect of them pairs across its border.
func (s *state) domainOffers() [][]group {
	var offers [][]group
	var level []group
	taken := make([]bool, len(s.site.nodes))
	flush := func() {
		if len(level) > 0 && len(level) <= maxGroups {
			offers = append(offers, level)
		}
		level, taken = nil, make([]bool, len(s.site.nodes))
	}
	for _, d := range s.site.domains {
		if slices.ContainsFunc(d.members, func(node int) bool { return taken[node] }) { // the next level begins
			flush()
		}
		for _, node := range d.members {
			taken[node] = true
		}
		level = append(level, s.free(d.members))
	}
	flush()
	return append(offers, s.borders()...)
}

// borders crosses the border of each suspect domain with a few pairs, and
// tests the rest of it inside.
func (s *state) borders() [][]group {
	var offers [][]group
	for _, v := range s.belief.verdicts {
		if v.part.place != atSwitch || v.share < 0.02 || len(offers) >= 12 {
			continue
		}
		members := s.free(s.site.domains[v.part.a].members)
		for _, crossing := range []int{1, 2, 4} {
			if crossing < len(members) {
				offers = append(offers, s.across(members, members, crossing))
			}
		}
	}
	return offers
}

// across pairs some of the candidates, the least suspected, with nodes outside
// their domain; the other members are tested together.
func (s *state) across(members, candidates group, crossing int) []group {
	var outside group
	for _, node := range s.free(s.site.all()) {
		if _, in := slices.BinarySearch(members, node); !in {
			outside = append(outside, node)
		}
	}
	least := slices.Clone(candidates)
	slices.SortStableFunc(least, func(a, b int) int { return cmp.Compare(s.belief.node[a], s.belief.node[b]) })
	taken := map[int]bool{}
	var round []group
	for _, node := range least[:crossing] {
		if partner := s.partner(node, outside, taken); partner >= 0 {
			taken[partner] = true
			round = append(round, ascending(node, partner))
		}
	}
	inside := without(members, round)
	if len(inside) > 1 {
		round = append(round, inside)
	}
	return round
}
