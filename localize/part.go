package localize

import (
	"cmp"
	"math"
)

// place is what may be bad.
type place uint8

const (
	atNode place = iota
	atLink
	atUplink
	atSwitch
	atInfra
	places
)

// manner is how it is bad: it breaks every test, it makes them slow, or it
// breaks some of them.
type manner uint8

const (
	hard manner = iota
	slow
	flaky
	manners
)

// part is one thing that may be bad; a and b are node indexes, or a is an
// index of a domain.
type part struct {
	place  place
	manner manner
	a, b   int32
}

// How often tests err, and how likely parts are to be bad before any test.
// Only their order of magnitude matters.
const (
	hitRate   = 0.985 // a test fails when a bad part is in it
	infraHits = 0.998 // the same when nothing that crosses nodes works
	slowRate  = 0.97  // a test is slow when a slow part is in it
	flakyRate = 0.5   // a test fails when a flaky part is in it
	localSees = 0.7   // a test inside one node fails when the node is bad
	aroundIt  = 0.9   // a group larger than two fails when it holds a bad link
	slowNoise = 0.01  // a test is slow although no slow part is in it

	// expected numbers of bad parts at a site with an alert
	expectNodes  = 0.6
	expectUplink = 0.12
	expectSwitch = 0.06
	expectLinks  = 0.06
	expectInfra  = 0.15

	// namedFactor and unnamedFactor weigh what a failed test says about who
	// did not arrive: a hint, never a proof.
	namedFactor, unnamedFactor = 3, 0.5
)

// noises are how often a healthy group fails: it is not known, so each is
// believed with its share.
var noises = [...]loudness{newLoudness(0.003, 0.35), newLoudness(0.012, 0.3), newLoudness(0.03, 0.25), newLoudness(0.07, 0.1)}

// loudness is a rate of noise: how far it is believed, the share of healthy
// groups that pass, and logarithms.
type loudness struct{ logShare, quiet, logQuiet, logFail float64 }

func newLoudness(rate, share float64) loudness {
	return loudness{logShare: math.Log(share), quiet: 1 - rate, logQuiet: math.Log1p(-rate), logFail: math.Log(rate)}
}

// mannerShares splits the odds of a place among the manners.
var mannerShares = [places][manners]float64{
	atNode:   {hard: 0.6, slow: 0.25, flaky: 0.15},
	atLink:   {hard: 0.65, slow: 0.2, flaky: 0.15},
	atUplink: {hard: 0.65, slow: 0.25, flaky: 0.1},
	atSwitch: {hard: 0.8, slow: 0.1, flaky: 0.1},
	atInfra:  {hard: 0.8, slow: 0.15, flaky: 0.05},
}

// effect is by how much a part makes a test fail, and makes it slow.
type effect struct{ fail, slow float64 }

// extent tells groups apart that feel a part differently: one node, two, more.
type extent uint8

const (
	single extent = iota
	couple
	crowd
	extents
)

func extentOf(size int) extent { return extent(min(size, int(extents)) - 1) }

// effects are those of every place and manner on groups of every extent, and
// their logarithms: of the chance that the test does not fail, and is not slow.
var effects, logEffects = func() (e, l [places][manners][extents]effect) {
	rates := [manners]effect{hard: {fail: hitRate}, slow: {slow: slowRate}, flaky: {fail: flakyRate}}
	for p := range places {
		for m := range manners {
			for x := range extents {
				share := 1.0
				switch {
				case p == atNode && x == single:
					share = localSees
				case p == atLink && x == crowd:
					share = aroundIt
				case p == atInfra && m == hard:
					share = infraHits / hitRate
				}
				e[p][m][x] = effect{fail: share * rates[m].fail, slow: share * rates[m].slow}
				l[p][m][x] = effect{fail: math.Log1p(-e[p][m][x].fail), slow: math.Log1p(-e[p][m][x].slow)}
			}
		}
	}
	return e, l
}()

// on is the effect of a part on a group that it touches.
func (p part) on(size int) effect { return effects[p.place][p.manner][extentOf(size)] }

func compareParts(a, b part) int {
	return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.a, b.a), cmp.Compare(a.b, b.b), cmp.Compare(a.manner, b.manner))
}

// odds of every part before any test, as logarithms.
type odds struct {
	node  []float64 // by node
	place [places]float64
	split [places][manners]float64
}

func newOdds(in Input, s *site) odds {
	n, domains := float64(len(s.nodes)), math.Max(1, float64(len(s.domains)))
	o := odds{node: make([]float64, len(s.nodes))}
	for i, node := range s.nodes {
		chance := math.Min(expectNodes/n, 0.3)
		if told, ok := in.Prior[node.Name]; ok {
			chance = math.Min(math.Max(told, 0.02/n), 0.95)
		}
		o.node[i] = math.Log(chance / (1 - chance))
	}
	o.place[atLink] = math.Log(expectLinks / math.Max(1, n*(n-1)/2))
	o.place[atUplink] = math.Log(expectUplink / domains)
	o.place[atSwitch] = math.Log(expectSwitch / domains)
	o.place[atInfra] = math.Log(expectInfra)
	for p := range places {
		for m := range manners {
			o.split[p][m] = math.Log(mannerShares[p][m])
		}
	}
	return o
}

func (o *odds) of(p part) float64 {
	where := o.place[p.place]
	if p.place == atNode {
		where = o.node[p.a]
	}
	return where + o.split[p.place][p.manner]
}
