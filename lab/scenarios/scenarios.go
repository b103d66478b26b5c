package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
)

//go:embed base nccl-policy nccl-rdma-fallback nccl-wrong-interface
//go:embed oom oom-capacity-knob oom-capacity-larger-gpu oom-foreign-process oom-host-limit oom-shm
//go:embed dataset dataset-loader dataset-slow-storage dataset-mount-failure dataset-cold-cache
var files embed.FS

// Where every scenario's workload is.
const (
	Namespace = "training"
	Job       = "llama-70b"
	// Ranks is how many the job has where a scenario does not say otherwise.
	Ranks = 8
)

// Answers to the question whether a plan may be carried out.
const (
	Approve = "approve"
	Deny    = "deny"
)

// Scenario is one incident that the lab can play.
type Scenario struct {
	Name string
	// Title is half a line, Story two or three sentences for people.
	Title, Story string
	// Manifests is YAML of several documents, in the order in which they are
	// to be applied.
	Manifests []byte
	// Ranks of the job, one on each of as many nodes.
	Ranks int
	// Topology of the cluster that it is played in.
	Topology kubelet.Topology
	// Alert is the labels of the alert that fires; alertname is among them.
	Alert map[string]string
	// Faults is what no object tells.
	Faults faults.Script
	// Answer is Approve or Deny.
	Answer string
	// Crash: the worker is killed after the change is applied and before its
	// result is recorded, then started again.
	Crash bool
	// Unmeasured: no exporter tells anything, as where nobody scrapes the nodes.
	Unmeasured  bool
	SettleUntil Settle
	Expect      Expect
}

// Expect is how the incident must end.
type Expect struct {
	Outcome     string
	FailureCase string
	// RootCause is an id of the taxonomy, "" when nothing is wrong.
	RootCause string
	// BlamedKind is "" when nobody is; Blamed, when set, is how one of the
	// blamed names begins (a pod's name ends in letters drawn by chance).
	BlamedKind string
	Blamed     string
	// Changes is how many changes the record has; Undone says that the last of
	// them was taken back.
	Changes int
	Undone  bool
	// Isolated are the nodes that are blamed and in the end out of service:
	// cordoned and tainted, without a rank of the job. All other nodes are as
	// they were.
	Isolated []string
	// ClusterUnchanged: the objects of the manifests are as they were (fields
	// that the server counts apart), and nothing was added.
	ClusterUnchanged bool
	// Trouble is what one error on the way tells, where one belongs to the story; any
	// other is a fault.
	Trouble string
	// Training: at the end all ranks train, and with Transport.
	Training  bool
	Transport string
	// Findings are answers that the report must have: a regular expression for
	// state and value of one finding, "yes 32 MB/s, 17 ms", by question.
	Findings map[string]string
	// Env are variables of the ranks' container at the end, by name: a regular
	// expression for the whole value, "" for a variable that is not there.
	Env map[string]string
	// Product is the GPU of every rank's node at the end, "" for any.
	Product string
}

// All lists the scenarios in the order of the table.
func All() ([]Scenario, error) {
	list := table()
	var errs []error
	for i := range list {
		manifests, err := merge(list[i].folder, list[i].size)
		if err != nil {
			errs = append(errs, fmt.Errorf("manifests of scenario %s: %w", list[i].Name, err))
		}
		list[i].Manifests, list[i].Ranks, list[i].Topology = manifests, list[i].size.ranks, list[i].topology()
	}
	all := make([]Scenario, len(list))
	for i, e := range list {
		all[i] = e.Scenario
	}
	return all, errors.Join(errs...)
}

// Find returns the scenario of a name; the error lists the names there are.
func Find(name string) (Scenario, error) {
	all, err := All()
	if err != nil {
		return Scenario{}, err
	}
	if i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name }); i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("no scenario %q; there are %s", name, strings.Join(names, ", "))
}
