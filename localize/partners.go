package localize

import (
	"cmp"
	"slices"
)

// suspicion is, by node, the weight of the explanations that blame it as a
// node or as an end of a link.
func (s *state) suspicion(ranked []explanation) []float64 {
	weight := make([]float64, len(s.site.nodes))
	for _, e := range ranked {
		for _, p := range e.parts {
			switch p.kind {
			case "node":
				weight[p.a] += e.weight
			case "link":
				weight[p.a] += e.weight
				weight[p.b] += e.weight
			}
		}
	}
	return weight
}

// withPartners offers rounds that pair the worst suspects with proven nodes,
// for few and for many suspects.
func (s *state) withPartners(ranked []explanation) [][]group {
	weight := s.suspicion(ranked)
	suspects := s.site.all()
	slices.SortStableFunc(suspects, func(a, b int) int { return cmp.Compare(weight[b], weight[a]) })
	var offers [][]group
	for count := 1; count <= len(suspects)/2; count *= 2 {
		if pairs := s.pair(suspects[:count], weight); len(pairs) > 0 {
			offers = append(offers, pairs)
		}
	}
	return offers
}

// pair gives each suspect a partner of its own that passed with others and is
// no suspect here; one that it has not been tested with alone, from its own
// leaf where there is one, so that the pair crosses as little as possible.
func (s *state) pair(suspects group, weight []float64) []group {
	good := proven(s.site, s.tests)
	for _, suspect := range suspects {
		good[suspect] = false
	}
	var pairs []group
	for _, suspect := range suspects {
		partner := s.partner(suspect, good, weight)
		if partner < 0 {
			continue
		}
		good[partner] = false
		pairs = append(pairs, ascending(suspect, partner))
	}
	return pairs
}

func (s *state) partner(suspect int, good []bool, weight []float64) int {
	best, bestScore := -1, 0.0
	for node := range s.site.nodes {
		if !good[node] || node == suspect || weight[node] > 0.3 {
			continue
		}
		score := 1 - weight[node]
		if s.site.nodes[node].Leaf == s.site.nodes[suspect].Leaf {
			score += 0.1
		}
		if s.metAlone(suspect, node) {
			score -= 10
		}
		if best < 0 || score > bestScore {
			best, bestScore = node, score
		}
	}
	return best
}

func (s *state) metAlone(a, b int) bool {
	pair := ascending(a, b)
	return slices.ContainsFunc(s.tests, func(t test) bool { return slices.Equal(t.group, pair) })
}
