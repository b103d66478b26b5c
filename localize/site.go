package localize

import (
	"cmp"
	"slices"

	"gpumedic/incident"
)

// group is a set of nodes as ascending indexes into site.nodes.
type group []int

// site is the nodes in the order of their places, so that neighbours in the
// list are neighbours in the fabric.
type site struct {
	nodes   []incident.Node
	index   map[string]int // for look-up only, never walked
	domains []domain
	// domainsOf lists the domains of every node, by index.
	domainsOf [][]int32
}

// domain is a set of nodes behind one switch: a leaf, rack or NVLink domain.
type domain struct {
	name    string
	members group
}

// newSite orders the nodes and finds their domains. Of nodes with the same
// name the first counts.
func newSite(nodes []incident.Node) *site {
	s := &site{index: map[string]int{}}
	for _, node := range nodes {
		if _, twice := s.index[node.Name]; !twice {
			s.index[node.Name] = -1 // its place follows from the order
			s.nodes = append(s.nodes, node)
		}
	}
	slices.SortStableFunc(s.nodes, func(a, b incident.Node) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Leaf, b.Leaf), cmp.Compare(a.Rack, b.Rack),
			cmp.Compare(a.NVLinkDomain, b.NVLinkDomain), cmp.Compare(a.Name, b.Name))
	})
	for i, node := range s.nodes {
		s.index[node.Name] = i
	}
	s.addDomains(func(n incident.Node) string { return n.Leaf })
	s.addDomains(func(n incident.Node) string { return n.Rack })
	s.addDomains(func(n incident.Node) string { return n.NVLinkDomain })
	s.domainsOf = make([][]int32, len(s.nodes))
	for d, domain := range s.domains {
		for _, node := range domain.members {
			s.domainsOf[node] = append(s.domainsOf[node], int32(d))
		}
	}
	return s
}

// addDomains adds the domains of one level. A domain of one node is that node,
// one of all nodes is the infrastructure, and one with the members of an
// earlier domain is the same switch by another name.
func (s *site) addDomains(level func(incident.Node) string) {
	at := map[string]int{}
	var found []domain
	for i, node := range s.nodes {
		name := level(node)
		if name == "" {
			continue
		}
		if _, known := at[name]; !known {
			at[name] = len(found)
			found = append(found, domain{name: name})
		}
		found[at[name]].members = append(found[at[name]].members, i)
	}
	for _, d := range found {
		known := slices.ContainsFunc(s.domains, func(other domain) bool { return slices.Equal(other.members, d.members) })
		if len(d.members) > 1 && len(d.members) < len(s.nodes) && !known {
			s.domains = append(s.domains, d)
		}
	}
}

func (s *site) all() group {
	members := make(group, len(s.nodes))
	for i := range members {
		members[i] = i
	}
	return members
}
