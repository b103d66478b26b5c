package localize

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A chain walks over explanations: sets of bad parts. It adds, drops and swaps
// parts so that it stays at each explanation for a time in proportion to how
// likely the explanation is (Metropolis-Hastings). Its random numbers are the
// same in every run, so the same tests give the same belief.
type chain struct {
	f     *field
	from  *proposal
	rng   *rand.Rand
	parts []part
	// assumed are the parts that the walk began with.
	assumed []part
	noise   int
	// heat flattens what is likely, so that the walk does not get caught before
	// it has seen the country: 1 is flat no more.
	heat float64
	// score is the logarithm of how likely the explanation is, up to a constant.
	score float64

	// By test: the logarithms of the chances that all parts let it pass and
	// leave it at full pace, and the likelihood of its outcome.
	pass, keep, like []float64

	// What the move under way has touched, to take it back.
	touched []saved
	stamp   []int
	list    []int32
	move    int
}

type saved struct {
	t                int32
	pass, keep, like float64
}

const (
	// most parts of one explanation.
	mostParts = 24
	// shares of the moves; the rest are drops.
	addShare, swapShare, turnShare, noiseShare = 0.3, 0.3, 0.06, 0.04
)

// dropToAdd is how much rather a part is dropped than added, as a logarithm.
var dropToAdd = math.Log((1 - addShare - swapShare - turnShare - noiseShare) / addShare)

func newChain(f *field, from *proposal, seed uint64) *chain {
	n := len(f.tests)
	c := &chain{
		f: f, from: from, rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), noise: 1, heat: 1,
		pass: make([]float64, n), keep: make([]float64, n), like: make([]float64, n), stamp: make([]int, n),
	}
	for t := range c.like {
		c.like[t] = f.likelihood(int32(t), 0, 0, c.loud())
	}
	return c
}

func (c *chain) loud() *loudness { return &noises[c.noise] }

// assume begins the walk with an explanation.
func (c *chain) assume(parts []part) {
	c.assumed = parts
	for _, p := range parts {
		c.begin()
		c.score += c.shift(p, 1) + c.f.prior(p) + c.crowd(p.place, 1)
		c.parts = append(c.parts, p)
	}
}

// step makes one move.
func (c *chain) step() {
	switch u := c.rng.Float64(); {
	case u < addShare:
		c.add()
	case u < addShare+swapShare:
		c.swap()
	case u < addShare+swapShare+turnShare:
		c.turn()
	case u < addShare+swapShare+turnShare+noiseShare:
		c.louder()
	default:
		c.drop()
	}
}

func (c *chain) add() {
	drawn := c.from.draw(c.rng)
	if len(c.parts) == mostParts || c.has(drawn) {
		return
	}
	c.begin()
	gain := c.shift(drawn, 1) + c.f.prior(drawn) + c.crowd(drawn.place, 1)
	// The way back: a drop that picks this part.
	if c.accept(gain, dropToAdd-math.Log(float64(len(c.parts)+1))-c.from.chance(drawn)) {
		c.parts = append(c.parts, drawn)
	}
}

func (c *chain) drop() {
	if len(c.parts) == 0 {
		return
	}
	at := c.rng.IntN(len(c.parts))
	gone := c.parts[at]
	c.begin()
	gain := c.shift(gone, -1) - c.f.prior(gone) - c.crowd(gone.place, 0)
	if c.accept(gain, math.Log(float64(len(c.parts)))+c.from.chance(gone)-dropToAdd) {
		c.parts = slices.Delete(c.parts, at, at+1)
	}
}

func (c *chain) swap() {
	if len(c.parts) == 0 {
		return
	}
	at := c.rng.IntN(len(c.parts))
	gone, drawn := c.parts[at], c.from.draw(c.rng)
	if c.has(drawn) && !samePart(gone, drawn) {
		return
	}
	c.begin()
	gain := c.shift(gone, -1) + c.shift(drawn, 1) - c.f.prior(gone) + c.f.prior(drawn)
	if gone.place != drawn.place {
		gain += c.crowd(drawn.place, 1) - c.crowd(gone.place, 0)
	}
	if c.accept(gain, c.from.chance(gone)-c.from.chance(drawn)) {
		c.parts[at] = drawn
	}
}

// turn changes in which manner a part is bad.
func (c *chain) turn() {
	if len(c.parts) == 0 {
		return
	}
	at := c.rng.IntN(len(c.parts))
	gone := c.parts[at]
	drawn := gone
	drawn.manner = manner(c.rng.IntN(int(manners)))
	c.begin()
	gain := c.shift(gone, -1) + c.shift(drawn, 1) - c.f.prior(gone) + c.f.prior(drawn)
	if c.accept(gain, 0) {
		c.parts[at] = drawn
	}
}

// louder changes the belief how often healthy groups fail.
func (c *chain) louder() {
	next := c.rng.IntN(len(noises))
	gain := noises[next].logShare - noises[c.noise].logShare
	for t := range c.like {
		gain += c.f.likelihood(int32(t), c.pass[t], c.keep[t], &noises[next]) - c.like[t]
	}
	if gain < 0 && c.rng.Float64() >= math.Exp(gain/c.heat) {
		return
	}
	c.noise = next
	c.score += gain
	for t := range c.like {
		c.like[t] = c.f.likelihood(int32(t), c.pass[t], c.keep[t], c.loud())
	}
}

// crowd makes one more bad part of a kind less surprising the more there are:
// faults come in crowds. further is 1 before a part is counted.
func (c *chain) crowd(at place, further int) float64 {
	count := further
	for _, p := range c.parts {
		if p.place == at {
			count++
		}
	}
	return math.Log(float64(max(1, count)))
}

func (c *chain) has(wanted part) bool {
	return slices.ContainsFunc(c.parts, func(p part) bool { return samePart(p, wanted) })
}

func samePart(a, b part) bool { return a.place == b.place && a.a == b.a && a.b == b.b }

func (c *chain) begin() {
	c.move++
	c.touched = c.touched[:0]
}

// shift adds a part to the tests it touches, or takes it away, and returns by
// how much all outcomes became more likely.
func (c *chain) shift(p part, sign float64) float64 {
	gain := 0.0
	c.list = c.f.touched(p, c.list[:0])
	for _, t := range c.list {
		if c.stamp[t] != c.move {
			c.stamp[t] = c.move
			c.touched = append(c.touched, saved{t, c.pass[t], c.keep[t], c.like[t]})
		}
		e := &logEffects[p.place][p.manner][extentOf(int(c.f.size[t]))]
		// Sums of logarithms drift; nothing is more likely than certain.
		c.pass[t] = settle(c.pass[t] + sign*e.fail)
		c.keep[t] = settle(c.keep[t] + sign*e.slow)
		now := c.f.likelihood(t, c.pass[t], c.keep[t], c.loud())
		gain += now - c.like[t]
		c.like[t] = now
	}
	return gain
}

func settle(log float64) float64 {
	if log > -1e-9 {
		return 0
	}
	return log
}

// accept decides on the move under way, and takes it back when it is refused.
// way is how much rather the move is made than its opposite.
func (c *chain) accept(gain, way float64) bool {
	if odds := gain/c.heat + way; odds >= 0 || c.rng.Float64() < math.Exp(odds) {
		c.score += gain
		return true
	}
	for _, old := range c.touched {
		c.pass[old.t], c.keep[old.t], c.like[old.t] = old.pass, old.keep, old.like
	}
	return false
}
