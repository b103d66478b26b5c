package commtest

import (
	"fmt"

	"gpumedic/incident"
)

// judgeSpeed is the last judge: all is there and right, was it fast enough?
func judgeSpeed(outcome incident.Outcome, logs []RankLog, want Want) incident.Outcome {
	_, slow := slowNodes(logs, want)
	switch {
	case want.network():
		outcome.Why = fmt.Sprintf("%d nodes reached %s", want.ranks(), speed(outcome, want))
	case want.processes() > 1:
		outcome.Why = fmt.Sprintf("the %d GPUs of %s work together at %s; a test of one node says nothing about the network", want.Procs, want.Group.Nodes[0], speed(outcome, want))
	default:
		outcome.Why = fmt.Sprintf("one GPU of %s does its own work; with one process this is no test of bandwidth", want.Group.Nodes[0])
	}
	outcome.Result = incident.TestPass
	switch why := slowGPU(logs, want); {
	case tooSlow(outcome, want):
		outcome.Result = incident.TestFail
		outcome.Why = fmt.Sprintf("slow: %s%s, expected about %.0f GB/s%s", speed(outcome, want), inside(want), want.ExpectedGBps, slow)
	case why != "":
		outcome.Result, outcome.Why = incident.TestFail, "slow: "+why
	case offFabric(outcome.Transport, want.Fabric) != "":
		outcome.Result, outcome.Why = incident.TestFail, offFabric(outcome.Transport, want.Fabric)
	}
	if outcome.Result == incident.TestFail && !want.network() {
		outcome.SlowNodes = want.Group.Nodes
	}
	if outcome.Result == incident.TestPass {
		outcome.Proved = proved(outcome, want)
	}
	return outcome
}

// tooSlow needs an expectation and somebody to exchange data with.
func tooSlow(outcome incident.Outcome, want Want) bool {
	floor := want.SlowBelow * want.ExpectedGBps
	return want.processes() > 1 && floor > 0 && outcome.BusBWGBps < floor
}

func speed(outcome incident.Outcome, want Want) string {
	return fmt.Sprintf("%.1f GB/s at %s%s", outcome.BusBWGBps, bytesText(want.largest()), over(outcome.Transport))
}

func over(transport string) string {
	if transport == "" {
		return ""
	}
	return " over " + transport
}

func inside(want Want) string {
	if want.network() {
		return ""
	}
	return " inside node " + want.Group.Nodes[0]
}

// proved is what a pass stands for, and what it does not.
func proved(outcome incident.Outcome, want Want) string {
	text := ""
	switch {
	case want.Backend != "nccl" && want.network():
		text = "torch.distributed moved right data between the nodes' CPUs over TCP (gloo); GPUs, NCCL and RDMA took no part, so nothing is proved of them"
	case want.Backend != "nccl":
		text = "torch.distributed works on this node's CPU (gloo); GPUs and NCCL took no part, so nothing is proved of them"
	case want.network():
		text = fmt.Sprintf("NCCL moved right data between %d nodes%s up to %s in every collective tried; other nodes, other paths of the fabric and long runs are not proved",
			want.ranks(), over(outcome.Transport), bytesText(want.largest()))
	case want.processes() > 1:
		text = fmt.Sprintf("NCCL moved right data between the %d GPUs of the node up to %s; nothing is proved of its network", want.Procs, bytesText(want.largest()))
	default:
		text = "one GPU computes and copies at its own pace; nothing is proved of NVLink or the network"
	}
	if outcome.Simulated {
		text = "simulated, so nothing is proved of real hardware; on real nodes: " + text
	}
	return text
}
