package faults

import (
	"fmt"
	"slices"
)

// FaultKind is what is wrong with a node's RDMA adapters.
type FaultKind string

const (
	// Hard lets nothing through.
	Hard FaultKind = "hard"
	// Slow lets everything through, at a share of the bandwidth.
	Slow FaultKind = "slow"
	// Flaky fails some runs, and others not.
	Flaky FaultKind = "flaky"
)

// Phases of a run in which a fault strikes.
const (
	// AtInit: at the first exchange, which is the zero value's meaning too.
	AtInit = "init"
	// AtWork: in the middle, when some work has been done.
	AtWork = "collective"
)

// NodeFault is a fault of one node's RDMA adapters that no object shows. TCP
// takes another adapter and is not touched, nor is what stays inside the node.
type NodeFault struct {
	Node string    `json:"node"`
	Kind FaultKind `json:"kind"`
	// Share is, of a slow node, the part of the bandwidth that is left, and of a
	// flaky one, the part of the tests with it that fail; 0 for a hard fault. A
	// training is long enough to meet a flaky node's fault in every attempt.
	Share float64 `json:"share,omitempty"`
	// Phase is when a hard or flaky fault strikes, "" is AtInit. A training meets
	// a flaky one AtWork in any case.
	Phase string `json:"phase,omitempty"`
	// Silent: the node's own rank notices nothing and waits for the others.
	Silent bool `json:"silent,omitempty"`
	// OwnWork: a slow node is as slow at what touches no network, so that its
	// ranks' own times tell.
	OwnWork bool `json:"own_work,omitempty"`
}

// Link is the way between two nodes, in both directions.
type Link struct {
	A string `json:"a"`
	B string `json:"b"`
}

func (f NodeFault) check() error {
	switch {
	case f.Node == "":
		return fmt.Errorf("want the name of a node, got %+v", f)
	case f.Phase != "" && f.Phase != AtInit && f.Phase != AtWork:
		return fmt.Errorf("want phase %q or %q, got %q", AtInit, AtWork, f.Phase)
	case f.Kind == Hard && f.Share == 0, f.Kind != Hard && f.Share > 0 && f.Share < 1:
	case f.Kind == Hard:
		return fmt.Errorf("want no share for kind %q, got %v", f.Kind, f.Share)
	default:
		return fmt.Errorf("want a share between 0 and 1 for kind %q, got %v", f.Kind, f.Share)
	}
	if kinds := []FaultKind{Hard, Slow, Flaky}; !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("want a kind of %q, got %q", kinds, f.Kind)
	}
	return nil
}

// checkFabric says what is wrong with the faults of nodes, uplinks and links.
func (s Script) checkFabric() error {
	for i, f := range s.NodeFaults {
		if err := f.check(); err != nil {
			return fmt.Errorf("node_faults[%d]: %w", i, err)
		}
	}
	for i, leaf := range s.LeafUplinks {
		if leaf == "" {
			return fmt.Errorf("leaf_uplinks[%d]: want the name of a leaf switch", i)
		}
	}
	for i, l := range s.Links {
		if l.A == "" || l.B == "" || l.A == l.B {
			return fmt.Errorf("links[%d]: want two nodes, got %q and %q", i, l.A, l.B)
		}
	}
	return nil
}

// joins says whether the link is the way between two nodes.
func (l Link) joins(a, b string) bool { return l.A == a && l.B == b || l.A == b && l.B == a }
