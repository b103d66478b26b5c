package redact

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
)

// maxLine bounds what is looked at together, in bytes. A longer line is cut
// into pieces between two of its words.
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
	// rest is the last word of a piece of a long line: its end is still to come.
	rest string
	keys keyLines
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
	piece, err := r.source.ReadSlice('\n')
	text := r.rest + string(piece)
	r.rest = ""
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		text, r.rest = cutBetweenWords(text)
	case err != nil:
		r.err = err
	}
	if text != "" {
		r.ready.WriteString(String(r.keys.line(text)))
	}
}

// cutBetweenWords keeps back the word that a piece of a long line ends in. A
// word as long as a whole piece holds nothing that anybody reads, and half of
// it could be half of a secret: it is replaced.
func cutBetweenWords(text string) (whole, rest string) {
	at := strings.LastIndexAny(text, " \t,;\"'{}[]()<>&")
	rest = text[at+1:]
	if len(rest) > maxLine/2 {
		return text[:at+1] + "[redacted:unbroken-text]", ""
	}
	return text[:at+1], rest
}

// keyLines takes the lines of private keys out of a text. The zero value is
// ready.
type keyLines struct{ inside bool }

// line gives a line without what belongs to a key. A key that never ends stops
// at the first line that cannot be part of one, so that the rest of a log
// survives somebody who quotes only its first line.
func (k *keyLines) line(line string) string {
	ends := strings.Contains(line, "PRIVATE KEY-----") && strings.Contains(line, "-----END ")
	if k.inside {
		if ends {
			k.inside = false
			return ""
		}
		if keyBody.MatchString(strings.TrimRight(line, "\r\n")) {
			return ""
		}
		k.inside = false
	}
	before, key, found := strings.Cut(line, "-----BEGIN ")
	if !found || ends || !keyHead.MatchString(key) {
		return line
	}
	k.inside = true
	return before + "[redacted:private-key]\n"
}

var (
	// keyHead is a line that has nothing after the key's first mark.
	keyHead = regexp.MustCompile(`^[A-Z ]*PRIVATE KEY-----\s*$`)
	// keyBody is a line of a key, maybe after a time stamp or a rank's prefix: a
	// long run of base64, a short one by itself, a header, or nothing.
	keyBody = regexp.MustCompile(`^(?:(?:\S+ ){0,4}[A-Za-z0-9+/=]{40,}|(?:\S+ )?[A-Za-z0-9+/=]{0,39}|.*(?:Proc-Type|DEK-Info): .*)\s*$`)
)
