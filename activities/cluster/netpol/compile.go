package netpol

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Set is a list of policies made ready for questions. It does not change and
// may be shared between goroutines. The zero value holds no policies.
type Set struct {
	policies []policy
}

// policy is one NetworkPolicy with its selectors parsed.
type policy struct {
	name, namespace string
	selects         labels.Selector
	ingress, egress *side // nil: the policy does not isolate that direction
}

// side is the rules of one direction; no rules allow nothing.
type side struct{ rules []rule }

// rule allows peers (none means everybody) on ports (none means all).
type rule struct {
	peers []peer
	ports []port
}

// peer is a pod and namespace selector, or an address block.
type peer struct {
	namespaces labels.Selector // nil: the policy's own namespace
	pods       labels.Selector
	block      *block
}

type block struct {
	cidr   netip.Prefix
	except []netip.Prefix
}

// port is numbers, a name that the destination resolves, or with neither all
// ports of its protocol.
type port struct {
	protocol corev1.Protocol
	name     string
	numbers  PortRange
}

// Compile parses the policies. The error names the policy and the field that
// is malformed; the API server admits none of these, a file may.
func Compile(policies []networkingv1.NetworkPolicy) (*Set, error) {
	set := &Set{policies: make([]policy, 0, len(policies))}
	for i := range policies {
		parsed, err := compilePolicy(&policies[i])
		if err != nil {
			return nil, fmt.Errorf("networkpolicy %s/%s: %w", policies[i].Namespace, policies[i].Name, err)
		}
		set.policies = append(set.policies, parsed)
	}
	return set, nil
}

func compilePolicy(p *networkingv1.NetworkPolicy) (policy, error) {
	selects, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return policy{}, fmt.Errorf("spec.podSelector: %w", err)
	}
	parsed := policy{name: p.Name, namespace: p.Namespace, selects: selects}
	ingress, egress := directions(&p.Spec)
	if ingress {
		parsed.ingress = &side{}
		for i, r := range p.Spec.Ingress {
			if err := parsed.ingress.add(r.From, r.Ports); err != nil {
				return policy{}, fmt.Errorf("spec.ingress[%d]: %w", i, err)
			}
		}
	}
	if egress {
		parsed.egress = &side{}
		for i, r := range p.Spec.Egress {
			if err := parsed.egress.add(r.To, r.Ports); err != nil {
				return policy{}, fmt.Errorf("spec.egress[%d]: %w", i, err)
			}
		}
	}
	return parsed, nil
}

// directions tells which directions a policy isolates. Without policyTypes
// that is ingress always, and egress when there is an egress rule.
func directions(spec *networkingv1.NetworkPolicySpec) (ingress, egress bool) {
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0
	}
	for _, t := range spec.PolicyTypes {
		ingress = ingress || t == networkingv1.PolicyTypeIngress
		egress = egress || t == networkingv1.PolicyTypeEgress
	}
	return ingress, egress
}

func (s *side) add(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) error {
	var parsed rule
	for i := range peers {
		p, err := compilePeer(&peers[i])
		if err != nil {
			return fmt.Errorf("peer %d: %w", i, err)
		}
		parsed.peers = append(parsed.peers, p)
	}
	for i := range ports {
		p, err := compilePort(&ports[i])
		if err != nil {
			return fmt.Errorf("port %d: %w", i, err)
		}
		parsed.ports = append(parsed.ports, p)
	}
	s.rules = append(s.rules, parsed)
	return nil
}

func compilePeer(p *networkingv1.NetworkPolicyPeer) (peer, error) {
	if p.IPBlock != nil {
		b, err := compileBlock(p.IPBlock)
		return peer{block: b}, err
	}
	parsed := peer{pods: labels.Everything()}
	var err error
	if p.PodSelector != nil {
		if parsed.pods, err = metav1.LabelSelectorAsSelector(p.PodSelector); err != nil {
			return peer{}, fmt.Errorf("podSelector: %w", err)
		}
	}
	if p.NamespaceSelector != nil {
		if parsed.namespaces, err = metav1.LabelSelectorAsSelector(p.NamespaceSelector); err != nil {
			return peer{}, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	return parsed, nil
}

func compileBlock(b *networkingv1.IPBlock) (*block, error) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock.cidr: %w", err)
	}
	parsed := &block{cidr: cidr.Masked()}
	for i, text := range b.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("ipBlock.except[%d]: %w", i, err)
		}
		parsed.except = append(parsed.except, except.Masked())
	}
	return parsed, nil
}

func compilePort(p *networkingv1.NetworkPolicyPort) (port, error) {
	parsed := port{protocol: corev1.ProtocolTCP, numbers: allPorts}
	if p.Protocol != nil {
		parsed.protocol = *p.Protocol
	}
	switch {
	case p.Port == nil && p.EndPort != nil:
		return port{}, fmt.Errorf("endPort %d without a port", *p.EndPort)
	case p.Port == nil:
	case p.Port.Type == intstr.String && p.EndPort != nil:
		return port{}, fmt.Errorf("endPort %d beside the named port %q", *p.EndPort, p.Port.StrVal)
	case p.Port.Type == intstr.String:
		parsed.name = p.Port.StrVal
	default:
		parsed.numbers = PortRange{First: p.Port.IntVal, Last: p.Port.IntVal}
		if p.EndPort != nil {
			parsed.numbers.Last = *p.EndPort
		}
		if parsed.numbers.Last < parsed.numbers.First {
			return port{}, fmt.Errorf("endPort %d is before port %d", parsed.numbers.Last, parsed.numbers.First)
		}
	}
	return parsed, nil
}
