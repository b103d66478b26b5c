package diagnosis

import (
	"cmp"
	"slices"
	"strings"

	"gpumedic/incident"
)

// kind of evidence. Two of one kind tell little more than one; two of different
// kinds are independent witnesses.
type kind int

const (
	text    kind = iota // lines of logs
	cluster             // objects and their state
	test                // a communication test
	kinds
)

// bound keeps every confidence under certainty.
const bound = 0.97

// candidate is a root cause that something speaks for.
type candidate struct {
	failureCase string
	// caseWeight is how strong the line was that named the failure case.
	caseWeight float64
	rootCause  string
	blamed     incident.Blamed
	// blame is how strong the evidence was that named the blamed.
	blame float64
	// support is the strongest evidence of each kind, 0 to 1.
	support [kinds]float64
	// doubt multiplies: 1 nothing against, 0 excluded.
	doubt   float64
	reasons []reason
	// pro and against are ids of findings and observations, decide names checks.
	pro, against, decide []string
}

type reason struct {
	weight float64
	text   string
}

// board holds the candidates in the order in which they came up.
type board struct {
	candidates []*candidate
}

// of returns the candidate for a cause, new when nobody spoke for it yet.
func (b *board) of(failureCase, rootCause string) *candidate {
	if c := b.find(rootCause); c != nil {
		return c
	}
	c := &candidate{failureCase: failureCase, rootCause: rootCause, doubt: 1}
	b.candidates = append(b.candidates, c)
	return c
}

func (b *board) find(rootCause string) *candidate {
	for _, c := range b.candidates {
		if c.rootCause == rootCause {
			return c
		}
	}
	return nil
}

// speak adds evidence for the cause: from names the finding or observation.
func (c *candidate) speak(k kind, weight float64, from, why string) {
	c.support[k] = max(c.support[k], weight)
	c.pro = add(c.pro, from)
	c.say(weight, why)
}

// seenAs says under which failure case the cause shows itself: one cause breaks
// different things, and the strongest line names what it broke here.
func (c *candidate) seenAs(weight float64, failureCase string) {
	if failureCase != "" && weight > c.caseWeight {
		c.caseWeight, c.failureCase = weight, failureCase
	}
}

// say adds a reason; weight decides its place among the others.
func (c *candidate) say(weight float64, why string) {
	if why != "" {
		c.reasons = append(c.reasons, reason{weight, sentence(why)})
	}
}

// accuse names who is at fault; stronger evidence wins, but a kind without a name
// says less than any name.
func (c *candidate) accuse(weight float64, blamed incident.Blamed) {
	if len(blamed.Names) == 0 && len(c.blamed.Names) > 0 {
		return
	}
	if weight >= c.blame {
		c.blame, c.blamed = weight, blamed
	}
}

// object lowers the confidence: factor 0 excludes, 1 changes nothing.
func (c *candidate) object(factor float64, from, why string) {
	c.doubt *= factor
	c.against = add(c.against, from)
	c.say(-1, why)
}

// wonder notes a question whose answer would settle the cause.
func (c *candidate) wonder(check string) { c.decide = add(c.decide, check) }

// confidence joins the kinds as independent witnesses and applies the doubt.
func (c *candidate) confidence() float64 {
	wrong := 1.0
	for _, weight := range c.support {
		wrong *= 1 - weight
	}
	return min(1-wrong, bound) * c.doubt
}

// ranked returns the candidates as causes, best first.
func (b *board) ranked() []incident.Cause {
	const floor = 0.05
	out := []incident.Cause{}
	for _, c := range b.candidates {
		if c.confidence() >= floor {
			out = append(out, c.cause())
		}
	}
	slices.SortStableFunc(out, func(a, b incident.Cause) int { return cmp.Compare(b.Confidence, a.Confidence) })
	return out
}

func (c *candidate) cause() incident.Cause {
	slices.SortStableFunc(c.reasons, func(a, b reason) int { return cmp.Compare(b.weight, a.weight) })
	texts := []string{}
	for _, r := range c.reasons {
		texts = add(texts, r.text)
	}
	return incident.Cause{
		FailureCase: c.failureCase, RootCause: c.rootCause, Confidence: round(c.confidence()), Blamed: c.blamed,
		Reasons: texts, For: c.pro, Against: c.against, WouldDecide: c.decide,
	}
}

// round keeps two digits: more would pretend to a precision that is not there.
func round(x float64) float64 { return float64(int(x*100+0.5)) / 100 }

// add appends what is not there yet.
func add(list []string, item string) []string {
	if item == "" || slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return s
	}
	if 'a' <= s[0] && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	if last := s[len(s)-1]; last != '.' && last != '!' && last != '?' {
		s += "."
	}
	return s
}
