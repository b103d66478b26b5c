package cluster

import (
	"slices"

	"gpumedic/incident"
)

// maxAddresses is how many ranks a summary has addresses of: with more they
// would fill a history and help a test but little.
const maxAddresses = 1024

// places says which ranks are on which node, by the nodes' names.
func places(workload incident.Workload) []incident.Placed {
	indexes, addresses := map[string][]int{}, map[string][]string{}
	for _, rank := range workload.Ranks {
		if rank.Node == "" || rank.Index < 0 {
			continue
		}
		indexes[rank.Node] = append(indexes[rank.Node], rank.Index)
		if rank.PodIP != "" && len(workload.Ranks) <= maxAddresses {
			addresses[rank.Node] = append(addresses[rank.Node], rank.PodIP)
		}
	}
	var out []incident.Placed
	for _, node := range sortedNames(indexes) {
		slices.Sort(indexes[node])
		slices.Sort(addresses[node])
		out = append(out, incident.Placed{Node: node, Ranks: incident.Ranges(indexes[node]), PodIPs: slices.Compact(addresses[node])})
	}
	return out
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
