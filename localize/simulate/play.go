package simulate

import (
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
	"gpumedic/localize"
)

// Search looks for what is bad: ask runs a round. The numbers in the verdict
// are not read, they are counted.
type Search func(in localize.Input, ask Ask) incident.Verdict

// Ask runs groups at the same time and answers in their order. Groups without
// an id get one.
type Ask func(groups []incident.Group) []incident.Outcome

// Mark is how one played case ended, and what it cost.
type Mark struct {
	Case
	// Exact: the verdict names what is bad and nothing else. FalseBlame: it names
	// a node that is not bad. Missed: it is sure and leaves out something bad.
	Exact, FalseBlame, Missed, Inconclusive bool
	// Confidence is the lowest of the verdict's parts, 0 when it has none.
	Confidence               float64
	Rounds, Tests, NodeTests int
	Verdict                  incident.Verdict
	// Bad is what is bad in truth.
	Bad []string
}

// Planned makes a search of localize.Next.
func Planned(in localize.Input, ask Ask) incident.Verdict {
	var rounds []incident.Round
	for {
		step := localize.Next(in, rounds)
		if step.Verdict != nil {
			return *step.Verdict
		}
		rounds = append(rounds, incident.Round{Number: len(rounds) + 1, Groups: step.Groups, Outcomes: ask(step.Groups)})
	}
}

// foul is how a search that breaks the rules is stopped.
type foul struct{ error }

// mostRounds ends a search that does not end by itself; all pairs of 1,024
// nodes take as many rounds.
const mostRounds = 1100

// Play plays a case to its verdict. An error means that the search broke the
// rules: a node twice in a round, an unknown or empty group, no end.
func Play(c Case, search Search) (m Mark, err error) {
	w, err := New(c)
	if err != nil {
		return Mark{}, err
	}
	rounds := 0
	defer func() {
		if found, broke := recover().(foul); broke {
			err = fmt.Errorf("%s on %d nodes, seed %d, round %d: %w", c.Model, c.Nodes, c.Seed, rounds, found.error)
		}
	}()
	tests, nodes := 0, 0
	verdict := search(w.input(), func(groups []incident.Group) []incident.Outcome {
		rounds++
		if err := w.fair(groups, rounds); err != nil {
			panic(foul{err}) // searches are straight lines; this is the way out of them
		}
		tests += len(groups)
		for i := range groups {
			nodes += len(groups[i].Nodes)
		}
		return w.Run(groups)
	})
	m = w.mark(verdict)
	m.Rounds, m.Tests, m.NodeTests = rounds, tests, nodes
	return m, nil
}

func (w *World) input() localize.Input {
	in := localize.Input{Nodes: w.Site}
	if w.Told {
		in.ExpectedGBps = healthyGBps
	}
	for node := range w.Site {
		bad := slices.Contains(w.Bad, "node "+w.Site[node].Name)
		if (w.Prior == "right" && bad) || (w.Prior == "wrong" && !bad) {
			in.Prior = map[string]float64{w.Site[node].Name: 0.5}
			break
		}
	}
	return in
}

func (w *World) fair(groups []incident.Group, round int) error {
	seen := map[string]bool{}
	for i, g := range groups {
		if len(g.Nodes) == 0 {
			return fmt.Errorf("group %d is empty", i)
		}
		for _, name := range g.Nodes {
			if _, known := w.at[name]; !known || seen[name] {
				return fmt.Errorf("group %d: node %q is unknown or in two groups", i, name)
			}
			seen[name] = true
		}
	}
	switch {
	case len(groups) == 0:
		return fmt.Errorf("neither groups nor a verdict")
	case round > mostRounds:
		return fmt.Errorf("no verdict after %d rounds", mostRounds)
	}
	return nil
}

// mark compares a verdict with the truth.
func (w *World) mark(v incident.Verdict) Mark {
	m := Mark{Case: w.Case, Inconclusive: v.Inconclusive, Verdict: v, Bad: w.Bad}
	var named []string
	for i, part := range v.Bad {
		named = append(named, part.Kind+" "+part.ID)
		if i == 0 || part.Confidence < m.Confidence {
			m.Confidence = part.Confidence
		}
	}
	slices.Sort(named)
	m.Exact = !v.Inconclusive && slices.Equal(named, w.Bad)
	for _, name := range named {
		m.FalseBlame = m.FalseBlame || strings.HasPrefix(name, "node ") && !slices.Contains(w.Bad, name)
	}
	for _, name := range w.Bad {
		m.Missed = m.Missed || !v.Inconclusive && !slices.Contains(named, name)
	}
	return m
}
