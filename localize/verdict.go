package localize

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gpumedic/incident"
)

const (
	// sure is how likely a part must be to be named by the verdict.
	sure = 0.985
	// openShare is how likely it may be that anything else is bad too.
	openShare = 0.05
	// leftOpen is the same when no test could tell any more, or none may be run.
	leftOpen = 0.25
	// With doubt that anything is bad, and nobody who stands out, all nodes are
	// tested again before anybody is looked for.
	doubt, standsOut = 0.25, 0.1
	// cleanPasses is how often every node must pass before all are called clean.
	cleanPasses = 3
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
	var list []part
	for _, v := range s.belief.verdicts {
		if v.share >= sure {
			list = append(list, v.part)
		}
	}
	return list
}

// unproven lists the blamed nodes that have not failed often enough with
// partners that passed elsewhere or are blamed themselves.
func (s *state) unproven(parts []part) group {
	var list group
	for _, p := range parts {
		switch {
		case p.place == atNode && s.proofsAgainst(int(p.a)) < s.proofsNeeded(int(p.a)):
			list = append(list, int(p.a))
		case p.place == atLink && !s.met[ascendingPair(int(p.a), int(p.b))]:
			list = append(list, int(p.a), int(p.b))
		}
	}
	return list
}

// proofsNeeded is one more for a node that passed too: it fails now and then,
// and so do healthy ones.
func (s *state) proofsNeeded(node int) int {
	if s.proven[node] {
		return proofs + 1
	}
	return proofs
}

// infraOpen says whether infrastructure is blamed before it was seen that pairs
// fail wherever they are taken from, and that nodes by themselves work.
func (s *state) infraOpen(parts []part) bool {
	if !slices.ContainsFunc(parts, func(p part) bool { return p.place == atInfra }) {
		return false
	}
	return len(s.infraProof()) > 0
}

// infraProof is the next round that infrastructure is proved with, nil when it is.
func (s *state) infraProof() []group {
	pairs, inside := 0, 0
	for _, t := range s.tests {
		switch len(t.group) {
		case 1:
			inside++
		case 2:
			pairs++
		}
	}
	all := s.free(s.site.all())
	switch want := min(infraPairs, len(all)/2); {
	case pairs < want:
		return even(shuffled(all, 3)[:2*want], want)
	case inside < want && len(all) <= 4*infraPairs:
		return s.singles(strided(all, 2)[:min(len(all), infraPairs)])
	}
	return nil
}

// proofsAgainst counts bad tests of a node in company that is all proven good,
// no two with a member in common: else the way to that member would explain
// both. Bad tests of the node by itself count each.
func (s *state) proofsAgainst(node int) int {
	var companies []group
	alone := 0
	for _, t := range s.tests {
		if _, in := slices.BinarySearch(t.group, node); !in || !t.bad() {
			continue
		}
		if len(t.group) == 1 {
			alone++
			continue
		}
		guilty := func(other int) bool { return other != node && !s.proven[other] }
		if !slices.ContainsFunc(t.group, guilty) {
			companies = append(companies, t.group)
		}
	}
	return alone + apartFrom(companies)
}

// apartFrom counts companies of which no two have more than one member in
// common (who is accused), taking the smallest first.
func apartFrom(companies []group) int {
	slices.SortStableFunc(companies, func(a, b group) int { return len(a) - len(b) })
	var kept []group
	for _, c := range companies {
		if !slices.ContainsFunc(kept, func(k group) bool { return common(k, c) > 1 }) {
			kept = append(kept, c)
		}
	}
	return len(kept)
}

func common(a, b group) int {
	count := 0
	for _, node := range a {
		if _, in := slices.BinarySearch(b, node); in {
			count++
		}
	}
	return count
}

// proof is the round that would prove what is believed already: each with a
// partner, everybody else together; empty when no partners are left.
func (s *state) proof(open group) []group {
	if links := s.linksToProve(); len(links) > 0 {
		return links
	}
	pairs := slices.DeleteFunc(s.pairUp(s.free(open)), func(g group) bool { return s.met[ascendingPair(g[0], g[1])] })
	if len(pairs) == 0 && len(s.site.nodes) <= few {
		return s.singles(open)
	}
	if rest := without(s.free(s.site.all()), pairs); len(pairs) > 0 && len(rest) > 1 {
		rest = slices.DeleteFunc(rest, func(node int) bool { return s.suspicion(node) > 0.3 })
		if len(rest) > 1 {
			pairs = append(pairs, rest)
		}
	}
	return s.runnable(pairs)
}

// linksToProve are links that are sure to be bad and were not yet tested alone.
func (s *state) linksToProve() []group {
	var list []group
	for _, p := range s.certain() {
		if p.place == atLink && !s.met[ascendingPair(int(p.a), int(p.b))] && len(without(group{int(p.a), int(p.b)}, list)) == 2 {
			list = append(list, ascending(int(p.a), int(p.b)))
		}
	}
	return s.runnable(list)
}

// decided says whether nothing but these parts is likely to be bad. What they
// hide counts for nothing: behind a dead switch nobody can be tested.
func (s *state) decided(certain []part) bool {
	if slices.ContainsFunc(certain, func(p part) bool { return p.place == atInfra }) {
		return true
	}
	if len(certain) == 0 && !s.allPassed(cleanPasses) {
		return false
	}
	return s.belief.apart(certain, s.hidden(certain)) <= openShare
}

// allPassed says whether every node that can be tested passed so often in
// company: one that fails now and then may pass once.
func (s *state) allPassed(times int) bool {
	passes := make([]int, len(s.site.nodes))
	for _, t := range s.tests {
		if len(t.group) > 1 && !t.bad() {
			for _, node := range t.group {
				passes[node]++
			}
		}
	}
	for node, count := range passes {
		if count < times && !s.stuck[node].givenUp() {
			return false
		}
	}
	return true
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

func (s *state) share(p part) float64 {
	for _, v := range s.belief.verdicts {
		if v.part == p {
			return v.share
		}
	}
	return 0
}

// outOfBudget ends with what is proved, or says between what it is open.
func (s *state) outOfBudget(certain []part) Step {
	left := s.untested()
	proved := len(certain) > 0 && len(s.unproven(certain)) == 0 && !s.infraOpen(certain)
	rest := s.belief.apart(certain, s.hidden(certain))
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
func (s *state) stuckBetween(open group, decided bool) Step {
	certain := s.certain()
	switch {
	case decided:
		return s.inconclusive("nobody is left to prove it with: " + s.names())
	case len(certain) > 0 && len(open) == 0 && len(s.untested()) == 0 && s.belief.apart(certain, s.hidden(certain)) <= leftOpen:
		return s.convict(certain)
	}
	return s.inconclusive("no further test can tell these apart: " + s.names() + s.leftOut())
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
