package localize

import (
	"cmp"
	"slices"
)

// few nodes have too few others to prove them bad with.
const few = 3

// withPartners offers rounds that pair the worst suspects, few and many, with
// nodes that passed, alone or while all others are tested together.
func (s *state) withPartners() [][]group {
	suspects := s.free(s.site.all())
	slices.SortStableFunc(suspects, func(a, b int) int { return cmp.Compare(s.suspicion(b), s.suspicion(a)) })
	var offers [][]group
	for count := 1; count <= min(len(suspects)/2, maxGroups-1); count *= 2 {
		if s.suspicion(suspects[count-1]) < 0.005 {
			break
		}
		pairs := s.pairUp(suspects[:count])
		if len(pairs) == 0 {
			continue
		}
		offers = append(offers, pairs)
		if rest := without(s.free(s.site.all()), pairs); len(rest) > 1 {
			offers = append(offers, append(slices.Clone(pairs), rest))
		}
	}
	return offers
}

// suspicion is how far a node is blamed, by itself or as an end of a link.
func (s *state) suspicion(node int) float64 { return s.belief.node[node] + s.belief.link[node] }

// pairUp gives each suspect a partner of its own.
func (s *state) pairUp(suspects group) []group {
	taken := map[int]bool{}
	for _, suspect := range suspects {
		taken[suspect] = true
	}
	var pairs []group
	all := s.free(s.site.all())
	for _, suspect := range suspects {
		if partner := s.partner(suspect, all, taken); partner >= 0 {
			taken[partner] = true
			pairs = append(pairs, ascending(suspect, partner))
		}
	}
	return pairs
}

// partner finds the best company for a suspect: proven, hardly suspected, not
// met alone before, and from its own leaf, so that the pair crosses as little
// as possible. -1 when there is nobody.
func (s *state) partner(suspect int, among group, taken map[int]bool) int {
	best, bestScore := -1, 0.0
	for _, node := range among {
		doubt := s.suspicion(node)
		if taken[node] || node == suspect || doubt > 0.3 {
			continue
		}
		score := 1 - 3*doubt
		if s.proven[node] {
			score++
		}
		if s.site.nodes[node].Leaf == s.site.nodes[suspect].Leaf {
			score += 0.1
		}
		score -= 0.2 * s.sharedTrouble(suspect, node)
		if s.met[ascendingPair(suspect, node)] {
			score -= 10
		}
		if best < 0 || score > bestScore {
			best, bestScore = node, score
		}
	}
	return best
}

// sharedTrouble counts the bad tests that two nodes were in together: a partner
// without any leaves no doubt about the way between them.
func (s *state) sharedTrouble(a, b int) float64 {
	count := 0.0
	for _, t := range s.belief.f.together(int32(a), int32(b), nil) {
		if s.tests[t].bad() {
			count++
		}
	}
	return count
}

func ascendingPair(a, b int) [2]int { return [2]int{min(a, b), max(a, b)} }

// pairsMet are the pairs that were tested alone.
func pairsMet(tests []test) map[[2]int]bool {
	met := map[[2]int]bool{}
	for _, t := range tests {
		if len(t.group) == 2 {
			met[ascendingPair(t.group[0], t.group[1])] = true
		}
	}
	return met
}

// without leaves out the nodes of some groups.
func without(nodes group, groups []group) group {
	out := map[int]bool{}
	for _, g := range groups {
		for _, node := range g {
			out[node] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(node int) bool { return out[node] })
}
