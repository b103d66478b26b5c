package localize

import (
	"math"
	"math/rand/v2"
	"slices"
)

// maxCells bounds how many kinds of nodes links are looked for between; their
// pairs are walked.
const maxCells = 800

// proposal draws parts worth a try and knows how likely it draws each. It need
// not be right, only to leave nothing out: what is drawn is weighed afterwards.
type proposal struct {
	f *field
	// category is the chance to draw from nodes, links and the rest.
	category [3]float64
	nodes    drawer
	links    drawer
	linkable []pairOfCells
	cells    [][]int32
	shared   drawer
	// speech is what each test says for a part that it touched.
	speech  []float64
	list    []int32
	sharing []part // uplinks, switches, infrastructure; the manner is drawn apart
}

const (
	ofNodes = iota
	ofLinks
	ofShared
)

// pairOfCells are all links between the nodes of two cells, which no test tells
// apart.
type pairOfCells struct{ a, b int32 }

// drawer draws an index by its weight.
type drawer struct{ sums []float64 }

func (d *drawer) add(weight float64) {
	d.sums = append(d.sums, d.total()+weight)
}

func (d *drawer) total() float64 {
	if len(d.sums) == 0 {
		return 0
	}
	return d.sums[len(d.sums)-1]
}

func (d *drawer) draw(rng *rand.Rand) int {
	at, _ := slices.BinarySearch(d.sums, rng.Float64()*d.total())
	return min(at, len(d.sums)-1)
}

func (d *drawer) chance(i int) float64 {
	weight := d.sums[i]
	if i > 0 {
		weight -= d.sums[i-1]
	}
	return weight / d.total()
}

// spoken is what a test says, roughly, for a part that it touched.
func spoken(t *test) float64 {
	switch {
	case t.bad():
		return 3.2
	case t.pace == unmeasured && len(t.group) > 1 && t.busbw > 0:
		return -0.4
	default:
		return -0.7
	}
}

// flat makes the weights of parts wider than belief in them is, so that none
// is overlooked.
const flat = 0.7

func newProposal(f *field) *proposal {
	p := &proposal{f: f}
	for t := range f.tests {
		p.speech = append(p.speech, spoken(&f.tests[t]))
	}
	for i := range f.site.nodes {
		score := 0.0
		for _, t := range f.of[i] {
			score += p.speech[t]
		}
		p.nodes.add(math.Exp(flat*(f.odds.node[i]+f.hint[i]) + flat*math.Min(score, 25)))
	}
	p.addShared()
	p.addLinks()
	p.category = [3]float64{0.6, 0.2, 0.2}
	if p.links.total() == 0 {
		p.category[ofNodes], p.category[ofLinks] = 0.8, 0
	}
	return p
}

func (p *proposal) addShared() {
	f := p.f
	for d, domain := range f.site.domains {
		if len(f.site.nodes)-len(domain.members) > 1 { // the way to one node is that node
			p.share(part{place: atUplink, a: int32(d)})
		}
		p.share(part{place: atSwitch, a: int32(d)})
	}
	p.share(part{place: atInfra})
}

func (p *proposal) share(candidate part) {
	score := p.f.odds.place[candidate.place]
	for _, t := range p.f.touched(candidate, nil) {
		score += p.speech[t]
	}
	p.shared.add(math.Exp(flat * math.Min(score, 25)))
	p.sharing = append(p.sharing, candidate)
}

// addLinks walks the pairs of cells.
func (p *proposal) addLinks() {
	p.cells = p.f.cells()
	if len(p.cells) > maxCells {
		p.cells = p.f.mostSuspect(p.cells, maxCells)
	}
	rounds := p.signatures()
	for i, cell := range p.cells {
		for j := i; j < len(p.cells); j++ {
			pairs := float64(len(cell)) * float64(len(p.cells[j]))
			if i == j {
				pairs = float64(len(cell)) * float64(len(cell)-1) / 2
			}
			score := 0.0
			for r, t := range rounds[i] {
				if t >= 0 && t == rounds[j][r] {
					score += p.speech[t]
				}
			}
			if pairs == 0 || score < -8 {
				continue
			}
			p.links.add(pairs * linkWeight(score))
			p.linkable = append(p.linkable, pairOfCells{int32(i), int32(j)})
		}
	}
}

func linkWeight(score float64) float64 { return math.Exp(flat * math.Min(score, 25)) }

// signatures are, by cell and round, the test that the cell's nodes were in, -1
// for none.
func (p *proposal) signatures() [][]int32 {
	rounds := 0
	for _, t := range p.f.tests {
		rounds = max(rounds, t.round+1)
	}
	list := make([][]int32, len(p.cells))
	for i, cell := range p.cells {
		list[i] = make([]int32, rounds)
		for r := range list[i] {
			list[i][r] = -1
		}
		for _, t := range p.f.of[cell[0]] {
			list[i][p.f.tests[t].round] = t
		}
	}
	return list
}

// draw returns a part; chance says how likely it was to be drawn.
func (p *proposal) draw(rng *rand.Rand) part {
	var drawn part
	switch u := rng.Float64(); {
	case u < p.category[ofNodes]:
		drawn = part{place: atNode, a: int32(p.nodes.draw(rng))}
	case u < p.category[ofNodes]+p.category[ofLinks]:
		drawn = p.drawLink(rng)
	default:
		drawn = p.sharing[p.shared.draw(rng)]
	}
	drawn.manner = drawManner(rng, drawn.place)
	return drawn
}

func drawManner(rng *rand.Rand, at place) manner {
	u := rng.Float64()
	for m := range manners {
		if u -= mannerShares[at][m]; u < 0 {
			return m
		}
	}
	return hard
}

func (p *proposal) drawLink(rng *rand.Rand) part {
	cells := p.linkable[p.links.draw(rng)]
	x, y := p.cells[cells.a], p.cells[cells.b]
	a := rng.IntN(len(x))
	if cells.a != cells.b {
		return link(x[a], y[rng.IntN(len(y))])
	}
	b := rng.IntN(len(x) - 1)
	if b >= a {
		b++
	}
	return link(x[a], x[b])
}

func link(a, b int32) part { return part{place: atLink, a: min(a, b), b: max(a, b)} }

// chance of drawing a part, as a logarithm.
func (p *proposal) chance(drawn part) float64 {
	sum := p.f.odds.split[drawn.place][drawn.manner]
	switch drawn.place {
	case atNode:
		return sum + math.Log(p.category[ofNodes]*p.nodes.chance(int(drawn.a)))
	case atLink:
		score := 0.0
		p.list = p.f.together(drawn.a, drawn.b, p.list[:0])
		for _, t := range p.list {
			score += p.speech[t]
		}
		return sum + math.Log(p.category[ofLinks]*linkWeight(score)/p.links.total())
	default:
		at := slices.IndexFunc(p.sharing, func(s part) bool { return s.place == drawn.place && s.a == drawn.a })
		return sum + math.Log(p.category[ofShared]*p.shared.chance(at))
	}
}

// cells are nodes that were in the same tests all along.
func (f *field) cells() [][]int32 {
	at := map[string]int{}
	var list [][]int32
	var key []byte
	for node, tests := range f.of {
		key = key[:0]
		for _, t := range tests {
			key = append(key, byte(t), byte(t>>8), byte(t>>16))
		}
		i, known := at[string(key)]
		if !known {
			i = len(list)
			at[string(key)] = i
			list = append(list, nil)
		}
		list[i] = append(list[i], int32(node))
	}
	return list
}

// mostSuspect keeps the cells that were in most bad tests.
func (f *field) mostSuspect(cells [][]int32, most int) [][]int32 {
	badness := func(cell []int32) (sum float64) {
		for _, t := range f.of[cell[0]] {
			sum += spoken(&f.tests[t])
		}
		return sum
	}
	slices.SortStableFunc(cells, func(a, b []int32) int {
		x, y := badness(a), badness(b)
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return cells[:most]
}
