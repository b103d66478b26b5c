package localize

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// How often tests err, and how likely parts are to be bad before any test.
// Only their order of magnitude matters.
const (
	missRate  = 0.03 // a test passes although a bad part is in it
	falseRate = 0.02 // a test fails although no bad part is in it
	localSees = 0.7  // a test inside one node fails when the node is bad
	aroundIt  = 0.8  // a group larger than two fails when it holds a bad link

	oddsOfNodes  = 0.5 // all nodes together
	oddsOfUplink = 0.12
	oddsOfSwitch = 0.08
	oddsOfLinks  = 0.05
	oddsOfInfra  = 0.2

	// namedFactor and unnamedFactor weigh what a failed test says about who
	// did not arrive: a hint, never a proof.
	namedFactor, unnamedFactor = 3, 0.5

	// maxParts bounds an explanation, beam how many of a size are extended,
	// maxLinkNodes up to how many nodes every link is suspected from the start.
	maxParts, beam, maxLinkNodes = 4, 24, 32
)

// part is one thing that may be bad. Kind is node, link, uplink, switch or
// infrastructure; a and b are node indexes, or a is an index of a domain.
type part struct {
	kind string
	a, b int
	odds float64
}

// explanation is a set of bad parts, none for "nothing is bad", with its
// share of the weight of all explanations.
type explanation struct {
	parts  []part
	weight float64
	// score is the weight's logarithm before it was made a share.
	score float64
}

// chance that a group fails for this part.
func (p part) chance(s *site, g group, inside []bool) float64 {
	hit := 1 - missRate
	switch p.kind {
	case "node":
		if inside[p.a] && len(g) == 1 {
			return localSees
		}
		return when(inside[p.a], hit)
	case "link":
		if len(g) > 2 {
			hit = aroundIt
		}
		return when(inside[p.a] && inside[p.b], hit)
	case "uplink":
		within := s.domains[p.a].count(g)
		return when(within > 0 && within < len(g), hit)
	case "switch":
		return when(len(g) > 1 && s.domains[p.a].count(g) > 0, hit)
	default: // infrastructure
		return when(len(g) > 1, hit)
	}
}

func when(touched bool, chance float64) float64 {
	if touched {
		return chance
	}
	return 0
}

func (d domain) count(g group) int {
	n := 0
	for _, node := range g {
		if d.inside[node] {
			n++
		}
	}
	return n
}

// logLikelihood of all tests under a set of parts.
func logLikelihood(s *site, tests []test, parts []part) float64 {
	sum := 0.0
	for _, t := range tests {
		sum += math.Log(likelihood(s, t, parts))
	}
	return sum
}

func likelihood(s *site, t test, parts []part) float64 {
	passes, hint := 1-falseRate, 1.0
	for _, p := range parts {
		passes *= 1 - p.chance(s, t.group, t.members)
		if t.named != nil && p.kind == "node" && t.members[p.a] {
			if t.named[p.a] {
				hint *= namedFactor
			} else {
				hint *= unnamedFactor
			}
		}
	}
	if t.failed {
		return (1 - passes) * hint
	}
	return passes
}

// parts lists everything that may be bad and is worth a thought.
func parts(in Input, s *site, tests []test) []part {
	n := len(s.nodes)
	list := []part{{kind: "infrastructure", odds: oddsOfInfra}}
	for i, node := range s.nodes {
		odds := oddsOfNodes / float64(n)
		if p, told := in.Prior[node.Name]; told {
			p = min(max(p, 1e-4), 0.99)
			odds = p / (1 - p)
		}
		list = append(list, part{kind: "node", a: i, odds: odds})
	}
	share := float64(len(s.domains))
	for i := range s.domains {
		if outside := n - len(s.domains[i].members); outside > 1 { // the way to one node is that node
			list = append(list, part{kind: "uplink", a: i, odds: oddsOfUplink / share})
		}
		list = append(list, part{kind: "switch", a: i, odds: oddsOfSwitch / share})
	}
	return append(list, links(s, tests)...)
}

// links suspects every pair of a small site; in a large one only pairs that
// failed together in a group of up to four.
func links(s *site, tests []test) []part {
	n := len(s.nodes)
	odds := oddsOfLinks / (float64(n*(n-1))/2 + 1)
	if n <= maxLinkNodes {
		return linksWithin(s.all(), odds, nil)
	}
	var list []part
	for _, t := range tests {
		if t.failed && len(t.group) <= 4 {
			list = linksWithin(t.group, odds, list)
		}
	}
	return list
}

func linksWithin(g group, odds float64, list []part) []part {
	for i, a := range g {
		for _, b := range g[i+1:] {
			if link := (part{kind: "link", a: a, b: b, odds: odds}); !slices.Contains(list, link) {
				list = append(list, link)
			}
		}
	}
	return list
}

// weigh lists the explanations, most likely first, shares summing to one. It
// starts with none and single bad parts and extends the best ones by a part
// where that makes the outcomes clearly more likely.
func weigh(in Input, s *site, tests []test) []explanation {
	candidates := parts(in, s, tests)
	none := explanation{score: logLikelihood(s, tests, nil)}
	pool, front := []explanation{none}, []explanation{none}
	for size := 1; size <= maxParts && len(front) > 0; size++ {
		front = extend(s, tests, front, candidates)
		pool = append(pool, front...)
		front = front[:min(len(front), beam)]
	}
	sortByScore(pool)
	return shares(pool)
}

func extend(s *site, tests []test, front []explanation, candidates []part) []explanation {
	var next []explanation
	seen := map[string]bool{}
	for _, parent := range front {
		for _, p := range candidates {
			grown, fresh := parent.with(p)
			if !fresh || seen[grown.key()] {
				continue
			}
			seen[grown.key()] = true
			grown.score = logLikelihood(s, tests, grown.parts)
			if idle(s, tests, grown) {
				continue
			}
			for _, part := range grown.parts {
				grown.score += math.Log(part.odds)
			}
			next = append(next, grown)
		}
	}
	sortByScore(next)
	return next
}

// idle says whether a part of a larger explanation does not earn its place:
// without it the outcomes would be about as likely. Otherwise every
// explanation would drag along all its supersets.
func idle(s *site, tests []test, e explanation) bool {
	if len(e.parts) < 2 {
		return false
	}
	earned := math.Log(2) - float64(len(tests))*math.Log(1-missRate)
	for i := range e.parts {
		rest := slices.Delete(slices.Clone(e.parts), i, i+1)
		if e.score < logLikelihood(s, tests, rest)+earned {
			return true
		}
	}
	return false
}

// with adds a part, false when it is there already.
func (e explanation) with(p part) (explanation, bool) {
	if slices.Contains(e.parts, p) {
		return e, false
	}
	grown := append(slices.Clone(e.parts), p)
	slices.SortFunc(grown, comparePart)
	return explanation{parts: grown}, true
}

func (e explanation) key() string {
	var key []byte
	for _, p := range e.parts {
		key = fmt.Appendf(key, "%s %d %d;", p.kind, p.a, p.b)
	}
	return string(key)
}

func comparePart(a, b part) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.a, b.a), cmp.Compare(a.b, b.b))
}

func sortByScore(list []explanation) {
	slices.SortStableFunc(list, func(a, b explanation) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(len(a.parts), len(b.parts)), slices.CompareFunc(a.parts, b.parts, comparePart))
	})
}

// shares turns scores into shares of one, which also keeps the numbers of many
// tests from vanishing.
func shares(sorted []explanation) []explanation {
	total := 0.0
	for i := range sorted {
		sorted[i].weight = math.Exp(sorted[i].score - sorted[0].score)
		total += sorted[i].weight
	}
	for i := range sorted {
		sorted[i].weight /= total
	}
	return sorted
}
