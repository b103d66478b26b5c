package diagnosis

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gpumedic/incident"
)

// Roles of a signature. An origin is said by the rank where the trouble is; an
// echo by a rank that noticed somebody else's; context is neither, it tells how
// things are set up or that work goes on. Benign is a line that looks bad and is
// known to do no harm: no signature speaks of it that is not surer of a fault
// (Weight) than this one is of its harmlessness.
const (
	RoleOrigin  = "origin"
	RoleEcho    = "echo"
	RoleContext = "context"
	RoleBenign  = "benign"
)

// Signature is a line of text that is known to mean something.
type Signature struct {
	// ID is unique over all files, lower case with dashes.
	ID string
	// Meaning is one sentence for people, without a full stop.
	Meaning string
	Source  Source
	Role    string
	// FailureCase is the case that this line speaks of.
	FailureCase string
	// Causes are root causes this line is known to have, best first; empty is
	// allowed for context alone.
	Causes []string
	// Weight is how far this line alone proves the first of Causes, 0 to 0.9:
	// more than a line can prove needs a second kind of evidence.
	Weight float64
	// Literals are searched for first, without regard to case: only a line that
	// contains one of them meets Pattern.
	Literals []string
	// Pattern is an RE2 expression, not anchored; its named groups become
	// captures. It sees the line of the literal, and the next ones too when the
	// message was wrapped.
	Pattern string
	// Lines is how many lines the pattern may span, that of the literal being the
	// first; 0 means one.
	Lines int
	// Sampled is set for lines that a healthy log holds by the thousand: of a long
	// log only parts are looked at for them, and of each part some lines, the last
	// one always.
	Sampled bool
	// Read names the reader that weighs the numbers of the line (see Readers); ""
	// for none.
	Read string
	// Compare names captures that ought to be equal over the ranks.
	Compare []string
	// Examples must match, NearMisses must not.
	Examples   []string
	NearMisses []string
}

// Source says who writes the line, so that it can be looked up again.
type Source struct {
	// Product is the program ("NCCL"), Place its file or document, Versions the
	// releases that have this text ("2.10..2.30").
	Product  string
	Place    string
	Versions string
}

// maxTextWeight bounds what one line can prove.
const maxTextWeight = 0.9

// minLiteral keeps literals long enough to filter anything: the prefilter looks
// at every third byte and needs four in a row (see prefilter).
const minLiteral = 6

// maxLines bounds what one pattern may span.
const maxLines = 60

// Problems lists everything that is wrong with the signature, each by the name
// of its field; none when it is good. The examples are tried too.
func (s Signature) Problems() []FieldProblem {
	var out []FieldProblem
	add := func(field, format string, args ...any) {
		out = append(out, FieldProblem{Field: field, Text: fmt.Sprintf(format, args...)})
	}
	if !validID(s.ID) {
		add("id", "id %q must be lower-case words joined by dashes", s.ID)
	}
	for _, text := range []struct{ field, value string }{
		{"meaning", s.Meaning}, {"source.product", s.Source.Product},
		{"source.place", s.Source.Place}, {"source.versions", s.Source.Versions},
	} {
		if strings.TrimSpace(text.value) == "" {
			add(text.field, "%s is missing", text.field)
		}
	}
	s.checkMeaning(add)
	s.checkText(add)
	return out
}

// FieldProblem is what is wrong with one field.
type FieldProblem struct {
	Field string
	Text  string
}

type adder func(field, format string, args ...any)

func (s Signature) checkMeaning(add adder) {
	if !slices.Contains([]string{RoleOrigin, RoleEcho, RoleContext, RoleBenign}, s.Role) {
		add("role", "role %q is none of origin, echo, context, benign", s.Role)
	}
	if !IsFailureCase(s.FailureCase) {
		add("failure_case", "failure case %q is not known", s.FailureCase)
	}
	if s.Role == RoleBenign && s.FailureCase != incident.NoneOfThese {
		add("failure_case", "a benign line belongs to %s, not %s", incident.NoneOfThese, s.FailureCase)
	}
	if s.Role == RoleBenign && s.Sampled {
		add("sampled", "a benign line cannot be sampled: it would silence some lines and not others")
	}
	if s.Read != "" && !slices.Contains(Readers(), s.Read) {
		add("read", "there is no reader %q; known are %s", s.Read, strings.Join(Readers(), ", "))
	}
	if s.Lines < 0 || s.Lines > maxLines {
		add("lines", "lines %d must lie between 1 and %d", s.Lines, maxLines)
	}
	for _, cause := range s.Causes {
		if !IsRootCause(cause) {
			add("causes", "root cause %q is not in the taxonomy", cause)
		}
	}
	if len(s.Causes) == 0 && s.Role != RoleContext {
		add("causes", "an %s needs at least one root cause", s.Role)
	}
	if !(s.Weight >= 0 && s.Weight <= maxTextWeight) { // not a number is neither
		add("weight", "weight %v must lie between 0 and %v", s.Weight, maxTextWeight)
	}
	if s.Weight == 0 && len(s.Causes) > 0 {
		add("weight", "weight is missing although causes are named")
	}
}

func (s Signature) checkText(add adder) {
	if len(s.Literals) == 0 {
		add("literals", "literals are missing: without one every line would meet the pattern")
	}
	for _, literal := range s.Literals {
		if len(literal) < minLiteral {
			add("literals", "literal %q is shorter than %d bytes", literal, minLiteral)
		}
		if strings.ContainsAny(literal, "\r\n") {
			add("literals", "literal %q must lie within one line", literal)
		}
	}
	if len(s.Examples) == 0 {
		add("examples", "at least one example that matches is needed")
	}
	if len(s.NearMisses) == 0 {
		add("near_misses", "at least one near miss that must not match is needed")
	}
	pattern, err := regexp.Compile(s.Pattern)
	if err != nil || s.Pattern == "" {
		add("pattern", "pattern %q: %v", s.Pattern, orMissing(err))
		return
	}
	for _, name := range s.Compare {
		if pattern.SubexpIndex(name) < 0 {
			add("compare", "compare names %q, which is no group of the pattern", name)
		}
	}
	s.checkExamples(pattern, add)
}

func (s Signature) checkExamples(pattern *regexp.Regexp, add adder) {
	for _, line := range s.Examples {
		switch {
		case !pattern.MatchString(line):
			add("examples", "example does not match: %q", cut(line, 120))
		case len(s.Literals) > 0 && !s.hasLiteral(line):
			add("examples", "example holds none of the literals: %q", cut(line, 120))
		}
	}
	for _, line := range s.NearMisses {
		if pattern.MatchString(line) && s.hasLiteral(line) {
			add("near_misses", "near miss matches: %q", cut(line, 120))
		}
	}
}

func (s Signature) hasLiteral(line string) bool {
	low := strings.ToLower(line)
	return slices.ContainsFunc(s.Literals, func(literal string) bool {
		return strings.Contains(low, strings.ToLower(literal))
	})
}

func orMissing(err error) string {
	if err == nil {
		return "it is missing"
	}
	return err.Error()
}

func validID(id string) bool {
	for _, word := range strings.Split(id, "-") {
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return false
		}
	}
	return true
}

// cut shortens text to at most limit bytes, at the border of a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const mark = "…"
	end := limit - len(mark)
	for end > 0 && text[end]&0xC0 == 0x80 {
		end--
	}
	return text[:end] + mark
}
