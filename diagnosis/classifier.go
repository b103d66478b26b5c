package diagnosis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"gpumedic/incident"
)

// maxLine bounds what is looked at of one line, in bytes; the rest of a longer
// line is skipped. Every message known to us is far shorter.
const maxLine = 64 << 10

// maxCapture bounds a capture's value, in bytes.
const maxCapture = 200

// Match is one signature found in one line.
type Match struct {
	Signature string
	Role      string
	// Captures holds the named groups that took part; nil when none did.
	Captures map[string]string
	// Line counts from 1.
	Line int
	// At is the runtime's stamp on the line, zero when there is none.
	At time.Time
	// Text is the line without stamp, colours and launchers' prefixes.
	Text string
	// Process is the rank that a launcher's prefix names, -1 when none does. It
	// counts processes, of which one pod may run several.
	Process int
	// Of is the signature itself.
	Of *Signature
}

// Classifier finds signatures in text. It is immutable and may be shared.
type Classifier struct {
	signatures []Signature
	patterns   []*regexp.Regexp
	groups     [][]string
	filter     *prefilter
}

// NewClassifier compiles signatures. The error names every broken or repeated
// one.
func NewClassifier(signatures []Signature) (*Classifier, error) {
	c := &Classifier{signatures: slices.Clone(signatures)}
	var problems []error
	known := map[string]bool{}
	literals := make([][]string, 0, len(signatures))
	for _, s := range c.signatures {
		for _, problem := range s.Problems() {
			problems = append(problems, fmt.Errorf("signature %s: %s", s.ID, problem.Text))
		}
		if known[s.ID] {
			problems = append(problems, fmt.Errorf("signature %s is defined twice", s.ID))
		}
		known[s.ID] = true
		literals = append(literals, s.Literals)
	}
	if len(problems) > 0 {
		return nil, incident.Faultf(incident.Invalid, errors.Join(problems...), "compiling %d signatures", len(signatures))
	}
	for _, s := range c.signatures {
		pattern := regexp.MustCompile(s.Pattern) // compiled by Problems before
		c.patterns = append(c.patterns, pattern)
		c.groups = append(c.groups, pattern.SubexpNames())
	}
	c.filter = newPrefilter(literals)
	return c, nil
}

// Scan reads r once to its end and calls fn for every match, line by line, the
// matches of one line in the order of the signatures. Memory is bounded
// whatever the input. It ends early with fn's error or the context's.
func (c *Classifier) Scan(ctx context.Context, r io.Reader, fn func(Match) error) error {
	scan := &scanner{Classifier: c, fn: fn, marked: make([]bool, len(c.signatures))}
	in := bufio.NewReaderSize(r, maxLine)
	for number := 1; ; number++ {
		if number%512 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := in.ReadSlice('\n')
		if failed := scan.line(number, line); failed != nil {
			return failed
		}
		for errors.Is(err, bufio.ErrBufferFull) { // skip the rest of a long line
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_, err = in.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("reading line %d: %w", number, err)
		}
	}
}

// scanner is the working memory of one Scan.
type scanner struct {
	*Classifier
	fn         func(Match) error
	marked     []bool
	candidates []int32
}

// line looks at one line. Carriage returns split it further: progress bars
// rewrite their line, and a message may stand behind one.
func (s *scanner) line(number int, line []byte) error {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return nil
	}
	var at time.Time
	for piece := range bytes.SplitSeq(line, []byte{'\r'}) {
		if len(piece) == 0 {
			continue
		}
		bare := unwrap(piece)
		if bare.at.IsZero() {
			bare.at = at // the stamp stands before the first piece alone
		}
		at = bare.at
		if err := s.piece(number, bare); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) piece(number int, bare unwrapped) error {
	s.filter.mark(bare.text, s.mark)
	slices.Sort(s.candidates)
	candidates := s.candidates
	s.candidates = s.candidates[:0]
	for _, i := range candidates {
		s.marked[i] = false
	}
	for _, i := range candidates {
		if err := s.try(int(i), number, bare); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) mark(signature int32) {
	if !s.marked[signature] {
		s.marked[signature] = true
		s.candidates = append(s.candidates, signature)
	}
}

func (s *scanner) try(i, number int, bare unwrapped) error {
	found := s.patterns[i].FindSubmatchIndex(bare.text)
	if found == nil {
		return nil
	}
	of := &s.signatures[i]
	return s.fn(Match{
		Signature: of.ID,
		Role:      of.Role,
		Captures:  captures(s.groups[i], found, bare.text),
		Line:      number,
		At:        bare.at,
		Text:      string(bare.text),
		Process:   bare.rank,
		Of:        of,
	})
}

func captures(names []string, found []int, text []byte) map[string]string {
	var out map[string]string
	for i, name := range names {
		if name == "" || found[2*i] < 0 {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = cut(string(text[found[2*i]:found[2*i+1]]), maxCapture)
	}
	return out
}
