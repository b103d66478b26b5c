package commtest

import (
	"fmt"
	"slices"
)

// ncclOtherWorld: the ranks did not form the world we asked for. Device lines
// come before any fault, so a log that has some must have all.
func ncclOtherWorld(log ncclLog, want ncclWant) string {
	for _, part := range log.parts {
		if len(part.devices) == 0 {
			continue
		}
		hosts := map[string]bool{}
		for _, host := range part.devices {
			hosts[host] = true
		}
		switch {
		case len(hosts) != want.ranks() && want.network() && len(hosts) == 1:
			return fmt.Sprintf("not a network test: %s_perf ran on one host only", part.op)
		case len(hosts) != want.ranks():
			return fmt.Sprintf("not the test that was asked for: %s_perf ran on %d hosts, want %d", part.op, len(hosts), want.ranks())
		case len(part.devices) != want.processes():
			return fmt.Sprintf("not the test that was asked for: %s_perf ran %d ranks, want %d", part.op, len(part.devices), want.processes())
		}
	}
	for _, world := range log.worlds {
		if world.ranks != want.processes() || world.nodes != want.ranks() {
			return fmt.Sprintf("not the test that was asked for: NCCL saw %d ranks on %d nodes, want %d on %d", world.ranks, world.nodes, want.processes(), want.ranks())
		}
	}
	return ""
}

// ncclIncomplete says what is missing for a pass, "" when nothing is.
func ncclIncomplete(log ncclLog, want ncclWant) string {
	const head = "the test is not complete: "
	for _, op := range want.Ops {
		at := slices.IndexFunc(log.parts, func(part *ncclPart) bool { return part.op == op })
		if at < 0 {
			return head + op + "_perf did not run" + stillRunning(log, want)
		}
		if why := log.parts[at].incomplete(want); why != "" {
			return head + why + stillRunning(log, want)
		}
	}
	switch {
	case !log.done || log.Exit == nil:
		return head + "the launcher had not ended" + stillRunning(log, want)
	case log.Exit.Code != 0:
		return fmt.Sprintf("%sthe launcher ended with exit code %d: %s", head, log.Exit.Code, log.last)
	case want.network() && len(log.networks)+len(log.channels) == 0:
		return "not a network test: NCCL told no transport; comm_test.env must leave NCCL_DEBUG at INFO"
	}
	return ""
}

func stillRunning(log ncclLog, want ncclWant) string {
	if want.TimedOut && log.Exit == nil {
		return "; the test was still running at its deadline"
	}
	return ""
}

func (p *ncclPart) incomplete(want ncclWant) string {
	var measured []int64
	for _, row := range p.rows {
		measured = append(measured, want.sizeOf(row.bytes))
	}
	switch {
	case p.broken != "":
		return fmt.Sprintf("%s_perf printed a broken row: %s", p.op, p.broken)
	case len(p.devices) == 0:
		return p.op + "_perf named no devices"
	case !slices.Equal(measured, want.Sizes):
		return fmt.Sprintf("%d of %d message sizes of %s were measured", len(measured), len(want.Sizes), p.op)
	case p.outOfBounds < 0:
		return p.op + "_perf did not tell its values out of bounds"
	case p.code == nil:
		return p.op + "_perf had not ended"
	}
	for _, row := range p.rows {
		if !row.checked {
			return fmt.Sprintf("contents of %s at %s were not checked", p.op, bytesText(row.bytes))
		}
		if row.outOfPlace <= 0 && want.processes() > 1 {
			return fmt.Sprintf("bus bandwidth 0 of %s at %s", p.op, bytesText(row.bytes))
		}
	}
	return ""
}
