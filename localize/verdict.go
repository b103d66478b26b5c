package localize

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gpumedic/incident"
)

const (
	// sure is the weight that an explanation needs to become the verdict.
	sure = 0.9
	// proofs is how many failed tests with proven partners accuse a node.
	proofs = 2
)

// convinced says whether the first explanation may become the verdict.
func (s *state) convinced(ranked []explanation) bool {
	return ranked[0].weight >= sure && len(s.unproven(ranked[0])) == 0
}

// unproven lists the blamed nodes that have not failed often enough with
// partners that passed elsewhere or are blamed by the same explanation.
func (s *state) unproven(e explanation) group {
	good := proven(s.site, s.tests)
	var list group
	for _, p := range e.parts {
		if p.kind == "node" && s.proofsAgainst(p.a, good) < proofs {
			list = append(list, p.a)
		}
	}
	return list
}

// proofsAgainst counts failed tests of a node in different company that is all
// proven good, and failed tests of the node by itself.
func (s *state) proofsAgainst(node int, good []bool) int {
	var companies []group
	alone := 0
	for _, t := range s.tests {
		if !t.failed || !t.members[node] {
			continue
		}
		if len(t.group) == 1 {
			alone++
			continue
		}
		innocent := !slices.ContainsFunc(t.group, func(other int) bool { return other != node && !good[other] })
		known := slices.ContainsFunc(companies, func(c group) bool { return slices.Equal(c, t.group) })
		if innocent && !known {
			companies = append(companies, t.group)
		}
	}
	return len(companies) + alone
}

// proof is the round that would prove what is believed already, nil when
// nothing is believed, or no partners are left to prove it with.
func (s *state) proof(ranked []explanation) []group {
	if ranked[0].weight < sure {
		return nil
	}
	open := s.unproven(ranked[0])
	pairs := s.pair(open, s.suspicion(ranked))
	fresh := slices.DeleteFunc(pairs, func(g group) bool { return s.metAlone(g[0], g[1]) })
	if len(fresh) == 0 && len(s.site.nodes) <= few {
		fresh = s.singles(open)
	}
	return s.runnable(fresh)
}

// convict turns an explanation into the verdict.
func (s *state) convict(e explanation) Step {
	if len(e.parts) == 0 {
		return s.verdict(incident.Verdict{Clean: true, Why: "the failures did not come back and no part explains them"})
	}
	var verdict incident.Verdict
	for _, p := range e.parts {
		bad := s.badPart(p)
		bad.Confidence = math.Round(e.weight*100) / 100
		verdict.Bad = append(verdict.Bad, bad)
	}
	verdict.Why = s.describe(e) + ": " + s.reasons(e)
	return s.verdict(verdict)
}

func (s *state) badPart(p part) incident.BadPart {
	switch p.kind {
	case "node":
		return incident.BadPart{Kind: "node", ID: s.site.nodes[p.a].Name}
	case "link":
		return incident.BadPart{Kind: "link", ID: s.site.nodes[p.a].Name + "<->" + s.site.nodes[p.b].Name}
	case "uplink", "switch":
		return incident.BadPart{Kind: "switch", ID: s.site.domains[p.a].name}
	default:
		return incident.BadPart{Kind: "infrastructure", ID: "*"}
	}
}

// describe names an explanation for people.
func (s *state) describe(e explanation) string {
	if len(e.parts) == 0 {
		return "nothing is bad"
	}
	words := make([]string, len(e.parts))
	for i, p := range e.parts {
		bad := s.badPart(p)
		switch p.kind {
		case "infrastructure":
			words[i] = "nothing that crosses nodes works"
		case "uplink":
			words[i] = "the way out of " + bad.ID + " is bad"
		default:
			words[i] = bad.Kind + " " + bad.ID + " is bad"
		}
	}
	return strings.Join(words, " and ")
}

// reasons counts the tests that speak for the verdict.
func (s *state) reasons(e explanation) string {
	failed, explained, passed, innocent := 0, 0, 0, 0
	for _, t := range s.tests {
		predicted := s.chance(e, t.group, t.members) > 0.5
		if t.failed {
			failed++
			if predicted {
				explained++
			}
		} else {
			passed++
			if !predicted {
				innocent++
			}
		}
	}
	text := fmt.Sprintf("%d of %d failed tests needed it", explained, failed)
	if passed > 0 {
		text += fmt.Sprintf(", %d of %d passed tests did without", innocent, passed)
	}
	return text
}

// names lists what is still possible, most likely first, as long as it matters.
func (s *state) names(ranked []explanation) string {
	var words []string
	for _, e := range ranked {
		text := fmt.Sprintf("%s (%.0f %%)", s.describe(e), e.weight*100)
		if len(words) > 0 && (len(words) == 4 || e.weight < 0.02) {
			break
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
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
	return Step{Verdict: &v}
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
