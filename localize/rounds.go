package localize

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

const (
	// maxGroups of one round: each is a Job.
	maxGroups = 64
	// leastBits under which a round is not worth its GPUs.
	leastBits = 0.02
	// shuffles is how many arbitrary halvings are offered besides the sensible rounds.
	shuffles = 6
)

// splits are into how many groups suspects are offered to be cut.
var splits = []int{2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 48, maxGroups}

// best is the offered round that tells most for its price, nil when none tells
// anything.
func (s *state) best() []group {
	f := s.belief.forecast()
	var chosen []group
	most := 0.0
	for _, round := range s.offers() {
		round = s.runnable(round)
		if len(round) == 0 {
			continue
		}
		if worth, bits := f.worth(round); bits >= leastBits && worth > most+1e-9 {
			chosen, most = round, worth
		}
	}
	return chosen
}

// offers lists sensible rounds, in a fixed order: of equally good ones the
// first is taken.
func (s *state) offers() [][]group {
	var offers [][]group
	if !s.blindToPace() {
		offers = append(offers, []group{s.free(s.site.all())})
	}
	offers = append(offers, s.cuts()...)
	offers = append(offers, s.domainOffers()...)
	offers = append(offers, s.withPartners()...)
	offers = append(offers, s.halvings()...)
	offers = append(offers, s.linkOffers()...)
	offers = append(offers, s.insides()...)
	return offers
}

// enoughPeers is how many groups of a round must be compared before it is believed
// that none of them is slow, where nobody told what to expect.
const enoughPeers = 8

// peers is the round that lets groups be compared with each other, nil when
// that is not needed.
func (s *state) peers() []group {
	if !s.blindToPace() || slices.ContainsFunc(s.tests, test.bad) {
		return nil
	}
	all := s.free(s.site.all())
	return s.runnable(even(all, min(enoughPeers, len(all)/2)))
}

// blindToPace: nobody told what to expect and no round had enough groups to be
// compared, so that all of them may be slow.
func (s *state) blindToPace() bool {
	if s.in.ExpectedGBps > 0 || len(s.site.nodes) < 4 {
		return false
	}
	counts := make([]int, len(s.rounds))
	measured := false
	for _, t := range s.tests {
		if t.busbw > 0 && len(t.group) > 1 {
			counts[t.round]++
			measured = true
		}
	}
	enough := min(enoughPeers, len(s.site.nodes)/2)/2 + 1
	return measured && slices.Max(counts) < enough
}

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
				offers = append(offers, s.across(members, crossing))
			}
		}
	}
	return offers
}

func (s *state) across(members group, crossing int) []group {
	var outside group
	for _, node := range s.free(s.site.all()) {
		if _, in := slices.BinarySearch(members, node); !in {
			outside = append(outside, node)
		}
	}
	least := slices.Clone(members)
	slices.SortStableFunc(least, func(a, b int) int { return cmp.Compare(s.belief.node[a], s.belief.node[b]) })
	taken := map[int]bool{}
	var round []group
	for _, node := range least[:crossing] {
		if partner := s.partner(node, outside, taken); partner >= 0 {
			taken[partner] = true
			round = append(round, ascending(node, partner))
		}
	}
	inside := slices.Clone(least[crossing:])
	slices.Sort(inside)
	if len(inside) > 1 {
		round = append(round, inside)
	}
	return round
}

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

// insides offers tests inside the most suspect nodes: they tell a bad node from
// what is between nodes, and need no partners.
func (s *state) insides() [][]group {
	all := s.free(s.site.all())
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

func ascending(a, b int) group {
	if a > b {
		a, b = b, a
	}
	return group{a, b}
}

// runnable drops empty groups, groups that failed to run twice, and what is too much.
func (s *state) runnable(round []group) []group {
	var kept []group
	for _, g := range round {
		if len(g) > 0 && s.errorsOf(g) < 2 && len(kept) < maxGroups {
			kept = append(kept, g)
		}
	}
	return kept
}
