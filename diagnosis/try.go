package diagnosis

import (
	"bytes"
	"regexp"
	"slices"
)

// A candidate is tried on its line, then, since terminals and loggers wrap long
// messages, on the line joined with its neighbours.

// view is a line with its surroundings, each made when it is first asked for.
type view struct {
	scan *scanner
	// pieces are the parts of the line: one, or more when it was wrapped as JSON.
	pieces []unwrapped
	// after and before are the neighbours, without their wrapping.
	after  [][]byte
	before []byte
	looked bool
	// short says that there are no more lines behind than after holds.
	short bool
	// ends are where the lines of after end in the block.
	ends []int
}

// joined is how many lines behind a line are joined with it at most.
const joined = 2

// try tries the candidates on the line at hand, harmless ones first, and tells of
// those that match.
func (s *scanner) try(candidates []int32) {
	v := s.view()
	harmless := 0.0
	if s.begin < s.quiet {
		harmless = s.quietWeight
	}
	for _, join := range []bool{false, true} {
		for _, i := range candidates {
			if of := &s.signatures[i]; of.Role == RoleBenign && s.attempt(v, i, 0, join) {
				harmless = max(harmless, of.Weight)
			}
		}
		for _, i := range candidates {
			of := &s.signatures[i]
			if of.Role == RoleBenign || of.Role != RoleContext && of.Weight <= harmless {
				continue
			}
			s.attempt(v, i, 0, join)
		}
		if len(s.found) > 0 { // the line says what it has to say, and goes not on in the next
			break
		}
	}
	s.tell()
}

// tryOne tries one signature alone at a place, and says whether it matched.
func (s *scanner) tryOne(signature int32, at, skipped int) bool {
	s.widen(at)
	s.places[signature] = at
	matched := s.attempt(s.view(), signature, skipped, false)
	s.tell()
	return matched
}

// found is a match in a piece of the line at hand.
type found struct {
	Match
	piece int
}

// tell gives the line's matches to fn. What several signatures say of the same
// piece under one failure case, the surest says: the others are more general.
func (s *scanner) tell() {
	for _, one := range s.found {
		if s.err == nil && !slices.ContainsFunc(s.found, one.yieldsTo) {
			s.err = s.fn(one.Match)
		}
	}
	s.found = s.found[:0]
}

func (f found) yieldsTo(other found) bool {
	const clearly = 0.02
	return f.symptom() && other.symptom() && f.piece == other.piece && f.failureCase() == other.failureCase() && f.weight()+clearly < other.weight()
}

func (f found) symptom() bool { return f.Role == RoleOrigin || f.Role == RoleEcho }

func (s *scanner) view() *view {
	s.spent = 0
	return &view{scan: s, pieces: unwrap(s.block.data[s.begin:s.end])}
}

// attempt keeps the match of the first piece that has one; false without one. With
// join, the piece is looked at together with its neighbours.
func (s *scanner) attempt(v *view, i int32, skipped int, join bool) bool {
	if s.err != nil {
		return false
	}
	of := &s.signatures[i]
	pieces := v.pieces
	if of.Lines > 1 && len(pieces) > 1 { // its lines are the pieces
		pieces = pieces[:1]
	}
	for at, piece := range pieces {
		text, where := s.match(v, i, piece, join)
		if where != nil && s.keep(i, at, piece, text, where, skipped) {
			s.hush(v, of, bytes.Count(text[:where[1]], []byte{'\n'}))
			if join {
				s.vain[i]--
			}
			return true
		}
	}
	if join {
		return false
	}
	s.touch(i)
	s.vain[i]++
	return false
}

const (
	// longLine is the length from which on a pattern sees what surrounds its literal,
	// not the line: so much before, the rest behind.
	longLine, beforeLiteral = 4 << 10, 1 << 10
	// maxSpent bounds what the patterns of all candidates see of one line, so that a
	// line made of all literals costs no more than many lines.
	maxSpent = 2 << 20
)

// match looks for the pattern of a signature in a piece, or over its edges.
func (s *scanner) match(v *view, i int32, piece unwrapped, join bool) (text []byte, where []int) {
	of, pattern := &s.signatures[i], s.patterns[i].regexp()
	switch {
	case s.spent > maxSpent:
		return nil, nil
	case join && (of.Sampled || s.vain[i] > maxVain):
		return nil, nil
	case join:
		s.spent += 4 * len(piece.text)
		return v.wrapped(pattern, piece)
	case of.Lines > 1:
		text = v.span(piece, of.Lines)
	default:
		text = v.near(piece, s.places[i])
	}
	s.spent += len(text)
	return text, pattern.FindSubmatchIndex(text)
}

// near is the piece, or what surrounds a place in a long line.
func (v *view) near(piece unwrapped, place int) []byte {
	s := v.scan
	if len(piece.text) <= longLine || len(v.pieces) > 1 {
		return piece.text
	}
	if place-s.begin < longLine-beforeLiteral {
		return piece.text[:longLine]
	}
	return s.block.data[max(s.begin, place-beforeLiteral):min(s.end, place+longLine-beforeLiteral)]
}

// hush notes how far a harmless message over many lines reaches: what stands in it
// is silenced too.
func (s *scanner) hush(v *view, of *Signature, lines int) {
	if of.Role != RoleBenign || of.Lines < 2 || lines == 0 || lines > len(v.ends) {
		return
	}
	s.quiet, s.quietWeight = v.ends[lines-1], of.Weight
}

// maxVain is how often in a block a signature is tried in vain before its lines
// are no longer joined with their neighbours, which costs several times more: a
// literal that is met so often is no sign of a wrapped message.
const maxVain = 32

// keep makes the match of a piece; false when its reader refuses it.
func (s *scanner) keep(i int32, at int, piece unwrapped, text []byte, where []int, skipped int) bool {
	of := &s.signatures[i]
	m := Match{
		Signature: of.ID, Role: of.Role, Captures: captures(s.patterns[i].groups, where, text), Line: s.numberAt(s.begin),
		At: piece.at, Text: string(quoted(text, where)), Process: piece.rank, Skipped: skipped, Of: of,
	}
	if read := readers[of.Read].line; read != nil && !read(&m, string(text)) {
		return false
	}
	m.Gap = of.Sampled && s.gap && !s.passed[i].told
	s.touch(i)
	s.passed[i].told = true
	s.passed[i].matched++
	s.found = append(s.found, found{m, at})
	return true
}

// quoted is the part of a text over many lines that the match begins in, up to
// the end of its last line.
func quoted(text []byte, found []int) []byte {
	begin := bytes.LastIndexByte(text[:found[0]], '\n') + 1
	end := len(text)
	if next := bytes.IndexByte(text[found[1]:], '\n'); next >= 0 {
		end = found[1] + next
	}
	return text[begin:end]
}

// span is the piece with the lines behind it, each without its wrapping: the other
// pieces of a line that was wrapped as JSON, then the next lines.
func (v *view) span(piece unwrapped, lines int) []byte {
	out := bytes.Clone(piece.text[:min(len(piece.text), ahead)])
	for _, more := range v.pieces[1:] {
		if len(out) > maxLine {
			return out
		}
		out = append(append(out, '\n'), more.text...)
	}
	v.look(lines - 1)
	for _, line := range v.after[:min(lines-1, len(v.after))] {
		out = append(append(out, '\n'), line...)
	}
	return out
}

// look finds the neighbours, so many behind, as far as a message may reach.
func (v *view) look(lines int) {
	if v.looked && (len(v.after) >= lines || v.short) {
		return
	}
	s := v.scan
	text := s.block.text()
	reach := min(len(text), s.end+ahead)
	v.looked, v.after, v.ends = true, v.after[:0], v.ends[:0]
	at := s.end
	for at < reach && len(v.after) < lines {
		at++ // over the break
		if text[at-1] == '\r' && at < len(text) && text[at] == '\n' {
			at++
		}
		end := max(at, reach)
		if found := bytes.IndexAny(text[at:end], "\r\n"); found >= 0 {
			end = at + found
		}
		v.after, v.ends = append(v.after, bare(text[at:end])), append(v.ends, end)
		at = end
	}
	v.short = len(v.after) < lines
	if s.begin > 0 {
		end := s.begin - 1
		if end > 0 && text[end] == '\n' && text[end-1] == '\r' {
			end--
		}
		from := max(0, end-maxWrapped-1)
		v.before = bare(text[from+lastBreak(text[from:end])+1 : end])
	}
}

// wrapped tries the pattern over the break between the line and its neighbours:
// joined as they are, as a terminal cuts, or with a blank, as text is set. The
// match must lie on both sides of a break.
func (v *view) wrapped(pattern *regexp.Regexp, piece unwrapped) ([]byte, []int) {
	if len(v.pieces) > 1 || len(piece.text) > maxWrapped {
		return nil, nil
	}
	v.look(joined)
	parts := [][]byte{piece.text}
	for _, next := range v.after[:min(joined, len(v.after))] {
		if len(next) == 0 || len(next) > maxWrapped {
			break
		}
		parts = append(parts, next)
	}
	if len(parts) > 1 {
		if text, found := across(pattern, parts); found != nil {
			return text, found
		}
	}
	if len(v.before) > 0 && len(v.before) <= maxWrapped {
		return across(pattern, append([][]byte{v.before}, parts...))
	}
	return nil, nil
}

// maxWrapped bounds lines that are joined with others, in bytes: a terminal cuts
// far shorter ones.
const maxWrapped = 600

// across joins the parts in both ways and returns a match that lies over the
// first break.
func across(pattern *regexp.Regexp, parts [][]byte) ([]byte, []int) {
	for _, glue := range []string{"", " "} {
		text := bytes.Join(parts, []byte(glue))
		edge := len(parts[0])
		if found := pattern.FindSubmatchIndex(text); found != nil && found[0] < edge && found[1] > edge+len(glue) {
			return text, found
		}
	}
	return nil, nil
}
