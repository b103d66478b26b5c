package localize

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// dreams is how many explanations are asked what a round would show.
	dreams = 1000
	// A round takes its time however many groups it has: its price is one. Each
	// test is a Job more, each node of it GPUs in use.
	testPrice, nodePrice = 0.21, 0.1
)

// forecast tells what offered rounds would teach.
type forecast struct {
	b       *belief
	samples [][]part
	rng     *rand.Rand
	groupOf []int32 // by node, -1 for none
	struck  []struck
	sizes   []int
	within  map[int32][]groupCount
}

// struck is a group that bad parts act on.
type struck struct {
	group int32
	on    effect
}

type groupCount struct{ group, count int }

func (b *belief) forecast() *forecast {
	f := &forecast{b: b, groupOf: make([]int32, len(b.f.site.nodes)), rng: rand.New(rand.NewPCG(uint64(len(b.f.tests)), 7))}
	step := max(1, len(b.samples)/dreams)
	for i := 0; i < len(b.samples); i += step {
		f.samples = append(f.samples, b.samples[i])
	}
	return f
}

// gain is the information in bits that a round's outcomes are expected to
// give, noise left out: how much they vary, less how much they would vary if
// the truth were known.
func (f *forecast) gain(round []group) float64 {
	f.prepare(round)
	seen := map[uint64]int{}
	var keys []uint64
	vague := 0.0
	for _, sample := range f.samples {
		key, doubt := f.dream(sample)
		if seen[key] == 0 {
			keys = append(keys, key)
		}
		seen[key]++
		vague += doubt
	}
	bits, n := 0.0, float64(len(f.samples))
	for _, key := range keys {
		share := float64(seen[key]) / n
		bits -= share * math.Log2(share)
	}
	return bits - vague/n
}

func (f *forecast) prepare(round []group) {
	for i := range f.groupOf {
		f.groupOf[i] = -1
	}
	f.sizes, f.within = f.sizes[:0], map[int32][]groupCount{}
	for g, members := range round {
		f.sizes = append(f.sizes, len(members))
		for _, node := range members {
			f.groupOf[node] = int32(g)
		}
	}
}

// dream draws what the round would show if an explanation were true, as a
// number that stands for the outcomes, and how much that was left to chance.
func (f *forecast) dream(sample []part) (key uint64, doubt float64) {
	f.struck = f.struck[:0]
	for _, p := range sample {
		f.strike(p)
	}
	slices.SortFunc(f.struck, func(a, b struck) int { return int(a.group - b.group) })
	key = 14695981039346656037
	for _, hit := range f.struck {
		result, uncertain := f.fate(hit.on)
		doubt += uncertain
		if result > 0 {
			key = (key ^ uint64(hit.group)<<2 ^ uint64(result)) * 1099511628211
		}
	}
	return key, doubt
}

// fate draws how a group ends: 0 passes, 1 fails, 2 is slow.
func (f *forecast) fate(e effect) (result int, doubt float64) {
	fails, slows := settled(e.fail), settled(e.slow)
	doubt = entropy(fails) + (1-fails)*entropy(slows)
	switch {
	case f.rng.Float64() < fails:
		return 1, doubt
	case f.rng.Float64() < slows:
		return 2, doubt
	}
	return 0, doubt
}

// settled takes what is nearly certain for certain.
func settled(chance float64) float64 {
	switch {
	case chance > 0.85:
		return 1
	case chance < 0.05:
		return 0
	}
	return chance
}

func entropy(chance float64) float64 {
	if chance <= 0 || chance >= 1 {
		return 0
	}
	return -chance*math.Log2(chance) - (1-chance)*math.Log2(1-chance)
}

// strike lets a part act on the groups that it touches.
func (f *forecast) strike(p part) {
	act := func(g int32) { f.add(g, p.on(f.sizes[g])) }
	switch p.place {
	case atNode:
		if g := f.groupOf[p.a]; g >= 0 {
			act(g)
		}
	case atLink:
		if g := f.groupOf[p.a]; g >= 0 && g == f.groupOf[p.b] {
			act(g)
		}
	case atInfra:
		for g, size := range f.sizes {
			if size > 1 {
				act(int32(g))
			}
		}
	default:
		for _, in := range f.domain(p.a) {
			if size := f.sizes[in.group]; size > 1 && (p.place == atSwitch || in.count < size) {
				act(int32(in.group))
			}
		}
	}
}

func (f *forecast) add(g int32, e effect) {
	for i := range f.struck {
		if old := &f.struck[i]; old.group == g {
			old.on = effect{fail: 1 - (1-old.on.fail)*(1-e.fail), slow: 1 - (1-old.on.slow)*(1-e.slow)}
			return
		}
	}
	f.struck = append(f.struck, struck{g, e})
}

// domain lists the groups that hold members of a domain.
func (f *forecast) domain(d int32) []groupCount {
	if list, known := f.within[d]; known {
		return list
	}
	var list []groupCount
	for _, node := range f.b.f.site.domains[d].members {
		g := int(f.groupOf[node])
		if g < 0 {
			continue
		}
		at := slices.IndexFunc(list, func(c groupCount) bool { return c.group == g })
		if at < 0 {
			list = append(list, groupCount{group: g})
			at = len(list) - 1
		}
		list[at].count++
	}
	f.within[d] = list
	return list
}

// worth is a round's information per its price.
func (f *forecast) worth(round []group) (worth, bits float64) {
	nodes := 0
	for _, g := range round {
		nodes += len(g)
	}
	bits = f.gain(round)
	price := 1 + testPrice*float64(len(round)) + nodePrice*float64(nodes)/float64(len(f.groupOf))
	return bits / price, bits
}
