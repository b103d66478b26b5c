package diagnosis

import "encoding/binary"

// prefilter finds which signatures have a literal in a text, without looking at
// every byte: of each literal it knows the three runs of four bytes that begin
// at three successive places, so that a text holding the literal shows one of
// them at every third byte, wherever it stands. Nearly all places of a healthy
// log show none, which a table of 32 KiB tells in a few instructions. Case is
// folded by setting a bit in every byte, which joins some more characters than
// letters; the literal itself is compared afterwards.
type prefilter struct {
	// bloom has a bit set for the hash of every run.
	bloom [1 << (bloomBits - 6)]uint64
	// slots is a hash table of runs with open addressing; count 0 is an empty
	// slot.
	slots [1 << slotBits]slot
	// places are the runs' places in literals; a slot points at its own.
	places   []place
	literals []literal
	longest  int
}

// literal is lower-case text with the signatures that have it.
type literal struct {
	text       string
	signatures []int32
}

// place says that a run stands in a literal so many bytes behind its begin.
type place struct {
	literal int32
	offset  int32
}

type slot struct {
	run          uint32
	first, count int32
}

const (
	// stride is how many bytes the search steps on, runLength how many a run has.
	// A literal must be at least stride+runLength-1 bytes long (minLiteral).
	stride    = 3
	runLength = 4

	bloomBits = 18
	slotBits  = 16

	fold       = 0x20202020
	multiplier = 0x9E3779B1 // 2^32 divided by the golden ratio: spreads neighbours
)

// newPrefilter builds the tables; words[i] are the literals of signature i.
func newPrefilter(words [][]string) *prefilter {
	p := &prefilter{}
	p.collect(words)
	common, shared := runsOf(healthyLog), p.runs()
	runs := map[uint32][]place{}
	for i, l := range p.literals {
		begin := rarest(l.text, common, shared)
		for offset := begin; offset < begin+stride; offset++ {
			run := runAt(l.text, offset)
			runs[run] = append(runs[run], place{int32(i), int32(offset)})
		}
		p.longest = max(p.longest, len(l.text))
	}
	for _, l := range p.literals { // in the order of literals, so that tables never differ
		for offset := 0; offset+runLength <= len(l.text); offset++ {
			run := runAt(l.text, offset)
			if places, left := runs[run]; left {
				p.insert(run, places)
				delete(runs, run)
			}
		}
	}
	return p
}

// collect gathers equal literals of several signatures.
func (p *prefilter) collect(words [][]string) {
	known := map[string]int{}
	for signature, list := range words {
		for _, word := range list {
			text := lowered(word)
			at, seen := known[text]
			if !seen {
				at = len(p.literals)
				known[text] = at
				p.literals = append(p.literals, literal{text: text})
			}
			l := &p.literals[at]
			if n := len(l.signatures); n == 0 || l.signatures[n-1] != int32(signature) {
				l.signatures = append(l.signatures, int32(signature))
			}
		}
	}
}

func (p *prefilter) insert(run uint32, places []place) {
	h := run * multiplier
	p.bloom[h>>(32-bloomBits)>>6] |= 1 << (h >> (32 - bloomBits) & 63)
	at := h >> (32 - slotBits)
	for p.slots[at].count != 0 {
		at = (at + 1) & (1<<slotBits - 1)
	}
	p.slots[at] = slot{run, int32(len(p.places)), int32(len(places))}
	p.places = append(p.places, places...)
}

// find calls hit for every literal that begins in text at from or later and
// before limit, roughly in order: a literal is told when one of its runs is met.
func (p *prefilter) find(text []byte, from, limit int, hit func(l *literal, begin int)) {
	end := min(limit+p.longest, len(text)) - runLength + 1
	i := from
	for ; i+3*stride < end; i += 4 * stride {
		if p.may(text, i)|p.may(text, i+stride)|p.may(text, i+2*stride)|p.may(text, i+3*stride) == 0 {
			continue
		}
		for j := i; j <= i+3*stride; j += stride {
			if p.may(text, j) != 0 {
				p.verify(text, j, from, limit, hit)
			}
		}
	}
	for ; i < end; i += stride {
		if p.may(text, i) != 0 {
			p.verify(text, i, from, limit, hit)
		}
	}
}

// may says whether the run at i could belong to a literal: 0 when it does not.
func (p *prefilter) may(text []byte, i int) uint64 {
	h := (binary.LittleEndian.Uint32(text[i:]) | fold) * multiplier >> (32 - bloomBits)
	return p.bloom[h>>6] >> (h & 63) & 1
}

func (p *prefilter) verify(text []byte, i, from, limit int, hit func(l *literal, begin int)) {
	run := binary.LittleEndian.Uint32(text[i:]) | fold
	at := run * multiplier >> (32 - slotBits)
	for p.slots[at].run != run || p.slots[at].count == 0 {
		if p.slots[at].count == 0 {
			return
		}
		at = (at + 1) & (1<<slotBits - 1)
	}
	found := p.slots[at]
	for _, place := range p.places[found.first : found.first+found.count] {
		l := &p.literals[place.literal]
		begin := i - int(place.offset)
		if begin >= from && begin < limit && begin+len(l.text) <= len(text) && sameFolded(text[begin:], l.text) {
			hit(l, begin)
		}
	}
}

// sameFolded says whether text begins with the lower-case word, in any case.
func sameFolded(text []byte, word string) bool {
	for i := range len(word) {
		if lower(text[i]) != word[i] {
			return false
		}
	}
	return true
}

// rarest is where in the word the runs begin that healthy text shows least, and
// of those the ones that the fewest literals share.
func rarest(word string, common, shared map[uint32]int) int {
	best, least := 0, -1
	for begin := 0; begin+stride+runLength-1 <= len(word); begin++ {
		cost := 0
		for offset := begin; offset < begin+stride; offset++ {
			run := runAt(word, offset)
			cost += 1000*common[run] + shared[run]
		}
		if least < 0 || cost < least {
			best, least = begin, cost
		}
	}
	return best
}

// runs counts the literals' runs.
func (p *prefilter) runs() map[uint32]int {
	count := map[uint32]int{}
	for _, l := range p.literals {
		for offset := 0; offset+runLength <= len(l.text); offset++ {
			count[runAt(l.text, offset)]++
		}
	}
	return count
}

func runsOf(text string) map[uint32]int {
	runs := map[uint32]int{}
	for i := 0; i+runLength <= len(text); i++ {
		runs[runAt(text, i)]++
	}
	return runs
}

func runAt(text string, i int) uint32 {
	return uint32(text[i]) | uint32(text[i+1])<<8 | uint32(text[i+2])<<16 | uint32(text[i+3])<<24 | fold
}

func lowered(word string) string {
	out := []byte(word)
	for i := range out {
		out[i] = lower(out[i])
	}
	return string(out)
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
