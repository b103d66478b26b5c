package commtest

import (
	"bytes"
	"fmt"
	"io"
)

// headBytes and tailBytes bound what is kept of one rank's log; a healthy
// test prints far less.
const (
	headBytes = 1 << 20
	tailBytes = 1 << 20
)

// keeper is a writer that keeps the head and the tail of a log, whole lines
// only, and counts what it dropped between them.
type keeper struct {
	line    []byte // the line that has not ended yet, cut to maxLine
	head    bytes.Buffer
	tail    [][]byte
	inTail  int
	dropped int64
}

func newKeeper() *keeper { return &keeper{} }

// Write never fails.
func (k *keeper) Write(p []byte) (int, error) {
	written := len(p)
	for {
		before, after, ended := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(k.line); len(before) > room {
			k.dropped += int64(len(before) - room)
			before = before[:room]
		}
		k.line = append(k.line, before...)
		if !ended {
			return written, nil
		}
		k.endLine()
		p = after
	}
}

// end keeps a last line without a line feed.
func (k *keeper) end() {
	if len(k.line) > 0 {
		k.endLine()
	}
}

func (k *keeper) endLine() {
	line := append(bytes.Clone(k.line), '\n')
	k.line = k.line[:0]
	if len(k.tail) == 0 && k.head.Len()+len(line) <= headBytes {
		k.head.Write(line)
		return
	}
	k.tail = append(k.tail, line)
	k.inTail += len(line)
	for k.inTail > tailBytes {
		k.inTail -= len(k.tail[0])
		k.dropped += int64(len(k.tail[0]))
		k.tail = k.tail[1:]
	}
}

func (k *keeper) empty() bool { return k.head.Len() == 0 && len(k.tail) == 0 }

// reader gives what was kept, with a line that marks the cut.
func (k *keeper) reader() io.Reader {
	parts := []io.Reader{bytes.NewReader(k.head.Bytes())}
	if k.dropped > 0 {
		parts = append(parts, bytes.NewReader(fmt.Appendf(nil, "[gpumedic: %d bytes dropped here]\n", k.dropped)))
	}
	return io.MultiReader(append(parts, bytes.NewReader(bytes.Join(k.tail, nil)))...)
}
