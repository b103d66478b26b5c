package commtest

import (
	"maps"
	"slices"

	"gpumedic/incident"
)

// Phases of error events. The first two say that the image or the pod's
// memory is at fault, not a node: such a test could not be run.
const (
	phaseLaunch  = "launch"     // the launcher ended before any process began
	phaseMemory  = "memory"     // the pod's memory limit ended a process
	phaseMeet    = "rendezvous" // the check-in at rank 0
	phaseInit    = "init"       // every rank connects to every other, NCCL starts
	phaseCollect = "collective" // the sweep
	phaseCheck   = "check"      // contents were wrong
	phaseDied    = "died"       // a process was ended by a signal
)

// failedNodes names the nodes of the ranks that did not arrive or reported an
// error themselves, in the group's order; nil when nobody can be named.
//
// A missing rank also complains, about everybody it could not reach. So a rank
// that misses more than half of the others counts as missing itself and its
// word about the others is not heard, unless all ranks are in that state: then
// all are named.
func failedNodes(logs []RankLog, want Want) []string {
	ranks := want.ranks()
	failed := make([]bool, ranks)
	mark := func(rank int) {
		if rank >= 0 && rank < ranks {
			failed[rank] = true
		}
	}
	if roll, met := roll(logs); met {
		markRoll(mark, roll, ranks)
	} else {
		markReports(mark, logs, ranks)
	}
	return names(logs, failed, want.Group)
}

// roll is what rank 0, where all check in, says about who did not come.
func roll(logs []RankLog) ([]int, bool) {
	for _, log := range logs {
		for _, e := range log.errors {
			if log.Rank == 0 && e.Phase == phaseMeet && len(e.Missing) > 0 {
				return e.Missing, true
			}
		}
	}
	return nil, false
}

// markRoll: when nobody came, the meeting place is as suspect as all others.
func markRoll(mark func(int), roll []int, ranks int) {
	for _, rank := range roll {
		mark(rank)
	}
	if len(roll) >= ranks-1 {
		mark(0)
	}
}

// markReports: what a rank saw itself counts, an echo does not, and a time-out
// only where nothing else is known.
func markReports(mark func(int), logs []RankLog, ranks int) {
	alone, known := map[int]bool{}, false
	blame := func(rank int) { mark(rank); known = true }
	for _, log := range logs {
		for _, e := range log.errors {
			if len(e.Missing)*2 > ranks-1 && ranks > 2 {
				alone[log.Rank] = true
				blame(log.Rank)
			}
		}
	}
	for _, log := range logs {
		for _, e := range log.errors {
			switch {
			case e.Echo || e.TimedOut || alone[log.Rank]:
			case len(e.Missing) == 0:
				blame(log.Rank)
			default:
				for _, rank := range e.Missing {
					blame(rank)
				}
			}
		}
		if log.Exit != nil && log.Exit.Code != 0 && len(log.errors) == 0 {
			blame(log.Rank)
		}
	}
	if !known {
		markAwaited(mark, logs)
	}
}

// markAwaited: all that is known is that ranks waited in vain. They waited for
// those that say nothing; else for those that had begun fewest collectives;
// when all stand at the same one, all are named. A rank that heard another
// give up is one of those that waited: it only has more patience.
func markAwaited(mark func(int), logs []RankLog) {
	var silent []int
	entered, waited := map[int]int{}, false
	for _, log := range logs {
		if len(log.errors) == 0 && (log.Exit == nil || log.Unreadable != "") {
			silent = append(silent, log.Rank)
		}
		for _, e := range log.errors {
			waited = waited || e.TimedOut
			if e.Entered == nil {
				continue
			}
			if at, seen := entered[log.Rank]; !seen || *e.Entered < at {
				entered[log.Rank] = *e.Entered
			}
		}
	}
	switch {
	case !waited:
	case len(silent) > 0:
		for _, rank := range silent {
			mark(rank)
		}
	case len(entered) > 0:
		fewest := slices.Min(slices.Collect(maps.Values(entered)))
		for rank, at := range entered {
			if at == fewest {
				mark(rank)
			}
		}
	}
}

// names turns ranks into nodes, in the group's order. A group of one needs no
// rank: what failed there failed on its node.
func names(logs []RankLog, failed []bool, group incident.Group) []string {
	if len(group.Nodes) == 1 {
		return group.Nodes
	}
	bad := map[string]bool{}
	for _, log := range logs {
		if log.Rank >= 0 && log.Rank < len(failed) && failed[log.Rank] {
			bad[log.Node] = true
		}
	}
	var list []string
	for _, node := range group.Nodes {
		if bad[node] {
			list = append(list, node)
		}
	}
	return list
}
