package commtest

import (
	"fmt"
	"slices"
	"time"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Want is what a valid test of a group shows.
type Want struct {
	Group incident.Group
	// Procs per rank, one per GPU.
	Procs int
	// Backend is "nccl", or "gloo" where no GPU was asked for.
	Backend string
	// Ops are the collectives that were asked for; Sizes must all have been
	// measured of each.
	Ops   []string
	Sizes []int64
	// ExpectedGBps of an all-reduce at the largest size, between nodes or, for a
	// group of one, inside the node; 0 = unknown. A group under
	// SlowBelow*ExpectedGBps is slow.
	ExpectedGBps, SlowBelow float64
	// Fabric is CommTestSettings.Fabric; NCCL must have used it.
	Fabric string
	// TimedOut: the ranks were cut off by the deadline.
	TimedOut bool
	// StartSpread is the time between the first and the last rank's start.
	// Ranks that started further apart than Meet could not have met.
	StartSpread, Meet time.Duration
}

func wantOf(p steps.RunCommTestParams) Want {
	backend := "nccl"
	if p.Settings.GPUsPerNode == 0 {
		backend = "gloo"
	}
	return Want{
		Group: p.Group, Procs: max(1, p.Settings.GPUsPerNode), Backend: backend, Ops: ops(), Sizes: Sizes(p.Settings.MaxBytes),
		ExpectedGBps: expectedOf(p), SlowBelow: p.Settings.SlowBelow,
		Fabric: p.Settings.Fabric, Meet: meetBound(p.Settings),
	}
}

// expectedOf is the expectation that fits the group.
func expectedOf(p steps.RunCommTestParams) float64 {
	if len(p.Group.Nodes) == 1 {
		return p.Settings.LocalBusBWGBps
	}
	return p.Settings.ExpectedBusBWGBps
}

func (w Want) ranks() int     { return len(w.Group.Nodes) }
func (w Want) network() bool  { return w.ranks() > 1 }
func (w Want) processes() int { return w.ranks() * w.Procs }
func (w Want) largest() int64 { return w.Sizes[len(w.Sizes)-1] }

// blank is the outcome that says nothing yet: it could not be run.
func blank(p steps.RunCommTestParams, tool string) incident.Outcome {
	return incident.Outcome{ID: p.Group.ID, Nodes: p.Group.Nodes, Result: incident.TestError, ExpectedGBps: expectedOf(p), Tool: tool}
}

// Parse judges the logs of all ranks. It never passes what it does not fully
// see, and never fails without positive evidence; the package comment has the rules.
func Parse(logs []RankLog, want Want) incident.Outcome {
	logs = slices.SortedFunc(slices.Values(logs), func(a, b RankLog) int { return a.Rank - b.Rank })
	outcome := incident.Outcome{
		ID: want.Group.ID, Nodes: want.Group.Nodes, Result: incident.TestError, ExpectedGBps: want.ExpectedGBps, Tool: ToolTorch,
	}
	measure(&outcome, logs, want)
	for _, rule := range []func([]RankLog, Want) string{disturbed, notStarted, notLaunched, otherWorld, apart} {
		if outcome.Why = rule(logs, want); outcome.Why != "" {
			return outcome
		}
	}
	if why := broken(logs, want); why != "" {
		outcome.Result, outcome.Why, outcome.FailedNodes = incident.TestFail, why, failedNodes(logs, want)
		return outcome
	}
	if outcome.Why = incomplete(logs, want); outcome.Why != "" {
		return outcome
	}
	return judgeSpeed(outcome, logs, want)
}

// measure fills what was seen, whatever it will be judged to mean.
func measure(outcome *incident.Outcome, logs []RankLog, want Want) {
	for _, log := range logs {
		outcome.Simulated = outcome.Simulated || log.Simulated
		for _, point := range log.points {
			outcome.Points = append(outcome.Points, incident.BusBWPoint{Op: point.op(), Bytes: point.Bytes, BusBWGBps: point.BusBW})
			if point.op() == allReduce && len(want.Sizes) > 0 && point.Bytes == want.largest() {
				outcome.BusBWGBps = point.BusBW
			}
		}
	}
	outcome.SlowNodes, _ = slowNodes(logs, want)
	if want.network() {
		outcome.Transport = transport(logs)
	}
}

// transport trusts the channels between nodes first; what NCCL said it would
// use stands in where the log shows no channels.
func transport(logs []RankLog) string {
	var channels, networks []string
	for _, log := range logs {
		for _, name := range log.channels {
			channels = addOnce(channels, name)
		}
		for _, name := range log.networks {
			networks = addOnce(networks, name)
		}
	}
	if len(channels) == 0 {
		channels = networks
	}
	switch len(channels) {
	case 0:
		return ""
	case 1:
		return channels[0]
	default:
		return "mixed"
	}
}

// disturbed: the cluster took a pod away, or ours had too little memory.
func disturbed(logs []RankLog, _ Want) string {
	for _, log := range logs {
		switch {
		case log.Exit == nil:
		case log.Exit.Disrupted != "":
			return fmt.Sprintf("the test was disturbed: rank %d on %s was taken away by the cluster: %s", log.Rank, log.Node, log.Exit.Disrupted)
		case log.Exit.Reason == "OOMKilled":
			return fmt.Sprintf("the test was disturbed: rank %d on %s ran out of the memory it was given", log.Rank, log.Node)
		}
	}
	return ""
}

// notStarted: a program that died before it said anything tells about its image.
func notStarted(logs []RankLog, want Want) string {
	if len(logs) == 0 {
		return "no rank left a log"
	}
	for _, log := range logs {
		silent := len(log.starts) == 0 && len(log.errors) == 0
		if silent && log.Unreadable == "" && log.Exit != nil && log.Exit.Code != 0 {
			return fmt.Sprintf("the test's program did not start on %s: exit code %d: %s", log.Node, log.Exit.Code, log.last)
		}
	}
	return ""
}

// notLaunched: the ranks met, and then the image's launcher or the pod's
// memory failed them.
func notLaunched(logs []RankLog, _ Want) string {
	for _, log := range logs {
		for _, e := range log.errors {
			if e.Phase == phaseLaunch || e.Phase == phaseMemory {
				return fmt.Sprintf("the test could not be run: rank %d on %s: %s", log.Rank, log.Node, clip(e.Detail, 300))
			}
		}
	}
	return ""
}

// otherWorld: the ranks did not form the world we asked for.
func otherWorld(logs []RankLog, want Want) string {
	for _, log := range logs {
		for _, start := range log.starts {
			switch {
			case start.World != want.ranks() && want.network() && start.World <= 1:
				return fmt.Sprintf("not a network test: rank %d on %s ran in a world of its own", log.Rank, log.Node)
			case start.World != want.ranks():
				return fmt.Sprintf("not the test that was asked for: rank %d on %s ran in a world of %d ranks, want %d", log.Rank, log.Node, start.World, want.ranks())
			case start.Procs != 0 && start.Procs != want.Procs:
				return fmt.Sprintf("not the test that was asked for: rank %d on %s ran %d processes, want %d", log.Rank, log.Node, start.Procs, want.Procs)
			case start.Backend != want.Backend:
				return fmt.Sprintf("not the test that was asked for: rank %d on %s used backend %q, want %q; are the GPUs visible in the pod?", log.Rank, log.Node, start.Backend, want.Backend)
			}
		}
	}
	return ""
}

// apart: ranks that started too far apart missed each other without any fault
// of the network.
func apart(logs []RankLog, want Want) string {
	if want.Meet <= 0 || want.StartSpread < want.Meet*4/5 {
		return ""
	}
	for _, log := range logs {
		for _, e := range log.errors {
			if e.Phase == phaseMeet {
				return fmt.Sprintf("the ranks started %s apart and wait only %s for each other; try again now that the image is on every node",
					want.StartSpread.Round(time.Second), want.Meet)
			}
		}
	}
	return ""
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d B", n)
	}
}
