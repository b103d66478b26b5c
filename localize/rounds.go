package localize

import (
	"math"
	"slices"

	"gpumedic/incident"
)

const (
	// maxGroups of one round: each is a Job.
	maxGroups = 64
	// considered explanations when rounds are compared; the rest weighs nothing.
	considered = 2000
	// leastGain in bits under which a round is not worth its GPUs.
	leastGain = 0.03
	// price in bits of testing every node once.
	price = 0.05
	// few nodes have too few others to prove them bad with.
	few = 3
	// shuffles is how many arbitrary pairings are offered besides the sensible rounds.
	shuffles = 8
)

// best is the offered round that is expected to tell most, nil when none tells
// anything.
func (s *state) best(ranked []explanation) []group {
	ranked = ranked[:min(len(ranked), considered)]
	var chosen []group
	most := leastGain
	for _, round := range s.offers(ranked) {
		round = s.runnable(round)
		gain := s.gain(ranked, round) - price*float64(size(round))/float64(len(s.site.nodes))
		if len(round) > 0 && gain > most+1e-9 {
			chosen, most = round, gain
		}
	}
	return chosen
}

// gain in bits: how well the round's outcomes would tell explanations apart.
// Explanations that predict the same outcomes stay together.
func (s *state) gain(ranked []explanation, round []group) float64 {
	classes := map[string]float64{}
	var keys []string
	noise := 0.0
	inside := make([][]bool, len(round))
	for i, g := range round {
		inside[i] = make([]bool, len(s.site.nodes))
		for _, node := range g {
			inside[i][node] = true
		}
	}
	for _, e := range ranked {
		key := make([]byte, len(round))
		for i, g := range round {
			fails := s.chance(e, g, inside[i])
			key[i] = 'p'
			if fails > 0.5 {
				key[i] = 'f'
			}
			noise += e.weight * doubt(fails)
		}
		if _, known := classes[string(key)]; !known {
			keys = append(keys, string(key))
		}
		classes[string(key)] += e.weight
	}
	return entropy(classes, keys) - noise
}

// doubt in bits of a prediction that is no better than a guess; the small
// chances of erring are the same for every round and left out.
func doubt(chance float64) float64 {
	if chance < 0.1 || chance > 0.9 {
		return 0
	}
	return -chance*math.Log2(chance) - (1-chance)*math.Log2(1-chance)
}

// entropy walks the keys in the order they were found: the sum of floating
// point numbers depends on it.
func entropy(classes map[string]float64, keys []string) float64 {
	bits := 0.0
	for _, key := range keys {
		if w := classes[key]; w > 0 {
			bits -= w * math.Log2(w)
		}
	}
	return bits
}

// chance that a group fails under an explanation, false alarms left out.
func (s *state) chance(e explanation, g group, inside []bool) float64 {
	passes := 1.0
	for _, p := range e.parts {
		passes *= 1 - p.chance(s.site, g, inside)
	}
	return 1 - passes
}

// offers lists sensible rounds, in a fixed order: of equally good ones the
// first is taken.
func (s *state) offers(ranked []explanation) [][]group {
	site, n := s.site, len(s.site.nodes)
	offers := [][]group{{site.all()}, site.chunks((n + 1) / 2)}
	for _, size := range []int{2, 4, 8, 16, 32} {
		if size < n {
			offers = append(offers, site.chunks(size), cut(strided(site.all(), (n+size-1)/size), size))
		}
	}
	offers = append(offers, cut(rotated(site.all(), 1), 2), cut(strided(site.all(), (n+1)/2), 2))
	offers = append(offers, s.byDomain()...)
	offers = append(offers, s.acrossDomains()...)
	offers = append(offers, s.withPartners(ranked)...)
	for seed := range shuffles {
		order := shuffled(site.all(), seed)
		offers = append(offers, cut(order, 2), cut(order, 4), cut(order, (n+1)/2))
	}
	if n <= 6 {
		offers = append(offers, s.onePair()...)
	}
	if n <= few {
		offers = append(offers, s.singles(site.all()))
	}
	return offers
}

// strided reorders so that nodes that are step apart become neighbours.
func strided(members group, step int) group {
	var order group
	for first := range step {
		for i := first; i < len(members); i += step {
			order = append(order, members[i])
		}
	}
	return order
}

func rotated(members group, by int) group {
	return append(slices.Clone(members[by%len(members):]), members[:by%len(members)]...)
}

// shuffled is arbitrary but the same for the same seed, on every machine.
func shuffled(members group, seed int) group {
	order, x := slices.Clone(members), uint64(seed)*2862933555777941757+3037000493
	for i := len(order) - 1; i > 0; i-- {
		x = x*6364136223846793005 + 1442695040888963407
		j := int((x >> 33) % uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// byDomain offers every leaf as a group, every rack, every NVLink domain; a
// node that is in no domain of a level sits that round out.
func (s *state) byDomain() [][]group {
	var offers [][]group
	var level []group
	taken := make([]bool, len(s.site.nodes))
	for _, d := range s.site.domains {
		if slices.ContainsFunc(d.members, func(node int) bool { return taken[node] }) { // the next level begins
			offers = append(offers, level)
			level, taken = nil, make([]bool, len(s.site.nodes))
		}
		for _, node := range d.members {
			taken[node] = true
		}
		level = append(level, d.members)
	}
	if len(level) > 0 {
		offers = append(offers, level)
	}
	return offers
}

// acrossDomains offers, for every two domains that share no node, pairs of one
// node of each; and every domain alone, in pairs.
func (s *state) acrossDomains() [][]group {
	var offers [][]group
	for i, a := range s.site.domains {
		offers = append(offers, cut(a.members, 2))
		for _, b := range s.site.domains[i+1:] {
			if len(offers) > maxGroups || slices.ContainsFunc(b.members, func(node int) bool { return a.inside[node] }) {
				continue
			}
			var pairs []group
			for k := range min(len(a.members), len(b.members)) {
				pairs = append(pairs, ascending(a.members[k], b.members[k]))
			}
			offers = append(offers, pairs, pairs[:1])
		}
	}
	return offers
}

// singles tests nodes by themselves: where there are too few others to serve
// as proven partners.
func (s *state) singles(nodes group) []group {
	var groups []group
	for _, node := range nodes {
		groups = append(groups, group{node})
	}
	return groups
}

// onePair offers every pair on its own, with all other nodes at rest.
func (s *state) onePair() [][]group {
	var offers [][]group
	for a := range s.site.nodes {
		for b := a + 1; b < len(s.site.nodes); b++ {
			offers = append(offers, []group{{a, b}})
		}
	}
	return offers
}

func ascending(a, b int) group {
	if a > b {
		a, b = b, a
	}
	return group{a, b}
}

// runnable drops groups that failed to run twice, groups that answered twice
// already, and what is too much.
func (s *state) runnable(round []group) []group {
	var kept []group
	for _, g := range round {
		if s.errorsOf(g) < 2 && s.answersOf(g) < 2 && len(kept) < maxGroups {
			kept = append(kept, g)
		}
	}
	return kept
}

func (s *state) answersOf(g group) int {
	count := 0
	for _, t := range s.tests {
		if slices.Equal(t.group, g) {
			count++
		}
	}
	return count
}

func (s *state) errorsOf(g group) int {
	count := 0
	for _, round := range s.rounds {
		for _, outcome := range round.Outcomes {
			if members, known := s.site.find(round, outcome); known && outcome.Result == incident.TestError && slices.Equal(members, g) {
				count++
			}
		}
	}
	return count
}

func size(round []group) int {
	total := 0
	for _, g := range round {
		total += len(g)
	}
	return total
}
