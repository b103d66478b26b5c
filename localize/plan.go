package localize

import (
	"fmt"
	"math/bits"
	"slices"

	"gpumedic/incident"
)

// Input is what is known before the first test.
type Input struct {
	Nodes []incident.Node
	// Prior is the probability that a node is bad, by its name; a node that is
	// not named gets its share of what is usual.
	Prior map[string]float64
	// ExpectedGBps is the bus bandwidth of a healthy group; 0 = unknown, then
	// groups are compared with each other.
	ExpectedGBps float64
	// MaxRounds is the budget; 0 means DefaultMaxRounds of the site. With 1 all nodes are
	// tested together once; a pass is then called clean.
	MaxRounds int
}

// DefaultMaxRounds is the budget for a site of so many nodes: enough for what
// takes longest, a bad link or nodes that fail now and then beside noise, which
// is about eight rounds for every doubling of the site. It is 28 for two nodes,
// 100 for a thousand.
func DefaultMaxRounds(nodes int) int { return 20 + 8*bits.Len(uint(max(0, nodes-1))) }

// errorsInARow is after how many rounds without any answer we give up: one
// retry.
const errorsInARow = 2

// Step is what to do next: run Groups at the same time (no node is in two of
// them), or stop with Verdict. Exactly one of the two is set.
type Step struct {
	Groups  []incident.Group
	Verdict *incident.Verdict
	// Suspects are what is still suspected, most likely first, at most eight.
	// Cleared counts the nodes that no longer are.
	Suspects []incident.Suspect
	Cleared  int
}

// Next answers what to do after the given rounds. It never fails: rounds that
// make no sense end inconclusive.
func Next(in Input, rounds []incident.Round) Step {
	s := newState(in, rounds)
	switch {
	case len(s.site.nodes) == 0:
		return s.inconclusive("there are no nodes to test")
	case s.unanswered() >= errorsInARow || !s.answered() && len(rounds) > 0 && s.spent():
		return s.inconclusive("the tests could not be run: " + s.lastError())
	case len(s.site.nodes) == 1:
		return s.alone()
	case len(rounds) == 0 && !s.hasSuspect():
		return s.round([]group{s.site.all()})
	case len(rounds) > 0 && !s.answered():
		return s.round(even(s.site.all(), max(1, min(8, len(s.site.nodes)/2))))
	}
	return s.search()
}

// state is everything that one call of Next knows.
type state struct {
	in     Input
	site   *site
	rounds []incident.Round
	tests  []test
	belief *belief
	proven []bool
	met    map[[2]int]bool
	stuck  []setback // by node
	// weighed keeps what rest found.
	weighed weighed
}

func newState(in Input, rounds []incident.Round) *state {
	s := &state{in: in, site: newSite(in.Nodes), rounds: rounds}
	s.tests = readTests(in, s.site, rounds)
	s.proven, s.met, s.stuck = proven(s.site, s.tests), pairsMet(s.tests), s.setbacks()
	return s
}

func (s *state) budget() int {
	if s.in.MaxRounds > 0 {
		return s.in.MaxRounds
	}
	return DefaultMaxRounds(len(s.site.nodes))
}

func (s *state) spent() bool { return len(s.rounds) >= s.budget() }

func (s *state) answered() bool { return len(s.tests) > 0 }

// hasSuspect says whether the prior names somebody worth a test of their own.
func (s *state) hasSuspect() bool {
	for _, node := range s.site.nodes {
		if s.in.Prior[node.Name] >= 0.1 {
			return true
		}
	}
	return false
}

// alone handles a single node: two failures of its own test accuse it.
func (s *state) alone() Step {
	name, failures := s.site.nodes[0].Name, 0
	for _, test := range s.tests {
		if !test.failed {
			return s.verdict(incident.Verdict{Clean: true, Why: fmt.Sprintf("the test inside %s passed; it says nothing about the network", name)})
		}
		failures++
	}
	switch {
	case failures >= proofs:
		return s.verdict(incident.Verdict{
			Bad: []incident.BadPart{{Kind: "node", ID: name, Confidence: 0.95}},
			Why: fmt.Sprintf("the test inside %s failed %d times", name, failures),
		})
	case s.spent():
		return s.inconclusive(fmt.Sprintf("the test inside %s failed once and the budget of %d rounds is spent", name, s.budget()))
	}
	return s.round([]group{s.site.all()})
}

// search weighs the explanations and takes the verdict or the best next round.
func (s *state) search() Step {
	s.belief = believe(newField(s.in, s.site, s.tests))
	certain := s.certain()
	decided := s.decided(certain)
	switch open := s.unproven(certain); {
	case decided && len(open) == 0 && len(s.untested()) == 0 && !s.infraOpen(certain) && len(s.switchProof(certain)) == 0:
		return s.convict(certain)
	case s.spent():
		return s.outOfBudget()
	default:
		return s.next(certain, open, decided)
	}
}

// next is the round that settles most: what is believed is proved, who was not
// tested is, and what could not be run is tried again.
func (s *state) next(certain []part, open group, decided bool) Step {
	var groups []group
	if len(open) > 0 {
		groups = s.proof(certain, open)
	}
	if len(groups) == 0 {
		groups = s.switchProof(certain)
	}
	if len(groups) == 0 && s.infraOpen(certain) {
		groups = s.runnable(s.infraProof())
	}
	if len(groups) == 0 && !decided {
		groups = s.wanted(certain)
	}
	groups = lend(groups, s.retries(groups))
	if len(groups) == 0 {
		return s.stuckBetween(certain, open, decided)
	}
	return s.round(groups)
}

// wanted is the round that tells most. Before anybody is looked for, it must be
// likely that anything else is bad at all: that is asked of all others together.
func (s *state) wanted(certain []part) []group {
	if groups := s.peers(); groups != nil {
		return groups
	}
	others := s.runnable(s.others(certain))
	if s.doubtful(certain) && len(others) > 0 && (len(certain) == 0 || s.belief.forecast().gain(others) >= leastBits) {
		return others
	}
	if groups := s.best(); len(groups) > 0 {
		return groups
	}
	// Nothing else is left to ask: once more all others together, if that may
	// still show anything.
	rest := s.rest(certain)
	if rest <= leftOpen && !s.allPassed(certain) || len(certain) > 0 && rest > openShare {
		return others
	}
	return nil
}

// doubtful: it may well be that nothing else is bad, and nobody stands out.
func (s *state) doubtful(certain []part) bool {
	if len(s.tests) == 0 || 1-s.rest(certain) < doubt {
		return false
	}
	return !slices.ContainsFunc(s.belief.verdicts, func(v blamed) bool {
		return s.shown(v) >= standsOut && !slices.Contains(certain, v.part)
	})
}

// others are all nodes without those that are certain to be bad; who is behind
// a bad switch is a group of its own.
func (s *state) others(certain []part) []group {
	hidden := s.hidden(certain)
	var outside, inside group
	for _, node := range s.free(s.site.all()) {
		guilty := slices.ContainsFunc(certain, func(p part) bool {
			return (p.place == atNode || p.place == atLink) && int(p.a) == node
		})
		switch {
		case guilty:
		case hidden[node]:
			inside = append(inside, node)
		default:
			outside = append(outside, node)
		}
	}
	return slices.DeleteFunc([]group{outside, inside}, func(g group) bool { return len(g) < 2 })
}

// round turns index groups into named ones.
func (s *state) round(groups []group) Step {
	var step Step
	for i, members := range groups {
		named := incident.Group{ID: fmt.Sprintf("r%d-g%d", len(s.rounds)+1, i+1)}
		for _, node := range members {
			named.Nodes = append(named.Nodes, s.site.nodes[node].Name)
		}
		step.Groups = append(step.Groups, named)
	}
	return s.tell(step)
}
