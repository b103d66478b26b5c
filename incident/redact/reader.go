package redact

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxLine bounds what is looked at together, in bytes. A longer line is cut
// into pieces of this size at a byte that cannot be inside a token.
const maxLine = 256 << 10

// Reader redacts a stream line by line in bounded memory. A private key over
// several lines is replaced by one mark.
func Reader(r io.Reader) io.Reader {
	return &reader{source: bufio.NewReaderSize(r, maxLine)}
}

type reader struct {
	source *bufio.Reader
	ready  bytes.Buffer
	err    error
	// inKey is set between the first and the last line of a private key.
	inKey bool
}

// Read gives redacted bytes.
func (r *reader) Read(p []byte) (int, error) {
	for r.ready.Len() == 0 && r.err == nil {
		r.fill()
	}
	if r.ready.Len() > 0 {
		return r.ready.Read(p)
	}
	return 0, r.err
}

func (r *reader) fill() {
	line, err := r.source.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		r.err = err
	}
	if len(line) > 0 {
		r.ready.WriteString(r.line(string(line)))
	}
}

func (r *reader) line(line string) string {
	ends := strings.Contains(line, "PRIVATE KEY-----") && strings.Contains(line, "-----END ")
	if r.inKey {
		r.inKey = !ends
		return ""
	}
	if strings.Contains(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE KEY-----") && !ends {
		r.inKey = true
		before, _, _ := strings.Cut(line, "-----BEGIN ")
		return String(before) + "[redacted:private-key]\n"
	}
	return String(line)
}
