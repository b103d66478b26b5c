package localize

import (
	"cmp"
	"math"
	"slices"
)

const (
	chains = 4
	// Where there are manyTests, informed of the chains begin with the likeliest
	// explanation: with fewer all of them see the whole country from anywhere, and
	// better so.
	manyTests, informed = 40, 2
	// warm moves of each chain are forgotten, then every thin-th explanation of
	// the moves that follow is kept.
	warm, moves, thin = 2500, 7000, 7
	// hottest is the heat that the warm moves begin with, lukewarm the same where they
	// begin with an explanation: hotter and it would be forgotten.
	hottest, lukewarm = 8.0, 3.0
	// A chain whose explanations are so much less likely than those of another is
	// caught in a dead end, and single ones are from the way to where the others
	// are (a factor of exp(12), more than the ways in which one bad link may lie
	// among two hundred nodes).
	deadEnd = 12
)

// belief is what the tests make likely: explanations drawn in proportion to
// their likelihood.
type belief struct {
	f       *field
	samples [][]part
	// node and link are, by node, the share of explanations that blame it as a
	// node, and as an end of a link.
	node, link []float64
	// verdicts are the parts that are named in any explanation, by what a verdict
	// would call them, with their share; most likely first.
	verdicts []blamed
}

// blamed is a part as a verdict names it: in whatever manner it is bad.
type blamed struct {
	part  part
	share float64
}

func believe(f *field) *belief {
	b := &belief{f: f, node: make([]float64, len(f.site.nodes)), link: make([]float64, len(f.site.nodes))}
	from := newProposal(f)
	var walks [chains]walk
	best := math.Inf(-1)
	var start []part
	if len(f.tests) >= manyTests {
		start = likeliest(f)
	}
	for seed := range uint64(chains) {
		c := newChain(f, from, seed+1)
		if seed < informed {
			c.assume(start)
		}
		walks[seed] = c.walk()
		best = max(best, walks[seed].mean())
	}
	for _, w := range walks {
		b.samples = append(b.samples, w.above(best-deadEnd, len(start) > 0)...)
	}
	b.count()
	b.smooth()
	return b
}

// walk is what one chain met, and how likely each of its explanations is.
type walk struct {
	samples [][]part
	scores  []float64
}

// above are the explanations of a walk that is likelier than the bar on average, or
// each that is itself.
func (w walk) above(bar float64, each bool) [][]part {
	if !each && w.mean() > bar {
		return w.samples
	}
	var kept [][]part
	for i, sample := range w.samples {
		if each && w.scores[i] > bar {
			kept = append(kept, sample)
		}
	}
	return kept
}

func (w walk) mean() float64 {
	sum := 0.0
	for _, score := range w.scores {
		sum += score
	}
	return sum / float64(len(w.scores))
}

func (c *chain) walk() walk {
	heat := hottest
	if len(c.assumed) > 0 {
		heat = lukewarm
	}
	for i := range warm {
		c.heat = max(1, math.Pow(heat, 1-float64(i)/(0.8*warm)))
		c.step()
	}
	var w walk
	for range moves / thin {
		for range thin {
			c.step()
		}
		w.samples = append(w.samples, slices.Clone(c.parts))
		w.scores = append(w.scores, c.score)
	}
	return w
}

// count sums up the samples.
func (b *belief) count() {
	one := 1 / float64(len(b.samples))
	shares := map[part]float64{}
	for _, sample := range b.samples {
		var named []part
		dead := b.f.deadEverywhere(sample)
		for _, p := range sample {
			if dead && p.place == atSwitch {
				p = part{place: atInfra}
			}
			switch p.place {
			case atNode:
				b.node[p.a] += one
			case atLink:
				b.link[p.a] += one
				b.link[p.b] += one
			}
			if p = p.named(); !slices.Contains(named, p) {
				named = append(named, p)
				shares[p] += one
			}
		}
	}
	for p, share := range shares {
		b.verdicts = append(b.verdicts, blamed{p, share})
	}
	slices.SortFunc(b.verdicts, func(x, y blamed) int { return cmp.Or(cmp.Compare(y.share, x.share), compareParts(x.part, y.part)) })
}

// named is the part as verdicts call it: a switch is bad, be it dead or only
// cut off.
func (p part) named() part {
	p.manner = hard
	if p.place == atUplink {
		p.place = atSwitch
	}
	return p
}

// smooth shares belief among nodes that no test has told apart and nobody
// suspected more: drawing explanations left it to chance which of them was met.
func (b *belief) smooth() {
	for _, cell := range b.f.cells() {
		for from := 0; from < len(cell); {
			to := from
			odds, sum := b.f.odds.node[cell[from]]+b.f.hint[cell[from]], 0.0
			for ; to < len(cell) && b.f.odds.node[cell[to]]+b.f.hint[cell[to]] == odds; to++ {
				sum += b.node[cell[to]]
			}
			for _, node := range cell[from:to] {
				b.node[node] = sum / float64(to-from)
			}
			from = to
		}
	}
}

// apart is the share of explanations that hold anything but these parts and
// what they hide. hidden says, by node, of whom nothing can be told; the ways to
// a bad node are hidden too.
func (b *belief) apart(parts []part, hidden []bool) float64 {
	behind := func(node int32) bool { return hidden != nil && hidden[node] }
	blamed := func(node int32) bool { return slices.Contains(parts, part{place: atNode, a: node}) }
	others := 0
	for node := range b.f.site.nodes {
		if !behind(int32(node)) && !blamed(int32(node)) {
			others++
		}
	}
	idle := func(p part) bool {
		switch p.place {
		case atNode:
			return behind(p.a)
		case atLink:
			return behind(p.a) || behind(p.b) || blamed(p.a) || blamed(p.b)
		case atUplink, atSwitch:
			return behind(int32(b.f.site.domains[p.a].members[0]))
		case atInfra: // two others could show it
			return others < 2
		}
		return false
	}
	other := 0
	for _, sample := range b.samples {
		if slices.ContainsFunc(sample, func(p part) bool { return !slices.Contains(parts, p.named()) && !idle(p) }) {
			other++
		}
	}
	if share := float64(other) / float64(len(b.samples)); share > leftOpen {
		return share
	}
	return b.further(parts, idle)
}
