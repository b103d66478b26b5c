package localize

import (
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

// best is the offered round that tells most for its price, nil when none tells
// anything.
func (s *state) best() []group {
	f := s.belief.forecast()
	var chosen []group
	most := 0.0
	for _, round := range s.offers() {
		round = s.runnable(round)
		if !slices.ContainsFunc(round, s.stillTells) {
			continue
		}
		if worth, bits := f.worth(round); bits >= leastBits && worth > most+1e-9 {
			chosen, most = round, worth
		}
	}
	return s.filled(chosen, f)
}

// alwaysFails is how often the same nodes fail together before that is believed.
const alwaysFails = 3

// stillTells says whether a group may surprise us: nodes that failed again and
// again will once more.
func (s *state) stillTells(g group) bool {
	failures := 0
	for _, t := range s.tests {
		if slices.Equal(t.group, g) {
			if !t.bad() {
				return true
			}
			failures++
		}
	}
	return failures < alwaysFails
}

// filled adds those that would rest, as a group of their own or two, when that
// tells more for its price.
func (s *state) filled(round []group, f *forecast) []group {
	rest := without(s.free(s.site.all()), round)
	if len(round) == 0 || len(rest) < 2 {
		return round
	}
	best := round
	most, _ := f.worth(round)
	for _, more := range [][]group{{rest}, even(shuffled(rest, uint64(len(s.rounds))), 2)} {
		fuller := s.runnable(append(slices.Clone(round), more...))
		if worth, _ := f.worth(fuller); worth > most+1e-9 {
			best, most = fuller, worth
		}
	}
	return best
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
