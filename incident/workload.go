package incident

// Workload is a target seen from the cluster: its ranks and where they are.
// It can be large (a thousand ranks) and is kept as evidence; histories hold
// its reference and its Summary.
type Workload struct {
	Target Target `json:"target"`
	// UID is metadata.uid of the target object; a recreated target has another.
	UID string `json:"uid"`
	// OwnerChain lists the owners walked from a pod up to the target,
	// "Pod", "Job", "JobSet".
	OwnerChain []string `json:"owner_chain,omitempty"`
	// JobNames are the batch/v1 Jobs whose pods are the ranks.
	JobNames []string          `json:"job_names,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	// PodLabels are the labels of the pod template without those that
	// controllers add (batch.kubernetes.io/*, job-name, controller-uid).
	PodLabels map[string]string `json:"pod_labels,omitempty"`
	Suspended bool              `json:"suspended"`
	// WantedRanks is the parallelism the target declares; 0 when unknown.
	WantedRanks int    `json:"wanted_ranks"`
	Ranks       []Rank `json:"ranks"`
	// Earlier are pods of earlier attempts that still exist, which a newer pod
	// of the same rank has replaced; oldest first.
	Earlier []Rank `json:"earlier,omitempty"`
	Nodes   []Node `json:"nodes"`
}

// Rank is one pod of the workload. Index is the completion index (the node
// rank of torchrun), -1 when it cannot be told.
type Rank struct {
	Index       int    `json:"index"`
	Pod         string `json:"pod"`
	UID         string `json:"uid"`
	Container   string `json:"container"`
	Node        string `json:"node,omitempty"`
	PodIP       string `json:"pod_ip,omitempty"`
	Phase       string `json:"phase"`
	Restarts    int    `json:"restarts"`
	GPUs        int    `json:"gpus"`
	HostNetwork bool   `json:"host_network,omitempty"`
}

// Node is a machine with its place in the network. Leaf, Rack and Zone are
// empty when no configured label tells them.
type Node struct {
	Name string `json:"name"`
	Leaf string `json:"leaf,omitempty"`
	Rack string `json:"rack,omitempty"`
	Zone string `json:"zone,omitempty"`
	// NVLinkDomain names the nodes that share an NVLink switch fabric.
	NVLinkDomain string `json:"nvlink_domain,omitempty"`
	Product      string `json:"product,omitempty"`
	// GPUs is allocatable nvidia.com/gpu.
	GPUs int `json:"gpus"`
	// Ready is the node condition; Unschedulable means cordoned.
	Ready         bool `json:"ready"`
	Unschedulable bool `json:"unschedulable,omitempty"`
	// RDMA lists allocatable RDMA device resources by name.
	RDMA map[string]int `json:"rdma,omitempty"`
	// Unread says why the node could not be read; all but Name is then unknown.
	Unread string `json:"unread,omitempty"`
}

// WorkloadSummary is the part of a Workload that decisions in the workflow
// need; it stays small whatever the number of ranks.
type WorkloadSummary struct {
	UID         string   `json:"uid"`
	Ranks       int      `json:"ranks"`
	WantedRanks int      `json:"wanted_ranks"`
	GPUs        int      `json:"gpus"`
	Phases      []Count  `json:"phases,omitempty"`
	Nodes       []Node   `json:"nodes,omitempty"`
	Suspended   bool     `json:"suspended,omitempty"`
	JobNames    []string `json:"job_names,omitempty"`
	// PodLabels are those of Workload.PodLabels that network policies select
	// by: a test that wants to be treated as the ranks are puts them on its pods.
	PodLabels map[string]string `json:"pod_labels,omitempty"`
	// Placed says which ranks are where, in the order of the nodes' names.
	Placed []Placed `json:"placed,omitempty"`
}

// Placed is the ranks of one node. Ranks lists completion indexes as ranges,
// "0-3,7". PodIPs are those of their pods; they are left out in jobs of more
// ranks than a history should carry addresses of.
type Placed struct {
	Node   string   `json:"node"`
	Ranks  string   `json:"ranks"`
	PodIPs []string `json:"pod_ips,omitempty"`
}

// Count is a named number; slices of it stand where a map would make order
// depend on chance.
type Count struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}
