package commtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
	// Sizes must all have been measured.
	Sizes []int64
	// ExpectedGBps at the largest size, 0 = unknown; a group under
	// SlowBelow*ExpectedGBps is slow. Neither applies to a group of one node.
	ExpectedGBps, SlowBelow float64
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
		Group: p.Group, Procs: max(1, p.Settings.GPUsPerNode), Backend: backend, Sizes: Sizes(p.Settings.MaxBytes),
		ExpectedGBps: p.Settings.ExpectedBusBWGBps, SlowBelow: p.Settings.SlowBelow,
		Meet: meetBound(p.Settings),
	}
}

func (w Want) ranks() int    { return len(w.Group.Nodes) }
func (w Want) network() bool { return w.ranks() > 1 }

// blank is the outcome that says nothing yet: it could not be run.
func blank(group incident.Group, s incident.CommTestSettings) incident.Outcome {
	return incident.Outcome{ID: group.ID, Nodes: group.Nodes, Result: incident.TestError, ExpectedGBps: s.ExpectedBusBWGBps}
}

// Parse judges the logs of all ranks. It never passes what it does not fully
// see, and never fails without positive evidence; the package comment has the rules.
func Parse(logs []RankLog, want Want) incident.Outcome {
	logs = slices.SortedFunc(slices.Values(logs), func(a, b RankLog) int { return a.Rank - b.Rank })
	outcome := blank(want.Group, incident.CommTestSettings{ExpectedBusBWGBps: want.ExpectedGBps})
	measure(&outcome, logs, want)
	for _, rule := range []func([]RankLog, Want) string{disturbed, notStarted, otherWorld, apart} {
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
			outcome.Points = append(outcome.Points, incident.BusBWPoint{Bytes: point.Bytes, BusBWGBps: point.BusBW})
		}
	}
	if n := len(outcome.Points); n > 0 && len(want.Sizes) > 0 && outcome.Points[n-1].Bytes == want.Sizes[len(want.Sizes)-1] {
		outcome.BusBWGBps = outcome.Points[n-1].BusBWGBps
	}
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

// broken is the strongest positive evidence of a fault, "" when there is none.
func broken(logs []RankLog, want Want) string {
	if e, node, found := firstError(logs); found {
		return describe(e, node, want)
	}
	for _, log := range logs {
		for _, point := range log.points {
			if point.Wrong > 0 {
				return fmt.Sprintf("%d wrong elements in the sum of %s: data was corrupted on its way", point.Wrong, bytesText(point.Bytes))
			}
		}
		for _, end := range log.ends {
			if !end.OK {
				return fmt.Sprintf("rank %d on %s reported a bad end", log.Rank, log.Node)
			}
		}
	}
	for _, log := range logs {
		if log.Exit != nil && log.Exit.Code != 0 {
			return fmt.Sprintf("rank %d on %s died after its start: exit code %d: %s", log.Rank, log.Node, log.Exit.Code, log.last)
		}
	}
	return ""
}

// firstError prefers what a rank saw itself over what it was told, and an
// error that names missing ranks over one that does not.
func firstError(logs []RankLog) (event, string, bool) {
	best, node, weight := event{}, "", 0
	for _, log := range logs {
		for _, e := range log.errors {
			w := 1
			if !e.Echo {
				w += 2
			}
			if len(e.Missing) > 0 {
				w++
			}
			if w > weight {
				best, node, weight = e, log.Node, w
			}
		}
	}
	return best, node, weight > 0
}

func describe(e event, node string, want Want) string {
	text := fmt.Sprintf("rank %d on %s: error in phase %s", e.Rank, node, e.Phase)
	if len(e.Missing) > 0 {
		text += ": did not reach " + rankList(e.Missing, want.ranks())
	}
	if e.Detail != "" {
		text += ": " + clip(e.Detail, 300)
	}
	return text
}

func rankList(ranks []int, all int) string {
	if len(ranks) == all-1 && all > 2 {
		return "any other rank"
	}
	words := make([]string, 0, len(ranks))
	for i, rank := range ranks {
		if i == 8 {
			words = append(words, fmt.Sprintf("and %d more", len(ranks)-i))
			break
		}
		words = append(words, fmt.Sprint(rank))
	}
	if len(words) == 1 {
		return "rank " + words[0]
	}
	return "ranks " + strings.Join(words, ", ")
}

// incomplete says what is missing for a pass, "" when nothing is.
func incomplete(logs []RankLog, want Want) string {
	present := make([]bool, want.ranks())
	for _, log := range logs {
		if why := incompleteLog(log); why != "" {
			if want.TimedOut && log.Exit == nil {
				why += "; the test was still running at its deadline"
			}
			return fmt.Sprintf("the test is not complete: rank %d on %s: %s", log.Rank, log.Node, why)
		}
		if log.Rank >= 0 && log.Rank < len(present) {
			present[log.Rank] = true
		}
	}
	if missing := slices.Index(present, false); missing >= 0 {
		return fmt.Sprintf("the test is not complete: no log of rank %d", missing)
	}
	return incompleteSweep(logs, want)
}

func incompleteLog(log RankLog) string {
	switch {
	case log.Unreadable != "":
		return "its log could not be read: " + log.Unreadable
	case log.malformed != "":
		return fmt.Sprintf("its log has a broken line %q", log.malformed)
	case len(log.starts) != 1:
		return fmt.Sprintf("it reported %d starts, want 1", len(log.starts))
	case log.starts[0].Rank != log.Rank:
		return fmt.Sprintf("it calls itself rank %d", log.starts[0].Rank)
	case log.Exit == nil:
		return "it had not ended"
	default:
		return ""
	}
}

func incompleteSweep(logs []RankLog, want Want) string {
	var points, ends []event
	for _, log := range logs {
		points, ends = append(points, log.points...), append(ends, log.ends...)
	}
	if len(ends) != 1 || ends[0].World != want.ranks() {
		return fmt.Sprintf("the test is not complete: %d end lines for a world of %d, want 1", len(ends), want.ranks())
	}
	measured := make([]int64, len(points))
	for i, point := range points {
		measured[i] = point.Bytes
	}
	if !slices.Equal(measured, want.Sizes) {
		return fmt.Sprintf("the test is not complete: %d of %d message sizes were measured", len(measured), len(want.Sizes))
	}
	for _, point := range points {
		if point.BusBW <= 0 && want.network() {
			return fmt.Sprintf("not a network test: bus bandwidth 0 at %s", bytesText(point.Bytes))
		}
	}
	return ""
}

// judgeSpeed is the last judge: all is there and right, was it fast enough?
func judgeSpeed(outcome incident.Outcome, logs []RankLog, want Want) incident.Outcome {
	if !want.network() {
		outcome.Result = incident.TestPass
		outcome.Why = fmt.Sprintf("the GPUs of %s work together; a test of one node says nothing about the network", want.Group.Nodes[0])
		return outcome
	}
	floor := want.SlowBelow * want.ExpectedGBps
	speed := fmt.Sprintf("%.1f GB/s at %s%s", outcome.BusBWGBps, bytesText(want.Sizes[len(want.Sizes)-1]), over(outcome.Transport))
	if floor > 0 && outcome.BusBWGBps < floor {
		outcome.Result = incident.TestFail
		outcome.Why = fmt.Sprintf("slow: %s, expected about %.0f GB/s%s", speed, want.ExpectedGBps, slowest(logs))
		return outcome
	}
	outcome.Result, outcome.Why = incident.TestPass, fmt.Sprintf("%d nodes reached %s", want.ranks(), speed)
	return outcome
}

func over(transport string) string {
	if transport == "" {
		return ""
	}
	return " over " + transport
}

// slowest names the rank whose own work took more than twice the median.
func slowest(logs []RankLog) string {
	type work struct {
		seconds float64
		node    string
	}
	var times []work
	for _, log := range logs {
		for _, e := range log.times {
			times = append(times, work{e.Seconds, log.Node})
		}
	}
	if len(times) < 3 {
		return ""
	}
	slices.SortStableFunc(times, func(a, b work) int { return cmp.Compare(a.seconds, b.seconds) })
	worst, median := times[len(times)-1], times[len(times)/2]
	if worst.seconds <= 2*median.seconds {
		return ""
	}
	return fmt.Sprintf("; node %s took %.2f s for its own work where the median is %.2f s", worst.node, worst.seconds, median.seconds)
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
