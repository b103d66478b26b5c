package scenarios

import (
	"maps"
	"slices"

	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
)

// entry is a scenario, the folder that its manifests come from, "" for the
// healthy job alone, and its size. Of a cluster with larger GPUs beside the others
// half of the nodes have them.
type entry struct {
	Scenario
	folder string
	size   size
	larger string
}

// topology is that of the scenario's cluster.
func (e entry) topology() kubelet.Topology {
	t := e.size.topology()
	if e.larger != "" {
		t.Larger, t.LargerProduct = t.Nodes/2, e.larger
	}
	return t
}

// The failure case of the table's incidents.
const ncclFailure = "nccl-failure"

// Ports that the kernel chooses from, all of which NCCL may use.
var ephemeral = faults.FabricBlock{FirstPort: 32768, LastPort: 60999}

// table lists all scenarios, small ones first.
func table() []entry {
	list := slices.Concat(small(), memory(), loading())
	for i := range list {
		list[i].size = base
	}
	return slices.Concat(list, fabric(medium), fabric(large))
}

func small() []entry {
	return []entry{
		policyBlocks("nccl-policy", "A network policy keeps the ranks apart",
			"The platform team gave every namespace a default-deny baseline that lets names and PyTorch's rendezvous port through. "+
				"NCCL's own connections use ports that the kernel chooses: the job restarts for ever. Allowing the job's own traffic heals it.",
			Approve, Expect{Outcome: incident.Resolved, Changes: 1, Training: true, Transport: "IB"}),
		{folder: "nccl-rdma-fallback", Scenario: Scenario{
			Name: "nccl-rdma-fallback", Title: "The pods lost their RDMA device, NCCL crawls over TCP",
			Story: "The job's template was rewritten and no longer asks for the RDMA device. Nothing fails: NCCL falls back to TCP " +
				"and every step takes ten times as long. Giving the device back heals it.",
			Alert: alert("NCCLCollectivesSlow", "warning"), Answer: Approve, SettleUntil: UntilTraining,
			Expect: Expect{
				Outcome: incident.Resolved, FailureCase: ncclFailure, RootCause: "rdma-or-net-plugin-unavailable",
				BlamedKind: "config", Changes: 1, Training: true, Transport: "IB",
			},
		}},
		policyBlocks("nccl-policy-denied", "A network policy keeps the ranks apart, and nobody may change it",
			"As nccl-policy, but the person who is asked says no. Nothing is changed.",
			Deny, Expect{Outcome: incident.Refused, ClusterUnchanged: true}),
		useless(),
		{Scenario: Scenario{
			Name: "nccl-peer-died", Title: "One rank runs out of memory, seven complain about the network",
			Story: "Rank 2 outgrows its memory limit and is killed by the kernel. Its peers report closed connections a second later and " +
				"fail too: their errors are louder, and only echoes. The network is innocent: the incident goes on as one of memory, and the person " +
				"who is asked whether the limit may be raised says no.",
			Alert: alert("DistributedTrainingFailure", "critical"), Answer: Deny, SettleUntil: UntilFailing,
			Faults: faults.Script{Deaths: []faults.Death{{Namespace: Namespace, Job: Job, Rank: 2, Step: 8}}},
			Expect: Expect{
				Outcome: incident.Refused, FailureCase: cudaOOM, RootCause: "host-oomkilled",
				BlamedKind: "pod", Blamed: Job + "-2", ClusterUnchanged: true,
			},
		}},
		{folder: "nccl-wrong-interface", Scenario: Scenario{
			Name: "nccl-wrong-interface", Title: "NCCL is told to use an interface that the pods do not have",
			Story: "NCCL_SOCKET_IFNAME was copied from bare-metal hosts. In the pods there is no such interface: no rank gets past the start. " +
				"The template is the team's to correct.",
			Alert: alert("DistributedTrainingFailure", "critical"), Answer: Deny, SettleUntil: UntilFailing,
			Expect: Expect{
				Outcome: incident.Escalated, FailureCase: ncclFailure, RootCause: "wrong-socket-interface",
				BlamedKind: "config", ClusterUnchanged: true,
			},
		}},
		{Scenario: Scenario{
			Name: "false-alarm", Title: "An alert about a job that is well",
			Story: "The rule that fired has too low a threshold. The job trains over RDMA, the test of its nodes is clean: " +
				"the right thing to do is to say so and to change nothing.",
			Alert: alert("NCCLCollectivesSlow", "warning"), Answer: Deny, SettleUntil: UntilTraining,
			Expect: Expect{
				Outcome: incident.NoCause, FailureCase: incident.NoneOfThese,
				ClusterUnchanged: true, Training: true, Transport: "IB",
			},
		}},
		crash(),
	}
}

// policyBlocks is a scenario in which the baseline of nccl-policy is the cause.
func policyBlocks(name, title, story, answer string, want Expect) entry {
	want.FailureCase, want.RootCause, want.BlamedKind = ncclFailure, "network-unreachable-or-port-blocked", "policy"
	return entry{folder: "nccl-policy", Scenario: Scenario{
		Name: name, Title: title, Story: story, Alert: alert("DistributedTrainingFailure", "critical"),
		Answer: answer, SettleUntil: UntilFailing, Expect: want,
	}}
}

func useless() entry {
	e := policyBlocks("nccl-policy-useless", "Allowing the traffic does not help: the fabric drops it too",
		"As nccl-policy, but a filter in the switches, which no object of the cluster shows, drops the same ports. The approved change is applied, "+
			"does not help, and is taken back; a person takes over.",
		Approve, Expect{Outcome: incident.RolledBack, Changes: 1, Undone: true, ClusterUnchanged: true})
	e.Faults.FabricBlocks = []faults.FabricBlock{ephemeral}
	return e
}

func crash() entry {
	e := policyBlocks("crash", "The worker is killed in the middle of the change",
		"As nccl-policy, but the worker is killed with SIGKILL after the change was applied and before anybody knows of it. "+
			"The next worker finds what was done and goes on; the change is applied once.",
		Approve, Expect{Outcome: incident.Resolved, Changes: 1, Training: true, Transport: "IB"})
	e.Crash = true
	return e
}

// alert is the labels as rules over kube-state-metrics give them.
func alert(name, severity string) map[string]string {
	labels := map[string]string{"namespace": Namespace, "job_name": Job, "team": "language-models"}
	maps.Copy(labels, map[string]string{"alertname": name, "severity": severity})
	return labels
}
