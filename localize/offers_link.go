package localize

import (
	"cmp"
	"slices"
)

// halvings offers arbitrary halves and thirds of all nodes: of two ends that
// fail only together, some halving tells them apart.
func (s *state) halvings() [][]group {
	all := s.free(s.site.all())
	if len(all) < 4 {
		return nil
	}
	var offers [][]group
	for seed := range uint64(shuffles) {
		order := shuffled(all, seed+100*uint64(len(s.rounds)))
		offers = append(offers, even(order, 2))
		if seed < 2 && len(all) >= 6 {
			offers = append(offers, even(order, 3))
		}
	}
	return append(offers, even(all, 2), even(strided(all, (len(all)+1)/2), 2))
}

// even cuts nodes into groups of the same size.
func even(order group, count int) []group {
	var groups []group
	for i := range count {
		part := slices.Clone(order[i*len(order)/count : (i+1)*len(order)/count])
		slices.Sort(part)
		groups = append(groups, part)
	}
	return groups
}

// linkOffers tests the most suspect links by themselves, and their ends with
// others.
func (s *state) linkOffers() [][]group {
	var offers [][]group
	var alone []group
	taken := map[int]bool{}
	for _, v := range s.belief.verdicts {
		if v.part.place != atLink || v.share < 0.01 || len(alone) == maxGroups {
			continue
		}
		a, b := int(v.part.a), int(v.part.b)
		if taken[a] || taken[b] {
			continue
		}
		taken[a], taken[b] = true, true
		alone = append(alone, group{a, b})
		if n := len(alone); n&(n-1) == 0 { // the likeliest one, two, four, ...
			offers = append(offers, slices.Clone(alone))
		}
		if len(alone) == 1 {
			offers = append(offers, s.pairUp(group{a, b}))
		}
	}
	return append(offers, alone)
}

// insidePasses is how often a test inside a node is worth its time: what passed so
// often by itself will not be caught by itself.
const insidePasses = 3

// insides offers tests inside the most suspect nodes: they tell a bad node from
// what is between nodes, and need no partners.
func (s *state) insides() [][]group {
	passes := make([]int, len(s.site.nodes))
	for _, t := range s.tests {
		if len(t.group) == 1 && !t.bad() {
			passes[t.group[0]]++
		}
	}
	all := slices.DeleteFunc(s.free(s.site.all()), func(node int) bool { return passes[node] >= insidePasses })
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(s.suspicion(b), s.suspicion(a)) })
	var offers [][]group
	for count := 1; count <= min(len(all), maxGroups); count *= 2 {
		if s.suspicion(all[count-1]) < 0.03 {
			break
		}
		offers = append(offers, s.singles(all[:count]))
	}
	return offers
}

// singles tests nodes by themselves.
func (s *state) singles(nodes group) []group {
	var groups []group
	for _, node := range nodes {
		groups = append(groups, group{node})
	}
	return groups
}
