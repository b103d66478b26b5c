package commtest

import (
	"fmt"
	"slices"
)

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
	if want.processes() == 1 {
		return "" // one process has nobody to exchange data with
	}
	for _, op := range want.Ops {
		if why := incompleteOp(op, points, want); why != "" {
			return why
		}
	}
	return ""
}

func incompleteOp(op string, points []event, want Want) string {
	var measured []int64
	for _, point := range points {
		if point.op() != op {
			continue
		}
		if measured = append(measured, point.Bytes); point.BusBW <= 0 && want.network() {
			return fmt.Sprintf("not a network test: bus bandwidth 0 of %s at %s", op, bytesText(point.Bytes))
		}
	}
	if !slices.Equal(measured, want.Sizes) {
		return fmt.Sprintf("the test is not complete: %d of %d message sizes of %s were measured", len(measured), len(want.Sizes), op)
	}
	return ""
}
