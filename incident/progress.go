package incident

import (
	"fmt"
	"strings"
)

// shownSuspects is how many suspects one line names.
const shownSuspects = 4

// Progress tells in one line how far a running test is: "Round 3: 6 groups
// over 64 nodes; still suspected: gpu-17 (62 %), gpu-18 (31 %); 57 nodes
// cleared". It is "" before the first round.
func (t CommTest) Progress() string {
	if len(t.History) == 0 {
		return ""
	}
	round := t.History[len(t.History)-1]
	nodes := 0
	for _, group := range round.Groups {
		nodes += len(group.Nodes)
	}
	parts := []string{fmt.Sprintf("Round %d: %s over %s", round.Number, counted(len(round.Groups), "group"), counted(nodes, "node"))}
	if len(t.Suspects) > 0 {
		parts = append(parts, "still suspected: "+suspectWords(t.Suspects))
	}
	if t.Cleared > 0 {
		parts = append(parts, counted(t.Cleared, "node")+" cleared")
	}
	return strings.Join(parts, "; ")
}

func suspectWords(suspects []Suspect) string {
	var words []string
	for _, suspect := range suspects[:min(shownSuspects, len(suspects))] {
		words = append(words, fmt.Sprintf("%s (%.0f %%)", suspect.name(), 100*suspect.Probability))
	}
	text := strings.Join(words, ", ")
	if more := len(suspects) - shownSuspects; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// name of a suspect for people; a node is told by its name alone.
func (s Suspect) name() string {
	switch s.Kind {
	case "node":
		return s.ID
	case "infrastructure":
		return "everything that crosses nodes"
	}
	return s.Kind + " " + s.ID
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
