package diagnosis

// tier knows the runs of some literals: a bloom filter that says no, and a hash
// table that says whose a run is.
type tier struct {
	// length is that of a run in bytes, stride how many of each literal are known.
	length, stride int
	// shift leaves the bytes of a run, at the upper end of the eight.
	shift int
	// bloom has two bits of one word set for every run; words is the logarithm of
	// how many of its words are used.
	bloom [1 << longWords]uint64
	words int
	// slots is open addressing; count 0 is an empty slot. places are the runs'
	// places in literals.
	slots    []slot
	slotBits int
	places   []place
}

// place says that a run stands in a literal so many bytes behind its begin.
type place struct {
	literal int32
	offset  int32
}

type slot struct {
	run          uint64
	first, count int32
}

const (
	// The filters are 2^13 words each, 64 KiB.
	longWords, shortWords = 13, 13
	slotBits              = 16
	// firstBit and secondBit are where in a hash the numbers of the two bits stand.
	firstBit, secondBit = 64 - longWords - 6, 64 - longWords - 12
	// multiplier is 2^64 divided by the golden ratio: it spreads neighbours.
	multiplier = 0x9E3779B97F4A7C15
)

// newTier takes the literals with these numbers in.
func newTier(length, stride, words int, literals []literal, numbers []int32) *tier {
	t := &tier{length: length, stride: stride, words: words, shift: 64 - 8*length, slotBits: 12}
	for 1<<t.slotBits < 2*stride*len(numbers) {
		t.slotBits++
	}
	t.slots = make([]slot, 1<<t.slotBits)
	common, shared := map[uint64]int{}, map[uint64]int{}
	t.count(healthyLog, common)
	for _, number := range numbers {
		t.count(literals[number].text, shared)
	}
	runs := map[uint64][]place{}
	var order []uint64
	for _, number := range numbers {
		text := literals[number].text
		begin := t.rarest(text, common, shared)
		for offset := begin; offset < begin+t.stride; offset++ {
			run := runAt(text, offset) << t.shift
			if runs[run] == nil {
				order = append(order, run)
			}
			runs[run] = append(runs[run], place{number, int32(offset)})
		}
	}
	for _, run := range order {
		t.insert(run, runs[run])
	}
	return t
}

// count counts the runs of a text.
func (t *tier) count(text string, into map[uint64]int) {
	for i := range text {
		into[runAt(text, i)<<t.shift]++
	}
}

// rarest is where in a literal the runs begin that healthy text shows least, and
// of those the ones that the fewest literals share.
func (t *tier) rarest(text string, common, shared map[uint64]int) int {
	best, least := 0, -1
	for begin := 0; begin+t.stride+t.length-1 <= len(text); begin++ {
		cost := 0
		for offset := begin; offset < begin+t.stride; offset++ {
			run := runAt(text, offset) << t.shift
			cost += 1000*common[run] + shared[run]
		}
		if least < 0 || cost < least {
			best, least = begin, cost
		}
	}
	return best
}

func (t *tier) insert(run uint64, places []place) {
	h := run * multiplier
	t.bloom[h>>(64-t.words)] |= 1<<(h>>firstBit&63) | 1<<(h>>secondBit&63)
	at := h >> (64 - t.slotBits)
	for t.slots[at].count != 0 {
		at = (at + 1) & (1<<t.slotBits - 1)
	}
	t.slots[at] = slot{run, int32(len(t.places)), int32(len(places))}
	t.places = append(t.places, places...)
}

// may says whether the run that eight bytes begin with could belong to a literal.
func (t *tier) may(eight uint64) bool {
	h := eight << t.shift * multiplier
	word := t.bloom[h>>(64-t.words)]
	return word>>(h>>firstBit&63)&1 != 0 && word>>(h>>secondBit&63)&1 != 0
}

// lookup returns the places of the run, none when no literal has it.
func (t *tier) lookup(eight uint64) []place {
	run := eight << t.shift
	for at := run * multiplier >> (64 - t.slotBits); t.slots[at].count != 0; at = (at + 1) & (1<<t.slotBits - 1) {
		if found := t.slots[at]; found.run == run {
			return t.places[found.first : found.first+found.count]
		}
	}
	return nil
}
