package localize

import "math"

// field is the tests, arranged so that it is quick to ask which of them a part
// touches.
type field struct {
	site  *site
	odds  odds
	tests []test
	// of lists, by node, the tests that it was in, in order of their rounds.
	of [][]int32
	// within counts, by domain and test, the members of the domain in the test.
	within [][]int32
	// multi are the tests of two nodes or more; size is by test.
	multi []int32
	size  []int32
	// hint is, by node, what failed tests said about who did not arrive.
	hint []float64
}

func newField(in Input, s *site, tests []test) *field {
	f := &field{site: s, odds: newOdds(in, s), tests: tests, of: make([][]int32, len(s.nodes)), hint: make([]float64, len(s.nodes))}
	f.within = make([][]int32, len(s.domains))
	for d := range s.domains {
		f.within[d] = make([]int32, len(tests))
	}
	for t, test := range tests {
		f.size = append(f.size, int32(len(test.group)))
		if len(test.group) > 1 {
			f.multi = append(f.multi, int32(t))
		}
		for _, node := range test.group {
			f.of[node] = append(f.of[node], int32(t))
			for _, d := range s.domainsOf[node] {
				f.within[d][t]++
			}
		}
		f.hear(test)
	}
	return f
}

// hear takes the hint of a failed test that names who did not arrive.
func (f *field) hear(t test) {
	if len(t.named) == 0 {
		return
	}
	for _, node := range t.group {
		f.hint[node] += math.Log(unnamedFactor)
	}
	for _, node := range t.named {
		f.hint[node] += math.Log(namedFactor) - math.Log(unnamedFactor)
	}
}

// prior is the logarithm of a part's odds, hints included.
func (f *field) prior(p part) float64 {
	sum := f.odds.of(p)
	if p.place == atNode && p.manner != slow {
		sum += f.hint[p.a]
	}
	return sum
}

// touched appends the tests that a part touches.
func (f *field) touched(p part, list []int32) []int32 {
	switch p.place {
	case atNode:
		return append(list, f.of[p.a]...)
	case atLink:
		return f.together(p.a, p.b, list)
	case atInfra:
		return append(list, f.multi...)
	}
	within := f.within[p.a]
	for _, t := range f.multi {
		if n := within[t]; n > 0 && (p.place == atSwitch || n < f.size[t]) {
			list = append(list, t)
		}
	}
	return list
}

// deadEverywhere says whether an explanation holds dead switches in front of all
// nodes. No test tells that from infrastructure, which is the likelier of the two,
// and nobody is to be blamed for it one by one.
func (f *field) deadEverywhere(parts []part) bool {
	dead, count := make([]bool, len(f.site.nodes)), 0
	for _, p := range parts {
		if p.place != atSwitch || p.manner != hard {
			continue
		}
		for _, node := range f.site.domains[p.a].members {
			if !dead[node] {
				dead[node] = true
				count++
			}
		}
	}
	return count == len(dead)
}

// together appends the tests that held both nodes.
func (f *field) together(a, b int32, list []int32) []int32 {
	x, y := f.of[a], f.of[b]
	for len(x) > 0 && len(y) > 0 {
		switch {
		case x[0] < y[0]:
			x = x[1:]
		case x[0] > y[0]:
			y = y[1:]
		default:
			list = append(list, x[0])
			x, y = x[1:], y[1:]
		}
	}
	return list
}

// likelihood is the logarithm of a test's outcome when all parts together let
// it pass with the logarithm pass, and leave it at full pace with keep.
func (f *field) likelihood(t int32, pass, keep float64, noise *loudness) float64 {
	test := &f.tests[t]
	if test.failed {
		if pass == 0 {
			return noise.logFail
		}
		return math.Log(1 - noise.quiet*math.Exp(pass))
	}
	switch sum := noise.logQuiet + pass; {
	case test.pace == full:
		return sum + logFullPace + keep
	case test.pace == unmeasured:
		return sum
	case keep == 0:
		return sum + logSlowNoise
	default:
		return sum + math.Log(1-(1-slowNoise)*math.Exp(keep))
	}
}

var logFullPace, logSlowNoise = math.Log1p(-slowNoise), math.Log(slowNoise)
