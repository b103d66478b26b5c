package localize

import (
	"slices"

	"gpumedic/incident"
)

const (
	// A node is given up when its tests could not be run so often, the last one
	// with no more than one partner, or so often at all.
	giveUpAlone, giveUpAtAll = 3, 8
)

// setback is what stands between a node and its test: how often in a row its
// group could not be run, and the group of the last time.
type setback struct {
	times int
	last  group
}

// setbacks reads them from the rounds; an answered test ends them.
func (s *state) setbacks() []setback {
	list := make([]setback, len(s.site.nodes))
	for _, round := range s.rounds {
		for _, outcome := range round.Outcomes {
			members, known := s.site.find(round, outcome)
			if !known {
				continue
			}
			for _, node := range members {
				if outcome.Result == incident.TestError {
					list[node] = setback{list[node].times + 1, members}
				} else {
					list[node] = setback{}
				}
			}
		}
	}
	return list
}

func (b setback) givenUp() bool {
	return b.times >= giveUpAtAll || b.times >= giveUpAlone && len(b.last) <= 2
}

// free leaves out the nodes whose last test could not be run: they are tried
// again by themselves, and do not spoil the tests of others.
func (s *state) free(nodes group) group {
	var list group
	for _, node := range nodes {
		if s.stuck[node].times == 0 {
			list = append(list, node)
		}
	}
	return list
}

// untested are the nodes that no answered test held and that are not given up.
func (s *state) untested() group {
	covered := make([]bool, len(s.site.nodes))
	for _, t := range s.tests {
		for _, node := range t.group {
			covered[node] = true
		}
	}
	var list group
	for node := range s.site.nodes {
		if !covered[node] && !s.stuck[node].givenUp() {
			list = append(list, node)
		}
	}
	return list
}

// givenUp are the nodes that could not be tested.
func (s *state) givenUp() group {
	var list group
	for node, b := range s.stuck {
		if b.givenUp() {
			list = append(list, node)
		}
	}
	return list
}

// smallGroup is up to which size a planned group lends nobody as a partner.
const smallGroup = 3

// lend takes the partners of retries out of the planned groups.
func lend(planned, retries []group) []group {
	var list []group
	for _, g := range planned {
		if g = without(g, retries); len(g) > 0 {
			list = append(list, g)
		}
	}
	return append(list, retries...)
}

// retries are groups of nodes whose last test could not be run: the same group
// once more, then its halves, in the end each node with a partner. Nodes that
// were never tested for another reason are added.
//
// Partners may come out of large planned groups.
func (s *state) retries(planned []group) []group {
	taken := map[int]bool{}
	for _, g := range planned {
		for _, node := range g {
			taken[node] = len(g) <= smallGroup
		}
	}
	var list []group
	for node, b := range s.stuck {
		if b.times == 0 || b.givenUp() || taken[node] {
			continue
		}
		var again group
		for _, member := range b.last {
			if s.stuck[member].times > 0 && !taken[member] && !s.stuck[member].givenUp() {
				again = append(again, member)
				taken[member] = true
			}
		}
		list = append(list, s.smaller(again, b.times, taken)...)
	}
	return append(list, s.forgotten(taken)...)
}

func (s *state) smaller(again group, times int, taken map[int]bool) []group {
	parts := []group{again}
	if times > 1 && len(again) > 1 {
		parts = even(again, 2)
	}
	var list []group
	for _, g := range parts {
		if len(g) == 1 {
			if g = s.inCompany(g[0], taken); g == nil {
				continue
			}
		}
		list = append(list, g)
	}
	return list
}

func (s *state) inCompany(node int, taken map[int]bool) group {
	partner := s.partner(node, s.free(s.site.all()), taken)
	if partner < 0 {
		return nil
	}
	taken[partner] = true
	return ascending(node, partner)
}

// forgotten are nodes that no test held so far although nothing hindered it.
func (s *state) forgotten(taken map[int]bool) []group {
	var list group
	for _, node := range s.untested() {
		if !taken[node] && s.stuck[node].times == 0 {
			list = append(list, node)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		if pair := s.inCompany(list[0], taken); pair != nil {
			return []group{pair}
		}
		return nil
	}
	return []group{list}
}

// unanswered counts the rounds at the end in which no test could be run.
func (s *state) unanswered() int {
	count := 0
	for i := len(s.rounds) - 1; i >= 0; i-- {
		for _, outcome := range s.rounds[i].Outcomes {
			if outcome.Result != incident.TestError {
				return count
			}
		}
		count++
	}
	return count
}

// errorsOf counts how often in a row exactly this group could not be run.
func (s *state) errorsOf(g group) int {
	if b := s.stuck[g[0]]; slices.Equal(b.last, g) {
		return b.times
	}
	return 0
}

// lastError is why the last test that could not be run was not.
func (s *state) lastError() string {
	for i := len(s.rounds) - 1; i >= 0; i-- {
		for _, outcome := range s.rounds[i].Outcomes {
			if outcome.Result == incident.TestError && outcome.Why != "" {
				return outcome.Why
			}
		}
	}
	return "no reason was given"
}
