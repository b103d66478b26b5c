package policy

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
)

// Endpoint is one end of a connection.
type Endpoint struct {
	Namespace       string
	NamespaceLabels map[string]string
	Labels          map[string]string
	// Addr is the pod's address, the zero value when it has none yet; then no
	// address block matches it.
	Addr netip.Addr
	Node string
	// HostNetwork says that the pod has its node's address and that no policy
	// selects it.
	HostNetwork bool
	// Ports are the container ports that have a name; policies may use it.
	Ports []corev1.ContainerPort
}

// Flow is one connection as its first packet shows it.
type Flow struct {
	From, To Endpoint
	Protocol corev1.Protocol
	Port     int32
}

// Verdict is the answer. Stopped names the policies that select an end and
// together do not consent, "egress of training/default-deny"; it is empty
// when the flow is allowed.
type Verdict struct {
	Allowed bool
	Stopped []string
}

// Evaluate says what the policies do with the flow. The error is for policies
// that no API server would store (a malformed selector or address block).
func Evaluate(policies []*netv1.NetworkPolicy, f Flow) (Verdict, error) {
	out, err := consent(policies, f, netv1.PolicyTypeEgress)
	if err != nil {
		return Verdict{}, err
	}
	in, err := consent(policies, f, netv1.PolicyTypeIngress)
	if err != nil {
		return Verdict{}, err
	}
	stopped := slices.Concat(out, in)
	return Verdict{Allowed: len(stopped) == 0, Stopped: stopped}, nil
}

// consent returns the policies that isolate the flow's end in one direction
// without any of them allowing the flow; nil means consent.
func consent(policies []*netv1.NetworkPolicy, f Flow, way netv1.PolicyType) ([]string, error) {
	own := f.From
	if way == netv1.PolicyTypeIngress {
		own = f.To
	}
	if own.HostNetwork || way == netv1.PolicyTypeIngress && fromOwnNode(f) {
		return nil, nil
	}
	var isolating []string
	for _, p := range policies {
		selected, err := selects(p, own, way)
		if err != nil {
			return nil, err
		}
		if !selected {
			continue
		}
		allowed, err := allows(p, f, way)
		if err != nil {
			return nil, err
		}
		if allowed {
			return nil, nil
		}
		isolating = append(isolating, fmt.Sprintf("%s of %s/%s", lower(way), p.Namespace, p.Name))
	}
	return isolating, nil
}

// fromOwnNode: the kubelet and everything else in a node's network reaches
// the node's pods, whatever policies say.
func fromOwnNode(f Flow) bool {
	return f.From.HostNetwork && f.From.Node != "" && f.From.Node == f.To.Node
}

func selects(p *netv1.NetworkPolicy, e Endpoint, way netv1.PolicyType) (bool, error) {
	if p.Namespace != e.Namespace || !slices.Contains(types(p), way) {
		return false, nil
	}
	ok, err := matches(&p.Spec.PodSelector, e.Labels)
	if err != nil {
		return false, fmt.Errorf("pod selector of %s/%s: %w", p.Namespace, p.Name, err)
	}
	return ok, nil
}

// types applies the default: ingress always, egress when there are egress rules.
func types(p *netv1.NetworkPolicy) []netv1.PolicyType {
	if len(p.Spec.PolicyTypes) > 0 {
		return p.Spec.PolicyTypes
	}
	if len(p.Spec.Egress) > 0 {
		return []netv1.PolicyType{netv1.PolicyTypeIngress, netv1.PolicyTypeEgress}
	}
	return []netv1.PolicyType{netv1.PolicyTypeIngress}
}

// rule is what ingress and egress rules have in common.
type rule struct {
	peers []netv1.NetworkPolicyPeer
	ports []netv1.NetworkPolicyPort
}

func allows(p *netv1.NetworkPolicy, f Flow, way netv1.PolicyType) (bool, error) {
	peer := f.To
	if way == netv1.PolicyTypeIngress {
		peer = f.From
	}
	for i, r := range rules(p, way) {
		if !portAllowed(r.ports, f) {
			continue
		}
		ok, err := peerAllowed(r.peers, p.Namespace, peer)
		if err != nil {
			return false, fmt.Errorf("%s rule %d of %s/%s: %w", lower(way), i, p.Namespace, p.Name, err)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

func rules(p *netv1.NetworkPolicy, way netv1.PolicyType) []rule {
	var all []rule
	if way == netv1.PolicyTypeEgress {
		for _, r := range p.Spec.Egress {
			all = append(all, rule{peers: r.To, ports: r.Ports})
		}
		return all
	}
	for _, r := range p.Spec.Ingress {
		all = append(all, rule{peers: r.From, ports: r.Ports})
	}
	return all
}

func lower(way netv1.PolicyType) string {
	if way == netv1.PolicyTypeEgress {
		return "egress"
	}
	return "ingress"
}
