package localize

import (
	"fmt"

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
	// MaxRounds is the budget; 0 means DefaultMaxRounds. With 1 all nodes are
	// tested together once, which tells clean from not clean.
	MaxRounds int
}

// DefaultMaxRounds is enough for two bad nodes among a hundred.
const DefaultMaxRounds = 12

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
	site := newSite(in.Nodes)
	state := &state{in: in, site: site, rounds: rounds, tests: readTests(in, site, rounds)}
	if len(site.nodes) == 0 {
		return state.inconclusive("there are no nodes to test")
	}
	if len(rounds) == 0 {
		return state.round([]group{site.all()})
	}
	if state.unanswered() >= errorsInARow || !state.answered() && state.spent() {
		return state.inconclusive("the tests could not be run: " + state.lastError())
	}
	if !state.answered() {
		return state.round([]group{site.all()})
	}
	if len(site.nodes) == 1 {
		return state.alone()
	}
	if state.allPassed() {
		return state.cleanUnlessSlow()
	}
	return state.search()
}

// state is everything that one call of Next knows.
type state struct {
	in     Input
	site   *site
	rounds []incident.Round
	tests  []test
}

func (s *state) budget() int {
	if s.in.MaxRounds > 0 {
		return s.in.MaxRounds
	}
	return DefaultMaxRounds
}

func (s *state) spent() bool { return len(s.rounds) >= s.budget() }

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

func (s *state) answered() bool { return len(s.tests) > 0 }

// allPassed: every test of all nodes together passed, and nothing else failed.
func (s *state) allPassed() bool {
	together := false
	for _, test := range s.tests {
		if test.failed {
			return false
		}
		together = together || len(test.group) == len(s.site.nodes)
	}
	return together
}

// cleanUnlessSlow: where nobody told what to expect, one more round lets the
// nodes be compared with each other before they are called clean.
func (s *state) cleanUnlessSlow() Step {
	first := s.tests[0]
	comparable := s.in.ExpectedGBps == 0 && first.busbw > 0 && len(s.site.nodes) >= 4
	if comparable && len(s.tests) == 1 && !s.spent() {
		return s.round(s.site.chunks((len(s.site.nodes) + 1) / 2))
	}
	why := fmt.Sprintf("all %d nodes together passed", len(s.site.nodes))
	if s.in.ExpectedGBps == 0 {
		why += "; what bandwidth to expect was not told"
	}
	return s.verdict(incident.Verdict{Clean: true, Why: why})
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
	case failures >= 2:
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
	ranked := weigh(s.in, s.site, s.tests)
	if s.convinced(ranked) {
		return s.convict(ranked[0])
	}
	if s.spent() {
		return s.inconclusive(fmt.Sprintf("the budget of %d rounds is spent; still possible: %s", s.budget(), s.names(ranked)))
	}
	if groups := s.proof(ranked); groups != nil {
		return s.round(groups)
	}
	if groups := s.best(ranked); groups != nil {
		return s.round(groups)
	}
	return s.inconclusive("no further test can tell these apart: " + s.names(ranked))
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
	return step
}
