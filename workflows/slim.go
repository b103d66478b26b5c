package workflows

import (
	"cmp"
	"fmt"
	"slices"

	"gpumedic/incident"
)

// What a communication test writes into histories is kept small here: each
// round repeats the rounds before it to the planner, and the last one goes
// through three histories.

const (
	// manyNodes is the size from which on outcomes do not repeat the nodes of
	// their groups.
	manyNodes = 512
	// keptCurves is how many sweeps remain for the report's plot, the largest
	// groups of a test; keptEvidence how many log names an outcome keeps: its
	// index names them all.
	keptCurves   = 3
	keptEvidence = 3
	// maxWhy bounds a sentence that the planner only repeats, in characters.
	maxWhy = 200
)

// plannedNodes are nodes with what the planner reads: names and places.
func plannedNodes(nodes []incident.Node) []incident.Node {
	out := make([]incident.Node, len(nodes))
	for i, n := range nodes {
		out[i] = incident.Node{Name: n.Name, Leaf: n.Leaf, Rack: n.Rack, Zone: n.Zone, NVLinkDomain: n.NVLinkDomain}
	}
	return out
}

// plannedRounds are rounds with what the planner reads.
func plannedRounds(rounds []incident.Round) []incident.Round {
	out := make([]incident.Round, len(rounds))
	for i, round := range rounds {
		out[i] = incident.Round{Number: round.Number, Groups: round.Groups, Outcomes: told(round.Outcomes)}
	}
	return out
}

// told are outcomes without the nodes, which their groups have, and without
// what only a report shows. Why remains where a test could not be run.
func told(outcomes []incident.Outcome) []incident.Outcome {
	out := make([]incident.Outcome, len(outcomes))
	for i, o := range outcomes {
		out[i] = incident.Outcome{
			ID: o.ID, Result: o.Result, BusBWGBps: o.BusBWGBps, ExpectedGBps: o.ExpectedGBps, Transport: o.Transport,
			FailedNodes: o.FailedNodes, SlowNodes: o.SlowNodes, Simulated: o.Simulated,
		}
		if why := []rune(o.Why); o.Result == incident.TestError {
			out[i].Why = string(why[:min(maxWhy, len(why))])
		}
	}
	return out
}

// kept is a test's rounds as the record has them.
func kept(rounds []incident.Round) []incident.Round {
	largest := largestSweeps(rounds)
	tested := map[string]bool{}
	for _, round := range rounds {
		for _, group := range round.Groups {
			for _, node := range group.Nodes {
				tested[node] = true
			}
		}
	}
	for _, round := range rounds {
		for i := range round.Outcomes {
			o := &round.Outcomes[i]
			o.Evidence = o.Evidence[:min(keptEvidence, len(o.Evidence))]
			if !largest[sweepKey(round, *o)] {
				o.Points = nil
			}
			if len(tested) > manyNodes {
				o.Nodes = nil
			}
		}
	}
	return rounds
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
