package faults

import "fmt"

// Script is what no object of the cluster tells. The zero value is a fault
// model in which everything follows from the objects.
type Script struct {
	Deaths       []Death       `json:"deaths,omitempty"`
	FabricBlocks []FabricBlock `json:"fabric_blocks,omitempty"`
	// NodeFaults, LeafUplinks (names of leaf switches whose uplink lets nothing
	// through) and Links are faults of the RDMA fabric.
	NodeFaults  []NodeFault `json:"node_faults,omitempty"`
	LeafUplinks []string    `json:"leaf_uplinks,omitempty"`
	Links       []Link      `json:"links,omitempty"`
	// Trainings are what programs need, Tenants who else holds memory of GPUs,
	// Storage how fast classes are, BrokenClaims the claims, by name, whose
	// volumes cannot be mounted, and UnreadableClaims those of which a file cannot be
	// read, so that no copy of them gets to its end.
	Trainings        []Training `json:"trainings,omitempty"`
	Tenants          []Tenant   `json:"tenants,omitempty"`
	Storage          []Storage  `json:"storage,omitempty"`
	BrokenClaims     []string   `json:"broken_claims,omitempty"`
	UnreadableClaims []string   `json:"unreadable_claims,omitempty"`
}

// Death makes one rank of a training outgrow its memory limit: it is killed
// when it reaches Step, counted from 1, in every attempt.
type Death struct {
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	Rank      int    `json:"rank"`
	Step      int    `json:"step"`
}

// FabricBlock makes the network between nodes drop TCP silently, although no
// object says so. Nodes are those whose uplink drops; none means all. A
// connection within one node never leaves it and is not touched.
type FabricBlock struct {
	Nodes []string `json:"nodes,omitempty"`
	// FirstPort and LastPort bound the dropped destination ports; both 0 means
	// every port.
	FirstPort int32 `json:"first_port,omitempty"`
	LastPort  int32 `json:"last_port,omitempty"`
}

// Check says what is wrong with a script, nil when nothing is.
func (s Script) Check() error {
	for i, d := range s.Deaths {
		if d.Namespace == "" || d.Job == "" || d.Rank < 0 || d.Step < 1 {
			return fmt.Errorf("deaths[%d]: want a namespace, a job, a rank from 0 and a step from 1, got %+v", i, d)
		}
	}
	for i, b := range s.FabricBlocks {
		if b.FirstPort < 0 || b.LastPort < b.FirstPort || b.LastPort > 65535 {
			return fmt.Errorf("fabric_blocks[%d]: want ports 0 <= first <= last <= 65535, got %d to %d", i, b.FirstPort, b.LastPort)
		}
	}
	if err := s.checkTrainings(); err != nil {
		return err
	}
	return s.checkFabric()
}

// deathStep is the step at which a rank dies, 0 for never.
func (s Script) deathStep(namespace, job string, rank int) int {
	for _, d := range s.Deaths {
		if d.Namespace == namespace && d.Job == job && d.Rank == rank {
			return d.Step
		}
	}
	return 0
}

// drops says whether the fabric loses a connection's packets.
func (s Script) drops(from, to string, port int32) bool {
	if from == to {
		return false
	}
	for _, b := range s.FabricBlocks {
		ports := b.LastPort == 0 || b.FirstPort <= port && port <= b.LastPort
		if ports && (b.touches(from) || b.touches(to)) {
			return true
		}
	}
	return false
}

func (b FabricBlock) touches(node string) bool {
	if len(b.Nodes) == 0 {
		return true
	}
	for _, n := range b.Nodes {
		if n == node {
			return true
		}
	}
	return false
}
