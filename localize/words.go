package localize

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gpumedic/incident"
)

// leftOut names who could not be tested, "" when nobody.
func (s *state) leftOut() string {
	nodes := s.givenUp()
	if len(nodes) == 0 {
		return ""
	}
	words := make([]string, 0, 4)
	for _, node := range nodes[:min(3, len(nodes))] {
		words = append(words, s.site.nodes[node].Name)
	}
	if more := len(nodes) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("; %s could not be tested: %s", strings.Join(words, ", "), s.lastError())
}

func (s *state) badPart(p part) incident.BadPart {
	switch p.place {
	case atNode:
		return incident.BadPart{Kind: "node", ID: s.site.nodes[p.a].Name}
	case atLink:
		return incident.BadPart{Kind: "link", ID: s.site.nodes[p.a].Name + "<->" + s.site.nodes[p.b].Name}
	case atUplink, atSwitch:
		return incident.BadPart{Kind: "switch", ID: s.site.domains[p.a].name}
	default:
		return incident.BadPart{Kind: "infrastructure", ID: "*"}
	}
}

// manners counts, over the explanations, how a named part is bad.
func (b *belief) manner(named part) (cutOff bool, how manner) {
	var counts [manners]int
	uplink, all := 0, 0
	for _, sample := range b.samples {
		for _, p := range sample {
			if p.named() != named {
				continue
			}
			counts[p.manner]++
			all++
			if p.place == atUplink {
				uplink++
			}
		}
	}
	for m := range manners {
		if counts[m] > counts[how] {
			how = m
		}
	}
	return 2*uplink > all, how
}

// describe names parts for people, with how they are bad.
func (s *state) describe(parts []part) string {
	if len(parts) == 0 {
		return "nothing is bad"
	}
	words := make([]string, len(parts))
	for i, p := range parts {
		bad := s.badPart(p)
		cutOff, how := s.belief.manner(p)
		state := [manners]string{hard: "is bad", slow: "is slow", flaky: "fails now and then"}[how]
		switch {
		case p.place == atInfra && how == hard:
			words[i] = "nothing that crosses nodes works"
		case p.place == atInfra:
			words[i] = "whatever crosses nodes " + state
		case cutOff:
			words[i] = "the way out of " + bad.ID + " " + state
		default:
			words[i] = bad.Kind + " " + bad.ID + " " + state
		}
	}
	return strings.Join(words, " and ")
}

// reasons counts the tests that speak for the verdict.
func (s *state) reasons(parts []part) string {
	bad, explained, passed, innocent := 0, 0, 0, 0
	for t := range s.tests {
		touched := slices.ContainsFunc(parts, func(p part) bool { return s.belief.f.feels(p, t) })
		if s.tests[t].bad() {
			bad++
			if touched {
				explained++
			}
		} else {
			passed++
			if !touched {
				innocent++
			}
		}
	}
	text := fmt.Sprintf("%d of %d failed tests needed it", explained, bad)
	if passed > 0 {
		text += fmt.Sprintf(", %d of %d passed tests did without", innocent, passed)
	}
	return text
}

// feels says whether a test crossed a named part; of a switch, its border, or
// its inside when the test was bad.
func (f *field) feels(p part, t int) bool {
	at := int32(t)
	if p.place == atSwitch && slices.Contains(f.touched(part{place: atUplink, a: p.a}, nil), at) {
		return true
	}
	return (p.place != atSwitch || f.tests[t].bad()) && slices.Contains(f.touched(p, nil), at)
}

// names lists what is still possible, most likely first, as long as it matters.
func (s *state) names() string {
	var words []string
	for _, suspect := range s.told() {
		words = append(words, fmt.Sprintf("%s %s (%.0f %%)", suspect.Kind, suspect.ID, 100*suspect.Probability))
		if len(words) == 4 {
			break
		}
	}
	if none := 1 - s.belief.apart(nil, nil); none >= 0.02 || len(words) == 0 {
		words = append(words, fmt.Sprintf("nothing is bad (%.0f %%)", 100*none))
	}
	return strings.Join(words, "; ")
}

// told are the suspects worth telling. Nodes that no test tells apart share
// their suspicion.
func (s *state) told() []incident.Suspect {
	var list []incident.Suspect
	for _, v := range s.belief.verdicts {
		share := s.shown(v)
		if share < 0.02 || len(list) == mostSuspects {
			continue
		}
		bad := s.badPart(v.part)
		list = append(list, incident.Suspect{Kind: bad.Kind, ID: bad.ID, Probability: math.Round(1000*share) / 1000})
	}
	slices.SortStableFunc(list, func(a, b incident.Suspect) int {
		switch {
		case a.Probability > b.Probability:
			return -1
		case a.Probability < b.Probability:
			return 1
		}
		return 0
	})
	return list
}

// shown is how likely a part is to be bad; nodes that no test tells apart share it.
func (s *state) shown(v blamed) float64 {
	if v.part.place == atNode {
		return s.belief.node[v.part.a]
	}
	return v.share
}

// tell adds to a step what is still suspected.
func (s *state) tell(step Step) Step {
	if s.belief == nil {
		return step
	}
	step.Suspects = s.told()
	for node := range s.site.nodes {
		if s.proven[node] && s.suspicion(node) < cleared {
			step.Cleared++
		}
	}
	return step
}
