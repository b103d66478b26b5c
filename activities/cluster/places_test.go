package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

func TestPlaces(t *testing.T) {
	rank := func(index int, node, ip string) incident.Rank {
		return incident.Rank{Index: index, Node: node, PodIP: ip}
	}
	got := places(incident.Workload{Ranks: []incident.Rank{
		rank(3, "gpu-01", "10.0.0.4"), rank(0, "gpu-00", "10.0.0.1"), rank(1, "gpu-00", "10.0.0.2"), rank(2, "gpu-01", ""),
		rank(5, "gpu-01", "10.0.0.4"), rank(4, "", ""), rank(-1, "gpu-02", "10.0.0.9"),
	}})
	want := []incident.Placed{
		{Node: "gpu-00", Ranks: "0-1", PodIPs: []string{"10.0.0.1", "10.0.0.2"}},
		{Node: "gpu-01", Ranks: "2-3,5", PodIPs: []string{"10.0.0.4"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places differ (-want +got):\n%s", diff)
	}
	var many incident.Workload
	for i := range maxAddresses + 1 {
		many.Ranks = append(many.Ranks, rank(i, "gpu-00", "10.0.0.1"))
	}
	if got := places(many); len(got) != 1 || got[0].Ranks != "0-1024" || got[0].PodIPs != nil {
		t.Errorf("of many ranks: %+v", got)
	}
}
