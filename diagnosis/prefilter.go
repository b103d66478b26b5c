package diagnosis

// prefilter finds, in one pass over a line, which signatures have a literal in
// it: an Aho-Corasick automaton over lower-cased ASCII. Its cost per byte does
// not depend on the number of signatures.
type prefilter struct {
	// class folds bytes that no literal contains into class 0, and upper case
	// into lower case, which keeps the table small.
	class   [256]uint16
	classes int
	// next is the complete transition table, next[state*classes+class].
	next []int32
	// hits lists, per state, the signatures whose literal ends there.
	hits [][]int32
}

// newPrefilter builds the automaton; literals[i] belong to signature i.
func newPrefilter(literals [][]string) *prefilter {
	p := &prefilter{}
	p.assignClasses(literals)
	p.addState()
	for signature, words := range literals {
		for _, word := range words {
			p.insert(word, int32(signature))
		}
	}
	p.link()
	return p
}

func (p *prefilter) assignClasses(literals [][]string) {
	p.classes = 1
	for _, words := range literals {
		for _, word := range words {
			for i := range len(word) {
				if b := lower(word[i]); p.class[b] == 0 {
					p.class[b] = uint16(p.classes)
					p.classes++
				}
			}
		}
	}
	for b := byte('A'); b <= 'Z'; b++ {
		p.class[b] = p.class[lower(b)]
	}
}

func (p *prefilter) addState() int32 {
	p.next = append(p.next, make([]int32, p.classes)...)
	p.hits = append(p.hits, nil)
	return int32(len(p.hits) - 1)
}

func (p *prefilter) insert(word string, signature int32) {
	state := int32(0)
	for i := range len(word) {
		at := int(state)*p.classes + int(p.class[word[i]])
		if p.next[at] == 0 {
			p.next[at] = p.addState()
		}
		state = p.next[at]
	}
	p.hits[state] = append(p.hits[state], signature)
}

// link turns the trie into an automaton: breadth first, a missing transition
// becomes that of the longest proper suffix, and a state inherits its hits.
func (p *prefilter) link() {
	suffix := make([]int32, len(p.hits))
	var queue []int32
	for class := range p.classes {
		if child := p.next[class]; child != 0 {
			queue = append(queue, child)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		for class := range p.classes {
			at := int(state)*p.classes + class
			fallback := p.next[int(suffix[state])*p.classes+class]
			child := p.next[at]
			if child == 0 {
				p.next[at] = fallback
				continue
			}
			suffix[child] = fallback
			p.hits[child] = append(p.hits[child], p.hits[fallback]...)
			queue = append(queue, child)
		}
	}
}

// mark calls found for every literal in line; a signature may come repeatedly.
func (p *prefilter) mark(line []byte, found func(signature int32)) {
	state := 0
	for _, b := range line {
		state = int(p.next[state*p.classes+int(p.class[b])])
		for _, signature := range p.hits[state] {
			found(signature)
		}
	}
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
