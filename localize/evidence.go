package localize

import (
	"slices"

	"gpumedic/incident"
)

// slowShare of what is expected, or of what the best peers reach, under which
// a group that ended well counts as failed.
const slowShare = 0.5

// test is one answered test: errors are not among them.
type test struct {
	group   group
	members []bool // by node index
	failed  bool
	busbw   float64
	// named are the nodes that did not arrive, where that is a minority: when
	// most are missing, the list says nothing about anyone.
	named []bool
}

// readTests takes what the rounds answered. Outcomes without a group, or with
// nodes that we do not know, are no answers of ours.
func readTests(in Input, s *site, rounds []incident.Round) []test {
	var tests []test
	for _, round := range rounds {
		for _, outcome := range round.Outcomes {
			members, known := s.find(round, outcome)
			if !known || (outcome.Result != incident.TestPass && outcome.Result != incident.TestFail) {
				continue
			}
			tests = append(tests, s.newTest(members, outcome))
		}
	}
	markSlow(in.ExpectedGBps, tests)
	return tests
}

// find returns the nodes of an outcome, by its group where it names none.
func (s *site) find(round incident.Round, outcome incident.Outcome) (group, bool) {
	names := outcome.Nodes
	for _, g := range round.Groups {
		if g.ID == outcome.ID {
			names = g.Nodes
		}
	}
	var members group
	for _, name := range names {
		at, known := s.index[name]
		if !known {
			return nil, false
		}
		members = append(members, at)
	}
	slices.Sort(members)
	return slices.Compact(members), len(members) > 0
}

func (s *site) newTest(members group, outcome incident.Outcome) test {
	t := test{group: members, members: make([]bool, len(s.nodes)), failed: outcome.Result == incident.TestFail, busbw: outcome.BusBWGBps}
	for _, node := range members {
		t.members[node] = true
	}
	if n := len(outcome.FailedNodes); t.failed && n > 0 && 2*n <= len(members) {
		t.named = make([]bool, len(s.nodes))
		for _, name := range outcome.FailedNodes {
			if at, known := s.index[name]; known {
				t.named[at] = true
			}
		}
	}
	return t
}

// markSlow turns passes into failures where the bandwidth is far too low.
// Tests inside one node measure something else and are left out.
func markSlow(expected float64, tests []test) {
	if expected == 0 {
		for _, t := range tests {
			if len(t.group) > 1 {
				expected = max(expected, t.busbw)
			}
		}
	}
	for i, t := range tests {
		if len(t.group) > 1 && t.busbw > 0 && t.busbw < slowShare*expected {
			tests[i].failed = true
		}
	}
}

// proven says of every node whether it passed a test with others.
func proven(s *site, tests []test) []bool {
	good := make([]bool, len(s.nodes))
	for _, t := range tests {
		if t.failed || len(t.group) < 2 {
			continue
		}
		for _, node := range t.group {
			good[node] = true
		}
	}
	return good
}
