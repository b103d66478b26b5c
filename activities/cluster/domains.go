package cluster

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// domainsOf are the failure domains of some nodes: leaf switches and racks by
// name, the cluster as the last. A node whose labels tell neither leaf nor
// rack is in the cluster alone.
func (f floor) domainsOf(names []string, cluster string, fabric incident.FabricSettings) []incident.Domain {
	var domains []incident.Domain
	for _, kind := range []string{"leaf", "rack", "cluster"} {
		var ofKind []incident.Domain
		for _, node := range f.nodes {
			name := domainName(placed(node, fabric), kind, cluster)
			known := slices.ContainsFunc(ofKind, func(d incident.Domain) bool { return d.Name == name })
			if name != "" && !known && slices.Contains(names, node.Name) {
				ofKind = append(ofKind, f.domain(kind, name, names, cluster, fabric))
			}
		}
		slices.SortFunc(ofKind, func(a, b incident.Domain) int { return strings.Compare(a.Name, b.Name) })
		domains = append(domains, ofKind...)
	}
	return domains
}

func domainName(node incident.Node, kind, cluster string) string {
	return map[string]string{"leaf": node.Leaf, "rack": node.Rack, "cluster": cluster}[kind]
}

// domain counts the nodes with GPUs of one failure domain. A node that has
// lost all of its GPUs still counts when it is one that is to be isolated.
func (f floor) domain(kind, name string, names []string, cluster string, fabric incident.FabricSettings) incident.Domain {
	domain := incident.Domain{Kind: kind, Name: name}
	for _, live := range f.nodes {
		node := placed(live, fabric)
		ours := slices.Contains(names, node.Name)
		if domainName(node, kind, cluster) != name || node.GPUs == 0 && !ours && !isolatedByUs(live) {
			continue
		}
		domain.Size++
		if ours {
			domain.Nodes = append(domain.Nodes, node.Name)
		} else if isolatedByUs(live) {
			domain.Isolated = append(domain.Isolated, node.Name)
		}
	}
	return domain
}

func isolatedByUs(node corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == steps.IsolatedTaint })
}
