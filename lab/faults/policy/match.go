package policy

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// matches: a selector without terms matches everything.
func matches(s *metav1.LabelSelector, set map[string]string) (bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(set)), nil
}

// peerAllowed: no peers means every peer; several are alternatives.
func peerAllowed(peers []netv1.NetworkPolicyPeer, home string, e Endpoint) (bool, error) {
	if len(peers) == 0 {
		return true, nil
	}
	for i := range peers {
		ok, err := peerMatches(&peers[i], home, e)
		if err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

func peerMatches(peer *netv1.NetworkPolicyPeer, home string, e Endpoint) (bool, error) {
	if peer.IPBlock != nil {
		return inBlock(peer.IPBlock, e.Addr)
	}
	if e.HostNetwork {
		return false, nil
	}
	if peer.NamespaceSelector == nil {
		if e.Namespace != home {
			return false, nil
		}
	} else if ok, err := matches(peer.NamespaceSelector, e.NamespaceLabels); err != nil || !ok {
		return false, err
	}
	if peer.PodSelector == nil {
		return true, nil
	}
	return matches(peer.PodSelector, e.Labels)
}

func inBlock(block *netv1.IPBlock, addr netip.Addr) (bool, error) {
	if !addr.IsValid() {
		return false, nil
	}
	in, err := contains(block.CIDR, addr)
	if err != nil || !in {
		return false, err
	}
	for _, except := range block.Except {
		out, err := contains(except, addr)
		if err != nil || out {
			return false, err
		}
	}
	return true, nil
}

func contains(cidr string, addr netip.Addr) (bool, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return false, fmt.Errorf("address block %q: %w", cidr, err)
	}
	return prefix.Contains(addr.Unmap()), nil
}

// portAllowed: no ports means every port of every protocol.
func portAllowed(ports []netv1.NetworkPolicyPort, f Flow) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		if portMatches(p, f) {
			return true
		}
	}
	return false
}

// portMatches: in both directions the port is that of the destination, so a
// name is looked up in the destination's containers.
func portMatches(p netv1.NetworkPolicyPort, f Flow) bool {
	protocol := corev1.ProtocolTCP
	if p.Protocol != nil {
		protocol = *p.Protocol
	}
	switch {
	case protocol != f.Protocol:
		return false
	case p.Port == nil:
		return true
	case p.Port.Type == intstr.String:
		return named(f.To.Ports, p.Port.StrVal, protocol, f.Port)
	case p.EndPort != nil:
		return p.Port.IntVal <= f.Port && f.Port <= *p.EndPort
	}
	return p.Port.IntVal == f.Port
}

func named(ports []corev1.ContainerPort, name string, protocol corev1.Protocol, number int32) bool {
	for _, c := range ports {
		own := c.Protocol
		if own == "" {
			own = corev1.ProtocolTCP
		}
		if c.Name == name && own == protocol && c.ContainerPort == number {
			return true
		}
	}
	return false
}
