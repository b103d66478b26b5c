package localize

import (
	"slices"

	"gpumedic/incident"
)

const (
	// A group below slowShare of what is expected is slow, one above fullShare
	// is not; what lies between says nothing about speed.
	slowShare, fullShare = 0.6, 0.75
)

// pace is what a group's bandwidth says.
type pace uint8

const (
	unmeasured pace = iota
	full
	sluggish
)

// test is one answered test: errors are not among them.
type test struct {
	round  int // from 0
	group  group
	failed bool
	pace   pace
	busbw  float64
	// named are the nodes that did not arrive, where that is a minority: when
	// most are missing, the list says nothing about anyone.
	named group
}

// bad says whether the test showed a fault of any kind.
func (t test) bad() bool { return t.failed || t.pace == sluggish }

// readTests takes what the rounds answered. Outcomes without a group, or with
// nodes that we do not know, are no answers of ours.
func readTests(in Input, s *site, rounds []incident.Round) []test {
	var tests []test
	for number, round := range rounds {
		for _, outcome := range round.Outcomes {
			members, known := s.find(round, outcome)
			if !known || (outcome.Result != incident.TestPass && outcome.Result != incident.TestFail) {
				continue
			}
			t := s.newTest(members, outcome)
			t.round = number
			tests = append(tests, t)
		}
	}
	judgePace(in.ExpectedGBps, tests)
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
	members := make(group, 0, len(names))
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
	t := test{group: members, failed: outcome.Result == incident.TestFail, busbw: outcome.BusBWGBps}
	if n := len(outcome.FailedNodes); t.failed && n > 0 && 2*n <= len(members) {
		for _, name := range outcome.FailedNodes {
			if at, known := s.index[name]; known {
				t.named = append(t.named, at)
			}
		}
	}
	return t
}

// judgePace compares with what is expected, or with the best of the peers.
// Tests inside one node measure something else and are left out.
func judgePace(expected float64, tests []test) {
	if expected == 0 {
		expected = bestPeer(tests)
	}
	for i, t := range tests {
		switch {
		case len(t.group) < 2 || t.busbw <= 0 || expected <= 0:
		case t.busbw < slowShare*expected: // failed for no other reason, if it did
			tests[i].failed, tests[i].pace = false, sluggish
		case !t.failed && t.busbw > fullShare*expected:
			tests[i].pace = full
		}
	}
}

// bestPeer is the highest bandwidth, unless it stands alone far above all
// others: one wild figure must not make everybody else slow.
func bestPeer(tests []test) float64 {
	var seen []float64
	for _, t := range tests {
		if len(t.group) > 1 && !t.failed && t.busbw > 0 {
			seen = append(seen, t.busbw)
		}
	}
	slices.Sort(seen)
	if n := len(seen); n >= 6 && seen[n-2] < slowShare*seen[n-1] {
		return seen[n-2]
	}
	if len(seen) == 0 {
		return 0
	}
	return seen[len(seen)-1]
}

// proven says of every node whether it passed a test with others, at full pace
// where that was measured.
func proven(s *site, tests []test) []bool {
	good := make([]bool, len(s.nodes))
	for _, t := range tests {
		if t.bad() || len(t.group) < 2 {
			continue
		}
		for _, node := range t.group {
			good[node] = true
		}
	}
	return good
}
