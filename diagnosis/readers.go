package diagnosis

import (
	"maps"
	"slices"
)

// Reading is what a reader makes of the numbers of a line: it stands in place of
// what the signature says of every line of its kind.
type Reading struct {
	Meaning     string
	FailureCase string
	Causes      []string
	Weight      float64
	Role        string
}

// reader weighs the numbers of a match, whose text is given whole. It returns
// false when the line says nothing after all.
type reader func(m *Match, text string) bool

// readers are chosen by the signatures that name them.
var readers = map[string]reader{}

// Readers returns the names of the readers that a signature may name.
func Readers() []string { return slices.Sorted(maps.Keys(readers)) }
