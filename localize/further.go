package localize

import (
	"math"
	"slices"
)

// bases is how many explanations are asked what they would add.
const bases = 4

// further is how likely it is that anything else is bad besides these parts.
// Each single addition is weighed, not drawn: what is drawn now and then only
// is met by chance, and a verdict must not hang on that. Two additions at once
// are so much less likely than the likelier one of them that they are left out.
// Links are too many to be weighed; their share is that of the drawn ones.
func (b *belief) further(parts []part, idle func(part) bool) float64 {
	odds, asked, links := 0.0, 0.0, 0.0
	step := max(1, len(b.samples)/bases)
	for i := 0; i < len(b.samples); i += step {
		base := slices.DeleteFunc(slices.Clone(b.samples[i]), func(p part) bool { return !slices.Contains(parts, p.named()) })
		odds += newWeighing(b.f, base).additions(parts, idle)
		asked++
	}
	for _, sample := range b.samples {
		if slices.ContainsFunc(sample, func(p part) bool { return p.place == atLink && !slices.Contains(parts, p.named()) && !idle(p) }) {
			links++
		}
	}
	odds /= asked
	return odds/(1+odds) + links/float64(len(b.samples))
}

// weighing weighs what may be added to an explanation, over all rates of noise.
type weighing struct {
	f    *field
	base []part
	// By test, the logarithms of the chances that the explanation lets it pass
	// and leaves it at full pace; by noise and test, the likelihood of its outcome.
	pass, keep []float64
	like       [len(noises)][]float64
	// rates are how far each rate of noise is believed.
	rates [len(noises)]float64
	list  []int32
}

func newWeighing(f *field, base []part) *weighing {
	w := &weighing{f: f, base: base, pass: make([]float64, len(f.tests)), keep: make([]float64, len(f.tests))}
	for _, p := range base {
		w.list = f.touched(p, w.list[:0])
		for _, t := range w.list {
			e := w.on(p, t)
			w.pass[t] += e.fail
			w.keep[t] += e.slow
		}
	}
	var scores [len(noises)]float64
	for z := range noises {
		scores[z] = noises[z].logShare
		for t := range f.tests {
			w.like[z] = append(w.like[z], f.likelihood(int32(t), w.pass[t], w.keep[t], &noises[z]))
			scores[z] += w.like[z][t]
		}
	}
	total, best := 0.0, slices.Max(scores[:])
	for z, score := range scores {
		w.rates[z] = math.Exp(score - best)
		total += w.rates[z]
	}
	for z := range w.rates {
		w.rates[z] /= total
	}
	return w
}

func (w *weighing) on(p part, t int32) *effect {
	return &logEffects[p.place][p.manner][extentOf(int(w.f.size[t]))]
}

// additions are the odds that one more node, switch or infrastructure is bad.
func (w *weighing) additions(parts []part, idle func(part) bool) float64 {
	sum := 0.0
	w.each(func(p part) {
		if !slices.Contains(parts, p.named()) && !idle(p) {
			sum += w.odds(p)
		}
	})
	return sum
}

// each calls try with every part but links, in every manner.
func (w *weighing) each(try func(part)) {
	manners := func(p part) {
		for p.manner = range manners {
			try(p)
		}
	}
	for i := range w.f.site.nodes {
		manners(part{place: atNode, a: int32(i)})
	}
	for d, domain := range w.f.site.domains {
		if len(w.f.site.nodes)-len(domain.members) > 1 {
			manners(part{place: atUplink, a: int32(d)})
		}
		manners(part{place: atSwitch, a: int32(d)})
	}
	manners(part{place: atInfra})
}

// likeliest is an explanation to begin with: of all additions the likeliest, again
// and again, for as long as one is likelier than none. Among many nodes and
// tests a walk that begins with nothing may not come by there.
func likeliest(f *field) []part {
	var parts []part
	for len(parts) < mostParts {
		w := newWeighing(f, parts)
		next, most := part{}, 1.0
		w.each(func(p part) {
			if slices.ContainsFunc(parts, func(known part) bool { return samePart(known, p) }) {
				return
			}
			if odds := w.odds(p); odds > most {
				next, most = p, odds
			}
		})
		if most == 1 {
			break
		}
		parts = append(parts, next)
	}
	return parts
}

// odds of one addition against none.
func (w *weighing) odds(p part) float64 {
	count := 1
	for _, known := range w.base {
		if known.place == p.place {
			count++
		}
	}
	w.list = w.f.touched(p, w.list[:0])
	sum := 0.0
	for z, rate := range w.rates {
		gain := 0.0
		for _, t := range w.list {
			e := w.on(p, t)
			gain += w.f.likelihood(t, w.pass[t]+e.fail, w.keep[t]+e.slow, &noises[z]) - w.like[z][t]
		}
		sum += rate * math.Exp(gain)
	}
	return sum * math.Exp(w.f.prior(p)) * float64(count)
}
