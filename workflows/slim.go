package workflows

import (
	"cmp"
	"fmt"
	"slices"

	"gpumedic/incident"
)

// What a communication test writes into histories is kept small: its result
// goes through three of them. What the planner is asked has a packed form of its
// own, see steps.

const (
	// keptCurves is how many sweeps remain for the report's plot, the largest
	// groups of a test; keptEvidence how many log names an outcome keeps.
	keptCurves   = 3
	keptEvidence = 1
	// manyNodes is how many nodes of a round outcomes repeat.
	manyNodes = 512
)

// told are a round's outcomes in brief.
func told(outcomes []incident.Outcome) []GroupDone {
	out := make([]GroupDone, len(outcomes))
	for i, o := range outcomes {
		out[i] = GroupDone{Result: o.Result, BusBWGBps: o.BusBWGBps, ExpectedGBps: o.ExpectedGBps}
	}
	return out
}

// kept is a test's rounds as the record has them: the nodes of an outcome are
// those of its group, one log of a test that did not pass leads to the others,
// what a test proves is said once, and only the curves that a report draws remain.
func kept(rounds []incident.Round) []incident.Round {
	largest := largestSweeps(rounds)
	proved := ""
	for _, round := range rounds {
		for i := range round.Outcomes {
			o := &round.Outcomes[i]
			o.Evidence, o.Nodes = o.Evidence[:min(keptEvidence, len(o.Evidence))], nil
			if o.Result == incident.TestPass {
				o.Evidence = nil
			}
			if !largest[sweepKey(round, *o)] {
				o.Points = nil
			}
			if o.Proved == proved {
				o.Proved = ""
			} else {
				proved = o.Proved
			}
		}
	}
	return rounds
}

// named gives the outcomes of a test their nodes back, for a record that says
// by itself what was tested. Of more than manyNodes they stay with the groups.
func named(test *incident.CommTest) *incident.CommTest {
	for _, round := range test.History {
		nodes := map[string][]string{}
		all := 0
		for _, group := range round.Groups {
			nodes[group.ID] = group.Nodes
			all += len(group.Nodes)
		}
		for i := range round.Outcomes {
			if o := &round.Outcomes[i]; len(o.Nodes) == 0 && all <= manyNodes {
				o.Nodes = nodes[o.ID]
			}
		}
	}
	return test
}

// largestSweeps are the outcomes whose curves are worth keeping, by sweepKey.
func largestSweeps(rounds []incident.Round) map[string]bool {
	type sweep struct {
		key   string
		nodes int
	}
	var measured []sweep
	for _, round := range rounds {
		for _, o := range round.Outcomes {
			if len(o.Points) > 1 {
				measured = append(measured, sweep{sweepKey(round, o), len(o.Nodes)})
			}
		}
	}
	slices.SortStableFunc(measured, func(a, b sweep) int { return cmp.Compare(b.nodes, a.nodes) })
	out := map[string]bool{}
	for _, s := range measured[:min(keptCurves, len(measured))] {
		out[s.key] = true
	}
	return out
}

func sweepKey(round incident.Round, o incident.Outcome) string {
	return fmt.Sprintf("%d/%s", round.Number, o.ID)
}
