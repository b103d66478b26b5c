package diagnosis

import "encoding/binary"

// prefilter finds which signatures have a literal in a text, without looking at
// every place. Of each literal it knows the runs of bytes that begin at a few
// successive places, its stride, so that a text holding the literal shows one of
// them at every stride-th place, wherever it stands. Nearly all places of a
// healthy log show none, which a table that fits the processor's caches tells in a
// few instructions. Long literals are known by long runs at a long stride, which
// saves time; short ones by short runs.
type prefilter struct {
	long, short *tier
	literals    []literal
	longest     int
}

// literal is lower-case text with the signatures that have it.
type literal struct {
	text       string
	signatures []int32
}

const (
	// The runs of long literals, and of short ones: their length and stride in
	// bytes. A literal must have shortRun+shortStride-1 bytes at least (minLiteral),
	// and is long from longRun+longStride-1 on. longStride is twice shortStride.
	longRun, longStride   = 8, 6
	shortRun, shortStride = 4, 3

	// fold sets the bit that tells lower case from upper case in eight bytes. It
	// joins some more characters than letters; the literal itself is compared
	// afterwards.
	fold = 0x2020202020202020
)

// newPrefilter builds the tables; words[i] are the literals of signature i.
func newPrefilter(words [][]string) *prefilter {
	p := &prefilter{}
	p.collect(words)
	var long, short []int32
	for i, l := range p.literals {
		p.longest = max(p.longest, len(l.text))
		if len(l.text) >= longStride+longRun-1 {
			long = append(long, int32(i))
		} else {
			short = append(short, int32(i))
		}
	}
	p.long = newTier(longRun, longStride, longWords, p.literals, long)
	p.short = newTier(shortRun, shortStride, shortWords, p.literals, short)
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

// find calls hit for every literal that begins in text at from or later and
// before limit, roughly in order: a literal is told when one of its runs is met.
func (p *prefilter) find(text []byte, from, limit int, hit func(l *literal, begin int)) {
	text = text[:min(limit+p.longest, len(text))]
	for i := p.skip(text, from); i < len(text); i = p.skip(text, i+longStride) {
		p.verify(p.long, text, i, from, limit, hit)
		p.verify(p.short, text, i, from, limit, hit)
		p.verify(p.short, text, i+shortStride, from, limit, hit)
	}
}

// skip is the next place, in steps of longStride from i on, where a run of a
// literal may begin. It runs for every sixth byte of every log and calls nothing,
// so that the processor keeps all it needs at hand: of a run's two bits the first
// is set in few cases, and the second is asked for in those alone. What is too near
// the end is left to verify.
func (p *prefilter) skip(text []byte, i int) int {
	long, short := &p.long.bloom, &p.short.bloom
	for ; i+shortStride+8 <= len(text); i += longStride {
		one, two := binary.LittleEndian.Uint64(text[i:])|fold, binary.LittleEndian.Uint64(text[i+shortStride:])|fold
		h := one << (64 - 8*longRun) * multiplier
		if word := long[h>>(64-longWords)]; word>>(h>>firstBit&63)&1 != 0 && word>>(h>>secondBit&63)&1 != 0 {
			return i
		}
		h = one << (64 - 8*shortRun) * multiplier
		if word := short[h>>(64-shortWords)]; word>>(h>>firstBit&63)&1 != 0 && word>>(h>>secondBit&63)&1 != 0 {
			return i
		}
		h = two << (64 - 8*shortRun) * multiplier
		if word := short[h>>(64-shortWords)]; word>>(h>>firstBit&63)&1 != 0 && word>>(h>>secondBit&63)&1 != 0 {
			return i
		}
	}
	return i
}

// verify looks up the run that begins at i and compares its literals.
func (p *prefilter) verify(t *tier, text []byte, i, from, limit int, hit func(l *literal, begin int)) {
	if i >= len(text) {
		return
	}
	eight := runAt(text, i)
	if !t.may(eight) {
		return
	}
	for _, place := range t.lookup(eight) {
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

// runAt is the eight bytes at i, folded; what lies behind the end is zero.
func runAt[T []byte | string](text T, i int) uint64 {
	if i+8 <= len(text) {
		return uint64(text[i]) | uint64(text[i+1])<<8 | uint64(text[i+2])<<16 | uint64(text[i+3])<<24 |
			uint64(text[i+4])<<32 | uint64(text[i+5])<<40 | uint64(text[i+6])<<48 | uint64(text[i+7])<<56 | fold
	}
	var run uint64
	for at := range min(8, len(text)-i) {
		run |= uint64(text[i+at]) << (8 * at)
	}
	return run | fold
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
