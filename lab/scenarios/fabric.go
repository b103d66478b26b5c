package scenarios

import (
	"fmt"

	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
)

// What the incidents of the fabric have in common.
const (
	linkError = "ib-link-error"
	isolates  = " Two people agree to take it out of service; the ranks go on elsewhere, and every other node stays as it is."
)

// fabric lists the incidents whose cause is a part of the network that no
// object shows, on so many nodes. Only a test between the nodes tells.
func fabric(s size) []entry {
	node := func(n int) string { return kubelet.NodeName(n * s.ranks / 16) }
	hard := func(n int, silent bool) faults.NodeFault {
		return faults.NodeFault{Node: node(n), Kind: faults.Hard, Phase: faults.AtWork, Silent: silent}
	}
	leaf := kubelet.LeafName(s.leafs() / 2)
	return []entry{
		badNodes(s, "nccl-bad-node", "One node's adapters break in the middle of the work",
			"All ranks fail, and what they say is about their peers; the bad node's own rank says nothing.", hard(6, true)),
		slow(s, faults.NodeFault{Node: node(9), Kind: faults.Slow, Share: 0.25}),
		badNodes(s, "nccl-flaky-node", "One node fails now and then",
			"The job fails every few minutes, and a test with the bad node passes when it is lucky.",
			faults.NodeFault{Node: node(flaky[s]), Kind: faults.Flaky, Share: 0.7, Phase: faults.AtWork}),
		uplink(s, leaf),
		badNodes(s, "nccl-two-bad-nodes", "Two nodes are bad, under different leaf switches",
			"Every group that holds either fails, so that halving the nodes leads nowhere.", hard(2, false), hard(13, true)),
	}
}

// flaky is the node of nccl-flaky-node by size, in sixteenths of the ranks.
var flaky = map[size]int{medium: 3, large: 3}

// named tells the sizes apart.
func (s size) named(name string) string {
	if s == medium {
		return name
	}
	return fmt.Sprintf("%s-%d", name, s.ranks)
}

func (s size) titled(title string) string { return fmt.Sprintf("%s (%d nodes)", title, s.ranks) }

func badNodes(s size, name, title, story string, bad ...faults.NodeFault) entry {
	want := Expect{
		Outcome: incident.Resolved, FailureCase: ncclFailure, RootCause: linkError, BlamedKind: "node",
		Changes: 1, Training: true, Transport: "IB",
	}
	for _, f := range bad {
		want.Isolated = append(want.Isolated, f.Node)
	}
	return entry{size: s, Scenario: Scenario{
		Name: s.named(name), Title: s.titled(title), Story: story + isolates, Alert: alert("DistributedTrainingFailure", "critical"),
		Faults: faults.Script{NodeFaults: bad}, Answer: Approve, SettleUntil: UntilFailing, Expect: want,
	}}
}

// slow is a job that does not fail at all.
func slow(s size, bad faults.NodeFault) entry {
	e := badNodes(s, "nccl-slow-node", "One node has a quarter of its bandwidth, and the whole job crawls",
		"Nothing fails: every step takes four times as long on every rank, because all wait for one.", bad)
	e.Alert, e.SettleUntil = alert("NCCLCollectivesSlow", "warning"), UntilTraining
	return e
}

func uplink(s size, leaf string) entry {
	return entry{size: s, Scenario: Scenario{
		Name: s.named("nccl-leaf-uplink"), Title: s.titled("A leaf switch is cut off from the others"),
		Story: "Ranks under one leaf switch reach each other and nobody else. No node is at fault, so none is taken out: " +
			"the switch is named, and a person takes over.",
		Alert: alert("DistributedTrainingFailure", "critical"), Faults: faults.Script{LeafUplinks: []string{leaf}},
		Answer: Deny, SettleUntil: UntilFailing,
		Expect: Expect{
			Outcome: incident.Escalated, FailureCase: ncclFailure, RootCause: linkError,
			BlamedKind: "switch", Blamed: leaf, ClusterUnchanged: true,
		},
	}}
}
