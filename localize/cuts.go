package localize

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// splits are into how many groups suspects are offered to be cut.
var splits = []int{2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 48, maxGroups}

// suspects are the nodes that hold nearly all belief in bad nodes, in the
// order of their places, and the others.
func (s *state) suspects() (suspects, others group) {
	byBelief := s.free(s.site.all())
	slices.SortStableFunc(byBelief, func(a, b int) int { return cmp.Compare(s.belief.node[b], s.belief.node[a]) })
	total, sum := 0.0, 0.0
	for _, node := range byBelief {
		total += s.belief.node[node]
	}
	for _, node := range byBelief {
		if sum < 0.99*total || sum == 0 {
			suspects = append(suspects, node)
		} else {
			others = append(others, node)
		}
		sum += s.belief.node[node]
	}
	slices.Sort(suspects)
	slices.Sort(others)
	return suspects, others
}

// cuts offers the suspects in groups of about equal belief, neighbours
// together and apart, with the others resting or as a group of their own.
func (s *state) cuts() [][]group {
	suspects, others := s.suspects()
	orders := []group{suspects, strided(suspects, max(2, len(suspects)/8)), shuffled(suspects, uint64(len(s.rounds)))}
	var offers [][]group
	for _, order := range orders {
		for _, count := range splits {
			if count > len(suspects) {
				break
			}
			round, left := s.befriend(s.cut(order, count), others)
			offers = append(offers, round)
			if len(left) > 1 {
				offers = append(offers, append(slices.Clone(round), left))
			}
		}
	}
	return offers
}

// cut divides nodes into groups of about the same belief.
func (s *state) cut(order group, count int) []group {
	total := 0.0
	for _, node := range order {
		total += s.belief.node[node] + 1e-9
	}
	groups := make([]group, 0, count)
	sum := 0.0
	for _, node := range order {
		weight := s.belief.node[node] + 1e-9
		if len(groups) == 0 || (sum+weight/2 > total*float64(len(groups))/float64(count) && len(groups) < count) {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], node)
		sum += weight
	}
	for _, g := range groups {
		slices.Sort(g)
	}
	return groups
}

// befriend gives a suspect that stands alone a partner, the least suspect that
// it has not met alone, and returns who is left.
func (s *state) befriend(groups []group, others group) (round []group, left group) {
	taken := map[int]bool{}
	for _, g := range groups {
		if len(g) == 1 {
			partner := s.partner(g[0], others, taken)
			if partner < 0 {
				continue
			}
			taken[partner] = true
			g = ascending(g[0], partner)
		}
		round = append(round, g)
	}
	for _, node := range others {
		if !taken[node] {
			left = append(left, node)
		}
	}
	return round, left
}

// strided reorders so that nodes that are step apart become neighbours.
func strided(members group, step int) group {
	order := make(group, 0, len(members))
	for first := range step {
		for i := first; i < len(members); i += step {
			order = append(order, members[i])
		}
	}
	return order
}

// shuffled is arbitrary but the same for the same seed.
func shuffled(members group, seed uint64) group {
	order := slices.Clone(members)
	rng := rand.New(rand.NewPCG(seed, 11))
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}
