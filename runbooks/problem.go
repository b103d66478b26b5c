package runbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// Problem is one thing that is wrong in a file. Line counts from 1; 0 means the
// file as a whole.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems is an error of kind invalid that lists everything wrong, a line each,
// in the order of files and lines.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes incident.KindOf see that the input is at fault.
func (p Problems) Unwrap() error {
	return &incident.Fault{Kind: incident.Invalid, Doing: "reading runbooks"}
}

// orNil sorts the problems; none is no error.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return p
}
