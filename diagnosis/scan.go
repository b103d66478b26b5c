package diagnosis

import (
	"bytes"
	"context"
	"io"
	"slices"
)

// sampleBudget is how many lines of a sampled signature are looked at in a block
// of text before the rest is passed over, but for the last. A signature of which so
// many lines matched as matchBudget says is sampled for the rest of the block: a log
// may hold nothing but one error.
const (
	sampleBudget = 8
	matchBudget  = 256
)

// Scan reads r once to its end and calls fn for every match, line by line.
// Memory is bounded whatever the input. It ends early with fn's error or the context's. Lines end
// with a line feed or a carriage return; only line feeds are counted, since
// progress bars rewrite their line.
func (c *Classifier) Scan(ctx context.Context, r io.Reader, fn func(Match) error) error {
	s := &scanner{Classifier: c, ctx: ctx, block: newBlock(r), fn: fn, line: 1, places: make([]int, len(c.signatures)),
		marked: make([]bool, len(c.signatures)), passed: make([]pass, len(c.signatures)), vain: make([]int, len(c.signatures))}
	for {
		if err := s.block.fill(ctx); err != nil {
			return err
		}
		limit := s.block.limit()
		s.search(limit)
		if s.err != nil {
			return s.err
		}
		if s.block.ended {
			if s.block.failed != nil {
				s.countTo(s.block.used)
				return broken(s.line, s.block.failed)
			}
			return nil
		}
		s.move(limit)
	}
}

// scanner is the working memory of one Scan. Places are offsets in the block.
type scanner struct {
	*Classifier
	ctx   context.Context
	block *block
	fn    func(Match) error
	err   error

	// line is the number of the line at counted.
	line, counted int
	// begin and end bound the line whose candidates are gathered; feed and
	// carriage are the next breaks known behind it.
	begin, end     int
	feed, carriage int
	candidates     []int32
	marked         []bool
	// places are where a candidate's literal stands.
	places []int
	// lines counts those that were tried, spent the bytes that patterns have seen of
	// the line at hand.
	lines, spent int
	// found holds the matches of the line that is tried.
	found []found
	// passed tells of each signature what was passed over in this block; waiting lists those with a line that may be the last.
	passed  []pass
	waiting []int32
	// vain counts, for each signature, the lines of this block that held its
	// literal and did not match. touched lists what is not zero of passed and vain.
	vain    []int
	touched []int32
	// later says that this is not the first block, gap that part of this block is
	// not looked at for sampled signatures.
	later, gap bool
	// quiet is up to where a harmless message reaches that began on an earlier
	// line, with that message's weight.
	quiet       int
	quietWeight float64
}

// pass is what was passed over of a signature.
type pass struct {
	seen    int
	skipped int
	// last is the place of the last literal passed over, where waits is set, and
	// earlier that of the line passed over before, -1 where there is none: a line
	// may hold the literal and not match.
	last    int
	earlier int
	waits   bool
	// told says that a line of this block was told, matched how many were.
	told    bool
	matched int
}

// search looks at the lines of the block up to limit.
func (s *scanner) search(limit int) {
	s.begin, s.end = s.block.fresh, s.block.fresh
	s.feed, s.carriage = -1, -1
	for _, i := range s.touched {
		s.passed[i], s.vain[i] = pass{}, 0
	}
	s.touched = s.touched[:0]
	text, cut := s.block.text(), s.block.fresh
	if s.later {
		cut = max(cut, limit-sampledTail)
		s.core.find(text, s.block.fresh, cut, s.hit)
		s.gap = cut > s.block.fresh
	}
	s.filter.find(text, cut, limit, s.hit)
	s.later = true
	s.flush()
	s.settle(limit)
}

// move goes on to the next block.
func (s *scanner) move(limit int) {
	s.countTo(limit)
	before := s.block.used
	s.block.advance(limit)
	s.counted -= before - s.block.used
	s.quiet -= before - s.block.used
}

// hit takes note of a literal.
func (s *scanner) hit(l *literal, at int) {
	if s.err != nil {
		return
	}
	for _, signature := range l.signatures {
		if s.sampled(signature) && s.pass(signature, at) {
			continue
		}
		s.mark(signature, at)
	}
}

// sampled says that lines of the signature may be passed over: it is declared so,
// or this block is full of its lines, or holds its literal again and again in vain
// where a look costs many lines.
func (s *scanner) sampled(signature int32) bool {
	of := &s.signatures[signature]
	return of.Sampled || s.passed[signature].matched >= matchBudget || of.Lines > 1 && s.vain[signature] >= maxVain
}

// pass says that the line of a sampled signature is passed over for now.
func (s *scanner) pass(signature int32, at int) bool {
	p := &s.passed[signature]
	if at < s.end && s.marked[signature] {
		return true // a second literal of the same line
	}
	s.touch(signature)
	if p.seen++; p.seen <= sampleBudget {
		return false
	}
	switch {
	case !p.waits:
		s.waiting = append(s.waiting, signature)
		p.earlier = -1
	case p.last < at && bytes.IndexByte(s.block.data[p.last:at], '\n') >= 0: // else one word within another
		p.skipped++
		p.earlier = p.last
	}
	p.last, p.waits = max(p.last, at), true
	return true
}

// touch notes that there is something to forget of the signature with the block.
func (s *scanner) touch(signature int32) {
	if p := s.passed[signature]; p.seen == 0 && p.matched == 0 && s.vain[signature] == 0 {
		s.touched = append(s.touched, signature)
	}
}

// mark makes the signature a candidate for the line at the place.
func (s *scanner) mark(signature int32, at int) {
	if at >= s.end {
		s.flush()
		s.bound(at)
	}
	if len(s.waiting) > 0 {
		begin, end := s.begin, s.end
		s.settle(begin)
		s.begin, s.end = begin, end
	}
	if !s.marked[signature] {
		s.marked[signature] = true
		s.places[signature] = at
		s.candidates = append(s.candidates, signature)
	}
}

// bound finds the line of a place. Of a line that is longer than a block can
// show, it takes what is near.
func (s *scanner) bound(at int) {
	text := s.block.text()
	floor := max(0, at-maxLine)
	s.begin = floor + lastBreak(text[floor:at]) + 1
	s.end = min(s.next(&s.feed, '\n', at), s.next(&s.carriage, '\r', at))
	if s.end-s.begin > maxLine {
		s.begin = max(s.begin, at-behind)
		s.end = min(s.end, at+ahead)
	}
}

// next is where the next break is, which is looked for once only.
func (s *scanner) next(known *int, what byte, at int) int {
	if *known < at {
		text := s.block.text()
		*known = len(text)
		if found := bytes.IndexByte(text[at:], what); found >= 0 {
			*known = at + found
		}
	}
	return *known
}

// flush tries the candidates of the line that was gathered.
func (s *scanner) flush() {
	if len(s.candidates) == 0 {
		return
	}
	if s.lines++; s.lines%64 == 0 && s.err == nil {
		s.err = s.ctx.Err()
	}
	candidates := s.candidates
	slices.Sort(candidates)
	for _, i := range candidates {
		s.marked[i] = false
	}
	s.try(candidates)
	s.candidates = candidates[:0]
}

// settle looks at the last lines that were passed over, so that what comes before
// a place is told before it.
func (s *scanner) settle(before int) {
	waiting := s.waiting
	slices.SortFunc(waiting, func(a, b int32) int { return s.passed[a].last - s.passed[b].last })
	s.waiting = nil
	for _, signature := range waiting {
		p := &s.passed[signature]
		if p.last >= before {
			s.waiting = append(s.waiting, signature)
			continue
		}
		last, earlier, skipped := p.last, p.earlier, p.skipped
		p.last, p.skipped, p.waits = 0, 0, false
		if !s.tryOne(signature, last, skipped) && earlier >= 0 {
			s.tryOne(signature, earlier, max(0, skipped-1))
		}
	}
}

// widen bounds a line by searching both ways, as far as a line may be long.
func (s *scanner) widen(at int) {
	text := s.block.text()
	from := max(0, at-behind)
	s.begin = from + lastBreak(text[from:at]) + 1
	to := min(len(text), at+ahead)
	s.end = to
	if found := bytes.IndexAny(text[at:to], "\r\n"); found >= 0 {
		s.end = at + found
	}
}

// countTo counts line feeds up to a place.
func (s *scanner) countTo(place int) {
	if place > s.counted {
		s.line += bytes.Count(s.block.data[s.counted:place], []byte{'\n'})
		s.counted = place
	}
}

// numberAt is the number of the line that holds a place, also one before what was
// counted already.
func (s *scanner) numberAt(place int) int {
	if place < s.counted {
		return s.line - bytes.Count(s.block.data[place:s.counted], []byte{'\n'})
	}
	s.countTo(place)
	return s.line
}
