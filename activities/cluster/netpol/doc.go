// Package netpol answers which traffic between pods the NetworkPolicies of a
// cluster allow. It evaluates networking.k8s.io/v1 objects and nothing else:
// no cluster is asked, and policies of a particular network plugin (Cilium,
// Calico, AdminNetworkPolicy) are not seen.
//
// A connection needs two consents: the egress of its source and the ingress
// of its destination. A pod that no policy selects for a direction consents
// to everything there; one that is selected consents to what the rules of
// all its policies add up to. There is no order and no deny rule.
//
// Where the API leaves the answer to the network plugin (pods in the host's
// network, address blocks for a pod that has no address yet) the answer is
// Unknown, never allowed and never blocked.
package netpol
