package diagnosis

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"gpumedic/incident"
)

// maxLine bounds what counts as one line, in bytes. Of a longer one, what
// surrounds a literal is looked at.
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
	// Skipped is how many lines of a sampled signature were passed over since the
	// one told before, as far as they were counted; Gap says that part of the log
	// between was not looked at for them.
	Skipped int
	Gap     bool
	// Reading is what the numbers of the line say, nil when nobody read them.
	Reading *Reading
	// Of is the signature itself.
	Of *Signature
}

// faultWeight is the weight from which on a line is taken for a fault of whoever
// wrote it; what says less is a remark.
const faultWeight = 0.4

// Fault says that the line speaks of something broken, here or elsewhere.
func (m Match) Fault() bool {
	return (m.Role == RoleOrigin || m.Role == RoleEcho) && m.weight() >= faultWeight
}

// weight is how far the line proves its first cause: what its numbers say, else
// what its signature says.
func (m Match) weight() float64 {
	switch {
	case m.Reading != nil && m.Reading.Weight > 0:
		return m.Reading.Weight
	case m.Of != nil:
		return m.Of.Weight
	}
	return 0
}

// failureCase is the case that the line speaks of.
func (m Match) failureCase() string {
	switch {
	case m.Reading != nil && m.Reading.FailureCase != "":
		return m.Reading.FailureCase
	case m.Of != nil:
		return m.Of.FailureCase
	}
	return ""
}

// Classifier finds signatures in text. It is immutable and may be shared.
type Classifier struct {
	signatures []Signature
	patterns   []*pattern
	// filter finds all literals, core all but those of sampled signatures.
	filter, core *prefilter
}

// pattern is compiled when a line first needs it: most of many are never needed.
type pattern struct {
	text     string
	once     sync.Once
	compiled *regexp.Regexp
	groups   []string
}

// regexp returns the compiled pattern.
func (p *pattern) regexp() *regexp.Regexp {
	p.once.Do(func() {
		p.compiled = regexp.MustCompile(p.text)
		p.groups = p.compiled.SubexpNames()
	})
	return p.compiled
}

// NewClassifier checks signatures and compiles them. The error names every broken
// or repeated one.
func NewClassifier(signatures []Signature) (*Classifier, error) {
	var problems []error
	for _, s := range signatures {
		for _, problem := range s.Problems() {
			problems = append(problems, fmt.Errorf("signature %s: %s", s.ID, problem.Text))
		}
	}
	if problems = append(problems, repeated(signatures)...); len(problems) > 0 {
		return nil, refused(signatures, problems)
	}
	return Assemble(signatures)
}

// Assemble makes a classifier of signatures whose Problems were looked at before,
// which takes longer than all the rest. A pattern that is broken all the same
// panics when a line first needs it. The error names repeated signatures.
func Assemble(signatures []Signature) (*Classifier, error) {
	if problems := repeated(signatures); len(problems) > 0 {
		return nil, refused(signatures, problems)
	}
	c := &Classifier{signatures: slices.Clone(signatures)}
	all, core := make([][]string, len(signatures)), make([][]string, len(signatures))
	for i, s := range c.signatures {
		c.patterns = append(c.patterns, &pattern{text: s.Pattern})
		if all[i] = s.Literals; !s.Sampled {
			core[i] = s.Literals
		}
	}
	c.filter, c.core = newPrefilter(all), newPrefilter(core)
	return c, nil
}

func repeated(signatures []Signature) []error {
	var problems []error
	known := map[string]bool{}
	for _, s := range signatures {
		if known[s.ID] {
			problems = append(problems, fmt.Errorf("signature %s is defined twice", s.ID))
		}
		known[s.ID] = true
	}
	return problems
}

func refused(signatures []Signature, problems []error) error {
	return incident.Faultf(incident.Invalid, errors.Join(problems...), "compiling %d signatures", len(signatures))
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
