package commtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// ncclWant is what a valid log of nccl-tests shows.
type ncclWant struct {
	Want
	// nodeOf names the node of a host as the workers call it.
	nodeOf map[string]string
}

func ncclWantOf(p steps.RunCommTestParams, seen sight) ncclWant {
	want := ncclWant{Want: wantOf(p), nodeOf: map[string]string{}}
	want.TimedOut = seen.timedOut
	for _, pod := range seen.ranks {
		if pod != nil && pod.Spec.NodeName != "" {
			want.nodeOf[pod.Name] = pod.Spec.NodeName
			want.nodeOf[shortHost(pod.Spec.NodeName)] = pod.Spec.NodeName // host network
		}
	}
	return want
}

// judgeNCCL judges a launcher's log by the same law as Parse: it never passes
// what it does not fully see, and never fails without positive evidence.
func judgeNCCL(log ncclLog, want ncclWant) incident.Outcome {
	outcome := incident.Outcome{
		ID: want.Group.ID, Nodes: want.Group.Nodes, Result: incident.TestError, ExpectedGBps: want.ExpectedGBps,
		Tool: ToolNCCL, Simulated: log.Simulated,
	}
	measureNCCL(&outcome, log, want)
	for _, rule := range []func(ncclLog, ncclWant) string{ncclNotRun, ncclOtherWorld} {
		if outcome.Why = rule(log, want); outcome.Why != "" {
			return outcome
		}
	}
	if why, hosts := ncclBroken(log); why != "" {
		outcome.Result, outcome.Why, outcome.FailedNodes = incident.TestFail, why, want.nodes(hosts)
		return outcome
	}
	if outcome.Why = ncclIncomplete(log, want); outcome.Why != "" {
		return outcome
	}
	return judgeSpeed(outcome, nil, want.Want)
}

// nodes turns hosts into nodes, in the group's order. A group of one needs no host.
func (w ncclWant) nodes(hosts []string) []string {
	if len(w.Group.Nodes) == 1 {
		return w.Group.Nodes
	}
	var list []string
	for _, node := range w.Group.Nodes {
		if slices.ContainsFunc(hosts, func(host string) bool { return w.nodeOf[host] == node }) {
			list = append(list, node)
		}
	}
	return list
}

func measureNCCL(outcome *incident.Outcome, log ncclLog, want ncclWant) {
	for _, part := range log.parts {
		for _, row := range part.rows {
			size := want.sizeOf(row.bytes)
			outcome.Points = append(outcome.Points, incident.BusBWPoint{Op: part.op, Bytes: size, BusBWGBps: row.outOfPlace})
			if part.op == allReduce && size == want.largest() {
				outcome.BusBWGBps = row.outOfPlace
			}
		}
	}
	if want.network() {
		outcome.Transport = transport([]RankLog{{networks: log.networks, channels: log.channels}})
	}
}

// sizeOf is the size that was asked for: the programs round down, so that
// every rank's share is a whole number of 16 bytes.
func (w ncclWant) sizeOf(bytes int64) int64 {
	for _, size := range w.Sizes {
		if bytes <= size && size-bytes < 64*int64(w.processes()) {
			return size
		}
	}
	return bytes
}

// ncclNotRun: what happened is no statement about nodes.
func ncclNotRun(log ncclLog, _ ncclWant) string {
	switch {
	case log.Unreadable != "":
		return "the test is not complete: the launcher's log could not be read: " + log.Unreadable
	case log.Exit != nil && log.Exit.Disrupted != "":
		return "the test was disturbed: its launcher was taken away by the cluster: " + log.Exit.Disrupted
	case log.Exit != nil && log.Exit.Reason == "OOMKilled":
		return "the test was disturbed: its launcher ran out of memory"
	case log.usage != "":
		return "the test could not be run: the image's nccl-tests does not know a flag: " + log.usage
	case len(log.unreached) > 0:
		return ""
	}
	for _, part := range log.parts {
		if part.code != nil && *part.code != 0 && len(part.devices) == 0 && len(part.faults) == 0 && !part.timedOut {
			return fmt.Sprintf("the test could not be run: %s_perf did not start: exit code %d: %s", part.op, *part.code, log.last)
		}
		for _, f := range part.faults {
			if f.kind == "CUDA failure" && unavailable(f.text) {
				return fmt.Sprintf("the test could not be run on %s: %s %s", f.host, f.kind, f.text)
			}
		}
	}
	if len(log.parts) == 0 && log.Exit != nil {
		return fmt.Sprintf("the test's program did not start: exit code %d: %s", log.Exit.Code, log.last)
	}
	return ""
}

// unavailable: the GPU was not ours to test.
func unavailable(text string) bool {
	return strings.Contains(text, "out of memory") || strings.Contains(text, "no CUDA-capable device") || strings.Contains(text, "all CUDA-capable devices are busy")
}

// ncclBroken is the strongest positive evidence of a fault and the hosts that
// it speaks of, "" when there is none.
func ncclBroken(log ncclLog) (why string, hosts []string) {
	if len(log.unreached) > 0 {
		return "mpirun could not reach " + strings.Join(log.unreached, ", ") + ": " + log.last, log.unreached
	}
	for _, part := range log.parts {
		for _, row := range part.rows {
			if row.wrong > 0 {
				return fmt.Sprintf("%d wrong elements after %s of %s: data was corrupted on its way", row.wrong, part.op, bytesText(row.bytes)), nil
			}
		}
		if part.failed {
			return fmt.Sprintf("%d values out of bounds in %s: data was corrupted on its way", part.outOfBounds, part.op), nil
		}
		if f, own := firstFault(part.faults); f.kind != "" {
			return fmt.Sprintf("%s: %s in %s_perf %s", f.host, f.kind, part.op, f.text), own
		}
		if part.timedOut && len(part.devices) > 0 {
			return fmt.Sprintf("%s_perf did not end in its time; %d message sizes were measured", part.op, len(part.rows)), nil
		}
		if part.code != nil && *part.code != 0 && len(part.devices) > 0 {
			return fmt.Sprintf("%s_perf died after its start: exit code %d: %s", part.op, *part.code, log.last), nil
		}
	}
	return "", nil
}

// firstFault prefers what a host saw itself over what it heard of a peer, and
// lists the hosts that saw something themselves.
func firstFault(faults []ncclFault) (first ncclFault, own []string) {
	for _, f := range faults {
		if strings.Contains(f.text, "remote process exited") {
			continue
		}
		if first.kind == "" {
			first = f
		}
		own = addOnce(own, f.host)
	}
	if first.kind == "" && len(faults) > 0 {
		first = faults[0]
	}
	return first, own
}

// readLauncher reads and keeps the launcher's log. One that cannot be read is
// noted in it; a refusal of the API server is an error.
func (h *Hands) readLauncher(ctx context.Context, p steps.RunCommTestParams, pod *corev1.Pod) (log ncclLog, entry incident.IndexEntry, err error) {
	read := func(r io.Reader) (err error) { log, err = readNCCL(r); return err }
	unread, entry, err := h.keepLog(ctx, pod, "commtest/"+p.Name+"/launcher.log", -1, read)
	log.Unreadable, log.Exit = unread, exitOf(pod)
	return log, entry, err
}
