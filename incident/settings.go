package incident

import "time"

// Settings is the part of the configuration that steers one incident. The
// front door pins it into the incident's input, so that editing a file never
// changes an incident that is under way. Package config gives the defaults
// and says what each field means in YAML.
type Settings struct {
	Cluster string `json:"cluster" yaml:"cluster"`
	// StaleAfter: alerts that started longer ago are recorded and do not act.
	StaleAfter time.Duration    `json:"stale_after" yaml:"stale_after"`
	Approval   ApprovalSettings `json:"approval" yaml:"approval"`
	CommTest   CommTestSettings `json:"comm_test" yaml:"comm_test"`
	IOProbe    IOProbeSettings  `json:"io_probe,omitzero" yaml:"io_probe"`
	Fabric     FabricSettings   `json:"fabric" yaml:"fabric"`
	Logs       LogSettings      `json:"logs" yaml:"logs"`
	Verify     VerifySettings   `json:"verify" yaml:"verify"`
	Governor   GovernorSettings `json:"governor,omitzero" yaml:"governor"`
	Storage    StorageSettings  `json:"storage,omitzero" yaml:"storage"`
	// Slack is the channel for incident messages; "" = no Slack.
	SlackChannel string `json:"slack_channel" yaml:"slack_channel"`
	// Build is the version of the front door that opened the incident.
	Build string `json:"build" yaml:"-"`
}

// ApprovalSettings says who may agree, and how long we wait for them.
type ApprovalSettings struct {
	// Deadline after which silence is taken for no.
	Deadline time.Duration `json:"deadline" yaml:"deadline"`
	// Reminder is sent once after this time without an answer; 0 = never.
	Reminder  time.Duration `json:"reminder" yaml:"reminder"`
	Approvers []Approver    `json:"approvers" yaml:"approvers"`
	// Quorum is how many approvals a risk needs; a missing risk needs 1.
	// Low risk still asks unless the runbook says otherwise.
	Quorum map[Risk]int `json:"quorum,omitempty" yaml:"quorum"`
}

// Approver is an authorised person. Identity is the Slack user id (never a
// display name) or the login on the machine where gpumedic's command runs.
type Approver struct {
	Name  string `json:"name" yaml:"name"`
	Slack string `json:"slack,omitempty" yaml:"slack"`
	Login string `json:"login,omitempty" yaml:"login"`
}

// CommTestSettings describes the communication test's pods.
type CommTestSettings struct {
	Enabled bool   `json:"enabled" yaml:"enabled"`
	Image   string `json:"image" yaml:"image"`
	// Tool is "torch" (an Indexed Job with the script in this repository),
	// "nccl-tests" (an MPIJob) or "auto": nccl-tests when its image is set and
	// the cluster has MPIJobs, else torch. "" is "torch".
	Tool string `json:"tool,omitempty" yaml:"tool"`
	// NCCLTestsImage holds nccl-tests built with MPI, mpirun and sshd.
	NCCLTestsImage string `json:"nccl_tests_image,omitempty" yaml:"nccl_tests_image"`
	// Fabric chooses the defaults of what is left open here: "infiniband",
	// "roce", "efa", "tcp"; "" = nothing is assumed.
	Fabric string `json:"fabric,omitempty" yaml:"fabric"`
	// Networks are Multus networks of the test's pods, "namespace/name".
	Networks []string `json:"networks,omitempty" yaml:"networks"`
	// SharedMemory is the size of /dev/shm, "16Gi"; "" = bounded by the pod's
	// memory only.
	SharedMemory string `json:"shared_memory,omitempty" yaml:"shared_memory"`
	// GPUsPerNode is requested by each test pod.
	GPUsPerNode int `json:"gpus_per_node" yaml:"gpus_per_node"`
	// Resources are further requests of each pod, RDMA devices above all:
	// "rdma/hca_shared_devices_a": "1".
	Resources   map[string]string `json:"resources,omitempty" yaml:"resources"`
	Env         map[string]string `json:"env,omitempty" yaml:"env"`
	Tolerations []Toleration      `json:"tolerations,omitempty" yaml:"tolerations"`
	HostNetwork bool              `json:"host_network,omitempty" yaml:"host_network"`
	// ExpectedBusBWGBps is the bus bandwidth of a healthy group at the largest
	// message; 0 = what is known of GPU product and fabric, or unknown: then only
	// peers are compared.
	ExpectedBusBWGBps float64 `json:"expected_busbw_gbps" yaml:"expected_busbw_gbps"`
	// LocalBusBWGBps is the same for a group of one node (NVLink).
	LocalBusBWGBps float64 `json:"local_busbw_gbps,omitempty" yaml:"local_busbw_gbps"`
	// SlowBelow is the share of the expectation under which a group is slow.
	SlowBelow float64 `json:"slow_below" yaml:"slow_below"`
	// StartDeadline: pods that do not all run by then make the outcome "error".
	StartDeadline time.Duration `json:"start_deadline" yaml:"start_deadline"`
	// Deadline bounds one group's test after its start.
	Deadline  time.Duration `json:"deadline" yaml:"deadline"`
	MaxRounds int           `json:"max_rounds" yaml:"max_rounds"`
	// MaxBytes is the largest message of the sweep.
	MaxBytes int64 `json:"max_bytes" yaml:"max_bytes"`
}

// Toleration is a taint the test pods accept.
type Toleration struct {
	Key      string `json:"key" yaml:"key"`
	Operator string `json:"operator,omitempty" yaml:"operator"`
	Value    string `json:"value,omitempty" yaml:"value"`
	Effect   string `json:"effect,omitempty" yaml:"effect"`
}

// FabricSettings describes the site's network.
type FabricSettings struct {
	// LeafLabels, RackLabels and ZoneLabels are tried in order on nodes.
	LeafLabels []string `json:"leaf_labels" yaml:"leaf_labels"`
	RackLabels []string `json:"rack_labels" yaml:"rack_labels"`
	ZoneLabels []string `json:"zone_labels" yaml:"zone_labels"`
	// RDMAResources are the device resources that give a pod RDMA, as prefixes
	// ending in "/" or full names: "rdma/", "vpc.amazonaws.com/efa".
	RDMAResources []string `json:"rdma_resources" yaml:"rdma_resources"`
	// Interfaces are the pod network's interfaces, "eth0".
	Interfaces []string `json:"interfaces" yaml:"interfaces"`
}

// LogSettings bounds what is read per container.
type LogSettings struct {
	HeadBytes int64 `json:"head_bytes" yaml:"head_bytes"`
	TailBytes int64 `json:"tail_bytes" yaml:"tail_bytes"`
	// Parallel is how many pods are read at once.
	Parallel int `json:"parallel" yaml:"parallel"`
}

// VerifySettings bounds the wait for the restarted ranks.
type VerifySettings struct {
	// Deadline for all ranks to run and show the wanted transport.
	Deadline time.Duration `json:"deadline" yaml:"deadline"`
	// Proof is how long a change may stay unproved while all ranks train: a job
	// that died of memory counts as mended when it is past the step at which it
	// died, which may take hours; 0 = a day.
	Proof time.Duration `json:"proof,omitzero" yaml:"proof"`
}

// GovernorSettings bounds what all incidents of a cluster change together. The
// zero value isolates nothing. The settings of the incident that asks count.
type GovernorSettings struct {
	// MaxPerDomain nodes of one leaf switch or rack may be isolated at a time;
	// 0 = none, so that no node is ever isolated.
	MaxPerDomain int `json:"max_per_domain" yaml:"max_per_domain"`
	// MaxShare of the nodes with GPUs of a leaf switch, of a rack and of the
	// whole cluster may be isolated at a time, rounded down, but one always may.
	MaxShare float64 `json:"max_share" yaml:"max_share"`
	// MaxPerHour nodes of the cluster are isolated within an hour, also when
	// some of it was undone.
	MaxPerHour int `json:"max_per_hour" yaml:"max_per_hour"`
	// LeaseTTL is after how long the governor looks whether the incident that
	// holds a lease still lives; 0 = half an hour.
	LeaseTTL time.Duration `json:"lease_ttl" yaml:"lease_ttl"`
	// IsolatedFor is how long an isolated node counts when nobody says
	// otherwise; one that bears the taint counts in any case.
	IsolatedFor time.Duration `json:"isolated_for" yaml:"isolated_for"`
}

// StorageSettings are for remedies that copy a dataset. The zero value: prices are
// not known, and copies run in the ranks' own image.
type StorageSettings struct {
	// Prices of storage classes for a GiB and month, in Currency; a class that is
	// not listed has no known price.
	Prices   map[string]float64 `json:"prices,omitempty" yaml:"prices"`
	Currency string             `json:"currency,omitempty" yaml:"currency"`
	// Image of containers that copy; it needs sh, find and cp. "" = the ranks' own.
	Image string `json:"image,omitempty" yaml:"image"`
}
