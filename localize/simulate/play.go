package simulate

import (
	"fmt"
	"slices"

	"gpumedic/incident"
	"gpumedic/localize"
)

// Planner says what to test next, as localize.Next does.
type Planner func(in localize.Input, rounds []incident.Round) localize.Step

// Mark is how one played case ended, and what it cost.
type Mark struct {
	Case
	// Exact: the verdict names what is bad and nothing else. FalseBlame: it names
	// a node that is not bad. Missed: it is sure and leaves out something bad.
	Exact, FalseBlame, Missed, Inconclusive bool
	Confidence                              float64
	Rounds, Tests, NodeTests                int
	Verdict                                 incident.Verdict
}

// mostRounds ends a planner that does not stop.
const mostRounds = 300

// Play plays a case to its verdict. An error means that the planner broke the
// rules: a node twice in a round, an unknown or empty group, no end.
func Play(c Case, plan Planner) (Mark, error) {
	w, err := New(c)
	if err != nil {
		return Mark{}, err
	}
	in := w.input()
	var rounds []incident.Round
	for len(rounds) <= mostRounds {
		step := plan(in, rounds)
		if step.Verdict != nil {
			return w.mark(*step.Verdict), nil
		}
		if err := w.fair(step.Groups); err != nil {
			return Mark{}, fmt.Errorf("%s on %d nodes, seed %d, round %d: %w", c.Model, c.Nodes, c.Seed, len(rounds)+1, err)
		}
		rounds = append(rounds, w.Run(len(rounds)+1, step.Groups))
	}
	return Mark{}, fmt.Errorf("%s on %d nodes, seed %d: no verdict after %d rounds", c.Model, c.Nodes, c.Seed, mostRounds)
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

func (w *World) fair(groups []incident.Group) error {
	seen := map[string]bool{}
	for _, g := range groups {
		if len(g.Nodes) == 0 {
			return fmt.Errorf("group %s is empty", g.ID)
		}
		for _, name := range g.Nodes {
			if _, known := w.at[name]; !known || seen[name] {
				return fmt.Errorf("group %s: node %q is unknown or in two groups", g.ID, name)
			}
			seen[name] = true
		}
	}
	if len(groups) == 0 {
		return fmt.Errorf("neither groups nor a verdict")
	}
	return nil
}

// mark compares a verdict with the truth.
func (w *World) mark(v incident.Verdict) Mark {
	m := Mark{Case: w.Case, Inconclusive: v.Inconclusive, Rounds: v.Rounds, Tests: v.Tests, NodeTests: v.NodeTests, Verdict: v, Confidence: 1}
	var named []string
	for _, part := range v.Bad {
		named = append(named, part.Kind+" "+part.ID)
		m.Confidence = min(m.Confidence, part.Confidence)
	}
	slices.Sort(named)
	m.Exact = !v.Inconclusive && slices.Equal(named, w.Bad)
	for _, name := range named {
		healthy := part(name) == "node" && !slices.Contains(w.Bad, name)
		m.FalseBlame = m.FalseBlame || healthy
	}
	for _, name := range w.Bad {
		m.Missed = m.Missed || !v.Inconclusive && !slices.Contains(named, name)
	}
	return m
}

func part(name string) string {
	for i := range name {
		if name[i] == ' ' {
			return name[:i]
		}
	}
	return name
}
