package diagnosis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

const (
	// blockSize is how much is read and searched at once, in bytes. It bounds the
	// memory of a scan, whatever the length of a log or of its lines.
	blockSize = 512 << 10
	// ahead is how much behind a literal is kept within reach, for messages over
	// many lines.
	ahead = 16 << 10
	// sampledTail is how much at the end of a block is looked at for sampled
	// signatures too; of the first block, all is.
	sampledTail = 32 << 10
	// behind is how much before a literal is kept within reach when its line began
	// further back.
	behind = 8 << 10
)

// block is a window that moves over a text.
type block struct {
	in   io.Reader
	data []byte
	used int
	// fresh is where the part begins that was not searched yet.
	fresh int
	// clean is up to where colours were taken out.
	clean int
	// ended says that the reader holds no more; failed says why when that is no
	// proper end.
	ended  bool
	failed error
}

func newBlock(in io.Reader) *block {
	return &block{in: in, data: make([]byte, blockSize)}
}

// fill reads until the block is full or the text ends.
func (b *block) fill(ctx context.Context) error {
	for b.used < len(b.data) && !b.ended {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := b.in.Read(b.data[b.used:])
		b.used += n
		if err != nil {
			b.ended = true
			if !errors.Is(err, io.EOF) {
				b.failed = err
			}
		}
	}
	b.uncolour()
	return ctx.Err()
}

// text is what the block holds.
func (b *block) text() []byte { return b.data[:b.used] }

// limit is up to where literals may begin that are looked at now: what follows
// is needed as their surroundings. It is the begin of a line where there is one.
func (b *block) limit() int {
	if b.ended {
		return b.used
	}
	limit := max(b.used-ahead, b.fresh)
	if at := lastBreak(b.data[b.fresh:limit]); at >= 0 {
		return b.fresh + at + 1
	}
	return limit
}

// advance drops what was searched up to limit, and keeps the begin of a line that
// limit cuts, else the line before.
func (b *block) advance(limit int) {
	keep := limit
	switch {
	case limit > 0 && !isBreak(b.data[limit-1]):
		begin := lastBreak(b.data[:limit]) + 1
		keep = max(begin, limit-behind)
	case limit > 0: // a wrapped message may have begun on the line before
		from := max(0, limit-1-maxWrapped)
		if begin := from + lastBreak(b.data[from:limit-1]) + 1; begin > from || from == 0 {
			keep = begin
		}
	}
	b.used = copy(b.data, b.data[keep:b.used])
	b.fresh = limit - keep
	b.clean = max(b.clean-keep, 0)
}

// escape begins the sequences with which terminals are told colours.
const escape = 0x1b

// uncolour takes terminal sequences out, which may stand in the middle of a
// word. One that the block cuts waits for its rest.
func (b *block) uncolour() {
	at := bytes.IndexByte(b.data[b.clean:b.used], escape)
	if at < 0 {
		b.clean = b.used
		return
	}
	to := b.clean + at
	for from := to; from < b.used; {
		if b.data[from] != escape {
			next := bytes.IndexByte(b.data[from:b.used], escape)
			if next < 0 {
				next = b.used - from
			}
			to += copy(b.data[to:], b.data[from:from+next])
			from += next
			continue
		}
		length, whole := sequence(b.data[from:b.used])
		if !whole && !b.ended {
			rest := copy(b.data[to:], b.data[from:b.used])
			b.clean, b.used = to, to+rest
			return
		}
		from += length
	}
	b.clean, b.used = to, to
}

// maxSequence bounds a terminal sequence, in bytes: what is longer is none.
const maxSequence = 64

// sequence measures the terminal sequence at the begin of text; whole is false
// when its end is not there yet.
func sequence(text []byte) (length int, whole bool) {
	if len(text) < 2 {
		return len(text), false
	}
	if text[1] != '[' {
		return 1, true // a lone escape
	}
	for i := 2; i < min(len(text), maxSequence); i++ {
		if c := text[i]; c >= 0x40 && c <= 0x7e {
			return i + 1, true
		}
	}
	return 2, len(text) >= maxSequence
}

func isBreak(b byte) bool { return b == '\n' || b == '\r' }

func lastBreak(text []byte) int { return bytes.LastIndexAny(text, "\r\n") }

// broken says at which line reading failed.
func broken(line int, err error) error { return fmt.Errorf("reading line %d: %w", line, err) }
