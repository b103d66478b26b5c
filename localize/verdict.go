package localize

import (
	"fmt"
	"math"
	"slices"

	"gpumedic/incident"
)

const (
	// sure is how likely a part must be to be named by the verdict.
	sure = 0.99
	// sureOfAll is the same of what all nodes have in common: nobody is blamed, and
	// among few nodes no test tells more.
	sureOfAll = 0.97
	// nearlySure is enough when no test is left that could tell more, and the
	// verdict then says how sure it is.
	nearlySure = 0.95
	// openShare is how likely it may be that anything else is bad too, cleanShare
	// that anything is when nobody is blamed: that ends the search for the cause.
	openShare, cleanShare = 0.15, 0.12
	// leftOpen is the same when no test could tell any more, or none may be run.
	leftOpen = 0.25
	// With doubt that anything is bad, and nobody who stands out, all nodes are
	// tested again before anybody is looked for.
	doubt, standsOut = 0.25, 0.1
	// proofs is how many failed tests with proven partners accuse a node.
	proofs = 2
	// infraPairs must fail before nothing that crosses nodes is said to work.
	infraPairs = 8
	// cleared nodes are less likely to be bad than this.
	cleared = 0.01
	// mostSuspects are told.
	mostSuspects = 8
	// surest is the confidence that no verdict exceeds.
	surest = 0.99
)

// certain are the parts that are sure to be bad.
func (s *state) certain() []part {
	return slices.DeleteFunc(s.likelier(sureOfAll), func(p part) bool { return p.place != atInfra && s.share(p) < sure })
}

// likelier are the parts that are at least so likely to be bad.
func (s *state) likelier(share float64) []part {
	var list []part
	for _, v := range s.belief.verdicts {
		if v.share >= share {
			list = append(list, v.part)
		}
	}
	return list
}

// decided says whether nothing but these parts is likely to be bad. What they
// hide counts for nothing: behind a dead switch nobody can be tested.
func (s *state) decided(certain []part) bool {
	if slices.ContainsFunc(certain, func(p part) bool { return p.place == atInfra }) {
		return true
	}
	if !s.allPassed(certain) {
		return false
	}
	enough := openShare
	if len(certain) == 0 {
		enough = cleanShare
	}
	return s.rest(certain) <= enough
}

// rest is how likely anything else is bad besides these parts and what they hide.
// It is asked several times of the same parts, and weighing takes its time.
func (s *state) rest(parts []part) float64 {
	if !s.weighed.known || !slices.Equal(s.weighed.parts, parts) {
		s.weighed = weighed{known: true, parts: parts, rest: s.belief.apart(parts, s.hidden(parts))}
	}
	return s.weighed.rest
}

// weighed is the last answer of rest.
type weighed struct {
	known bool
	parts []part
	rest  float64
}

// hidden says, by node, whether nothing can be told of it: it is behind a switch
// that is bad, or could not be tested.
func (s *state) hidden(certain []part) []bool {
	list := make([]bool, len(s.site.nodes))
	for _, node := range s.givenUp() {
		list[node] = true
	}
	for _, p := range certain {
		if p.place == atSwitch {
			for _, node := range s.site.domains[p.a].members {
				list[node] = true
			}
		}
	}
	return list
}

// convict turns what is certain into the verdict.
func (s *state) convict(parts []part) Step {
	if len(parts) == 0 {
		return s.acquit()
	}
	var verdict incident.Verdict
	for _, p := range parts {
		bad := s.badPart(p)
		bad.Confidence = math.Floor(100*math.Min(surest, s.share(p))) / 100
		verdict.Bad = append(verdict.Bad, bad)
	}
	verdict.Why = s.describe(parts) + ": " + s.reasons(parts) + s.leftOut()
	return s.verdict(verdict)
}

// acquit calls the site clean, unless somebody could not be asked.
func (s *state) acquit() Step {
	if left := s.leftOut(); left != "" {
		return s.inconclusive("all nodes that could be tested passed" + left)
	}
	passed, bad := 0, 0
	for _, t := range s.tests {
		if t.bad() {
			bad++
		} else {
			passed++
		}
	}
	why := fmt.Sprintf("%d of %d tests over all %d nodes passed", passed, passed+bad, len(s.site.nodes))
	if bad > 0 {
		why += "; what failed did not come back and no part explains it"
	}
	if s.in.ExpectedGBps == 0 {
		why += "; what bandwidth to expect was not told"
	}
	return s.verdict(incident.Verdict{Clean: true, Why: why})
}

func (s *state) share(p part) float64 {
	for _, v := range s.belief.verdicts {
		if v.part == p {
			return v.share
		}
	}
	return 0
}

// outOfBudget ends with what is proved, or says between what it is open.
func (s *state) outOfBudget() Step {
	left, certain := s.untested(), s.likelier(nearlySure)
	proved := len(certain) > 0 && len(s.unproven(certain)) == 0 && !s.infraOpen(certain)
	rest := s.rest(certain)
	switch {
	case len(left) > 0:
		return s.inconclusive(fmt.Sprintf("the budget of %d rounds is spent and %d nodes were not tested; still possible: %s", s.budget(), len(left), s.names()))
	case s.in.MaxRounds == 1 && !slices.ContainsFunc(s.tests, test.bad):
		return s.acquit()
	case proved && rest <= leftOpen, len(certain) == 0 && rest <= openShare:
		return s.convict(certain)
	}
	return s.inconclusive(fmt.Sprintf("the budget of %d rounds is spent; still possible: %s", s.budget(), s.names()))
}

// stuckBetween ends when no further test would help: with what is certain when
// nobody else is seriously suspected.
func (s *state) stuckBetween(certain []part, open group, decided bool) Step {
	if len(certain) == 0 {
		certain = s.likelier(nearlySure)
		open = s.unproven(certain)
	}
	switch {
	case decided:
		return s.inconclusive("nobody is left to prove it with: " + s.names())
	case len(certain) > 0 && len(open) == 0 && len(s.untested()) == 0 && s.rest(certain) <= leftOpen:
		return s.convict(certain)
	}
	return s.inconclusive("no further test can tell these apart: " + s.names() + s.leftOut())
}

func (s *state) inconclusive(why string) Step {
	return s.verdict(incident.Verdict{Inconclusive: true, Why: why})
}

// verdict adds what the way to it cost.
func (s *state) verdict(v incident.Verdict) Step {
	if v.Bad == nil {
		v.Bad = []incident.BadPart{}
	}
	v.Rounds = len(s.rounds)
	for _, round := range s.rounds {
		v.Tests += len(round.Groups)
		for _, g := range round.Groups {
			v.NodeTests += len(g.Nodes)
		}
	}
	return s.tell(Step{Verdict: &v})
}
