package localize

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"gpumedic/incident"
)

// maxLine bounds one line of input; a site of ten thousand nodes fits.
const maxLine = 8 << 20

// request is the first line of a dialogue.
type request struct {
	Nodes        []placedNode       `json:"nodes"`
	Prior        map[string]float64 `json:"prior"`
	ExpectedGBps float64            `json:"expected_busbw_gbps"`
	MaxRounds    int                `json:"max_rounds"`
}

type placedNode struct {
	Name         string `json:"name"`
	Leaf         string `json:"leaf"`
	Rack         string `json:"rack"`
	Zone         string `json:"zone"`
	NVLinkDomain string `json:"nvlink_domain"`
}

type question struct {
	Round  int              `json:"round"`
	Groups []incident.Group `json:"groups"`
}

type answer struct {
	Round    int            `json:"round"`
	Outcomes []groupOutcome `json:"outcomes"`
}

type groupOutcome struct {
	ID          string              `json:"id"`
	Result      incident.TestResult `json:"result"`
	BusBWGBps   float64             `json:"busbw_gbps"`
	FailedNodes []string            `json:"failed_nodes"`
	Why         string              `json:"why"`
}

type ending struct {
	Verdict incident.Verdict `json:"verdict"`
}

// Stdio plans for somebody who runs the tests elsewhere: the nodes come on the
// first line of in, then every round of groups goes out on a line and its
// outcomes come back on one, until the verdict goes out. Errors name the line
// of in, counted from 1, and the field.
func Stdio(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := &lineReader{in: bufio.NewReaderSize(in, 64<<10)}
	var first request
	if err := lines.read(&first, "the nodes"); err != nil {
		return err
	}
	input, err := first.input()
	if err != nil {
		return lines.wrong(err)
	}
	var rounds []incident.Round
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("planning round %d: %w", len(rounds)+1, err)
		}
		step := Next(input, rounds)
		if step.Verdict != nil {
			return write(out, ending{*step.Verdict})
		}
		round := incident.Round{Number: len(rounds) + 1, Groups: step.Groups}
		if err := write(out, question{round.Number, round.Groups}); err != nil {
			return err
		}
		var reply answer
		if err := lines.read(&reply, fmt.Sprintf("the outcomes of round %d", round.Number)); err != nil {
			return err
		}
		if round.Outcomes, err = reply.outcomes(round); err != nil {
			return lines.wrong(err)
		}
		rounds = append(rounds, round)
	}
}

// write sends a line at once: the other side waits for it.
func write(out io.Writer, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing a line: %w", err)
	}
	if _, err := out.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("writing a line: %w", err)
	}
	return nil
}

// input checks the first line; all problems are reported together.
func (r request) input() (Input, error) {
	in := Input{Prior: r.Prior, ExpectedGBps: r.ExpectedGBps, MaxRounds: r.MaxRounds}
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	seen := map[string]bool{}
	for i, n := range r.Nodes {
		switch {
		case n.Name == "":
			report("nodes[%d].name is empty", i)
		case seen[n.Name]:
			report("nodes[%d].name %q is there twice", i, n.Name)
		}
		seen[n.Name] = true
		in.Nodes = append(in.Nodes, incident.Node{Name: n.Name, Leaf: n.Leaf, Rack: n.Rack, Zone: n.Zone, NVLinkDomain: n.NVLinkDomain})
	}
	if len(r.Nodes) == 0 {
		report("nodes is empty; name at least one")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Prior)) {
		if p := r.Prior[name]; p < 0 || p > 1 {
			report("prior[%q] is %v, want a probability from 0 to 1", name, p)
		}
		if !seen[name] {
			report("prior[%q] names no node of nodes", name)
		}
	}
	if r.ExpectedGBps < 0 {
		report("expected_busbw_gbps is %v, want 0 (unknown) or more", r.ExpectedGBps)
	}
	if r.MaxRounds < 0 {
		report("max_rounds is %d, want 0 (default %d) or more", r.MaxRounds, DefaultMaxRounds(len(r.Nodes)))
	}
	return in, errors.Join(problems...)
}

// outcomes checks that a reply answers the round that was asked, group by group.
func (a answer) outcomes(round incident.Round) ([]incident.Outcome, error) {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if a.Round != round.Number {
		report("round is %d, want %d", a.Round, round.Number)
	}
	byID := map[string]groupOutcome{}
	for i, o := range a.Outcomes {
		known := slices.ContainsFunc(round.Groups, func(g incident.Group) bool { return g.ID == o.ID })
		_, twice := byID[o.ID]
		switch {
		case !known:
			report("outcomes[%d].id %q is no group of round %d", i, o.ID, round.Number)
		case twice:
			report("outcomes[%d].id %q is there twice", i, o.ID)
		}
		byID[o.ID] = o
	}
	var outcomes []incident.Outcome
	for _, g := range round.Groups {
		o, answered := byID[g.ID]
		if !answered {
			report("outcomes: group %q is missing; say \"error\" when it could not be run", g.ID)
			continue
		}
		problems = append(problems, o.check(g)...)
		outcomes = append(outcomes, incident.Outcome{
			ID: g.ID, Nodes: g.Nodes, Result: o.Result, BusBWGBps: o.BusBWGBps, FailedNodes: o.FailedNodes, Why: o.Why,
		})
	}
	return outcomes, errors.Join(problems...)
}

func (o groupOutcome) check(g incident.Group) []error {
	var problems []error
	switch o.Result {
	case incident.TestPass, incident.TestFail, incident.TestError:
	default:
		problems = append(problems, fmt.Errorf("outcome %q: result is %q, want pass, fail or error", o.ID, o.Result))
	}
	if o.BusBWGBps < 0 {
		problems = append(problems, fmt.Errorf("outcome %q: busbw_gbps is %v, want 0 (not measured) or more", o.ID, o.BusBWGBps))
	}
	for _, name := range o.FailedNodes {
		if !slices.Contains(g.Nodes, name) {
			problems = append(problems, fmt.Errorf("outcome %q: failed_nodes names %q, which is not in the group", o.ID, name))
		}
	}
	return problems
}

// lineReader reads one JSON object a line and knows where it is.
type lineReader struct {
	in   *bufio.Reader
	line int
}

func (r *lineReader) read(into any, what string) error {
	data, err := r.next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: the input ended, want %s", r.line, what)
	}
	if err != nil {
		return r.wrong(fmt.Errorf("reading %s: %w", what, err))
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return r.wrong(fmt.Errorf("reading %s: %w", what, plain(err)))
	}
	if decoder.More() {
		return r.wrong(fmt.Errorf("reading %s: something follows the object", what))
	}
	return nil
}

// next returns the next line that is not blank.
func (r *lineReader) next() ([]byte, error) {
	for {
		r.line++
		var line []byte
		for {
			part, err := r.in.ReadSlice('\n')
			line = append(line, part...)
			if len(line) > maxLine {
				return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
			}
			if err == nil || errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0 {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return nil, err
			}
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (r *lineReader) wrong(err error) error { return fmt.Errorf("line %d: %w", r.line, err) }

// plain words the decoder's errors for people.
func plain(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("%s is a %s, want %s", kind.Field, kind.Value, kind.Type)
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d: %w", syntax.Offset, syntax)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not JSON: the object does not end on its line")
	default:
		return err
	}
}
