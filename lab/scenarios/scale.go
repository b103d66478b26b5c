package scenarios

import (
	"encoding/json"
	"fmt"
	"slices"

	"gpumedic/lab/kubelet"
)

// size is how large a scenario is played: the job's ranks, and a cluster with
// one leaf switch more than they need, whose nodes are spare.
type size struct{ ranks, perLeaf int }

var (
	base   = size{ranks: Ranks}
	medium = size{ranks: 16, perLeaf: 4}
	large  = size{ranks: 64, perLeaf: 8}
)

// leafs is how many leaf switches the job takes.
func (s size) leafs() int { return s.ranks / s.perLeaf }

// topology is that of the scenario's cluster, the lab's default for the base:
// two racks to a leaf switch.
func (s size) topology() kubelet.Topology {
	t := kubelet.DefaultTopology()
	if s == base {
		return t
	}
	t.Nodes, t.Leafs = s.ranks+s.perLeaf, s.leafs()+1
	t.Racks = 2 * t.Leafs
	return t
}

// scale makes the base job one of so many ranks. It would rather be on the first
// leaf switches, as a team's job is on the nodes that were bought for it, and
// goes elsewhere when it must.
func (s size) scale(objects []object) error {
	if s == base {
		return nil
	}
	var leafs []string
	for n := range s.leafs() {
		leafs = append(leafs, kubelet.LeafName(n))
	}
	i := slices.IndexFunc(objects, func(o object) bool { return o.Kind == "Job" && o.name == Job })
	if i < 0 {
		return fmt.Errorf("there is no job %s to scale", Job)
	}
	over, err := json.Marshal(s.job(leafs))
	if err != nil {
		return fmt.Errorf("scale the job: %w", err)
	}
	objects[i].data, err = patch(objects[i], object{data: over})
	return err
}

// part is a piece of a manifest.
type part = map[string]any

func (s size) job(leafs []string) part {
	preferred := part{"weight": 100, "preference": part{"matchExpressions": []part{{"key": kubelet.LeafLabel, "operator": "In", "values": leafs}}}}
	pod := part{
		"affinity":   part{"nodeAffinity": part{"preferredDuringSchedulingIgnoredDuringExecution": []part{preferred}}},
		"containers": []part{{"name": "trainer", "env": []part{{"name": "NNODES", "value": fmt.Sprint(s.ranks)}}}},
	}
	return part{"spec": part{"completions": s.ranks, "parallelism": s.ranks, "template": part{"spec": pod}}}
}
