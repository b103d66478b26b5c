package netpol

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Pod is what policies can see of a pod.
type Pod struct {
	Namespace       string
	NamespaceLabels map[string]string
	Name            string
	Labels          map[string]string
	// IP is the invalid zero address while the pod has none; rules that speak
	// of address blocks are then Unknown for it.
	IP netip.Addr
	// HostNetwork pods share the node's address; what policies do to them is
	// up to the network plugin.
	HostNetwork bool
	// Ports are the container ports, by which named ports are resolved.
	Ports []corev1.ContainerPort
}

// Reason says why an answer is not a plain yes. The zero value is: nothing
// stands in the way.
type Reason struct {
	// Unknown says why the API does not define the answer; "" when it does.
	Unknown string
	// Egress names the policies ("namespace/name", sorted) that isolate the
	// source and do not let the traffic out; Ingress those of the destination
	// that do not let it in. Empty: that side consents.
	Egress, Ingress []string
}

// Allowed says whether one connection is allowed. It is false with
// Reason.Unknown set where the API does not define the answer.
func (s *Set) Allowed(from, to Pod, protocol corev1.Protocol, number int32) (bool, Reason) {
	blocked, reason := s.Ranges(from, to, protocol, PortRange{number, number})
	return len(blocked) == 0 && reason.Unknown == "", reason
}

// Allowed compiles the policies and asks one question; for many questions
// compile once.
func Allowed(policies []networkingv1.NetworkPolicy, from, to Pod, protocol corev1.Protocol, number int32) (bool, Reason, error) {
	set, err := Compile(policies)
	if err != nil {
		return false, Reason{}, err
	}
	ok, reason := set.Allowed(from, to, protocol, number)
	return ok, reason, nil
}

// Ranges returns exactly the ports of the range that are blocked, merged and
// in order. Ports whose answer is Unknown are not among them; Reason says
// that there are some.
func (s *Set) Ranges(from, to Pod, protocol corev1.Protocol, asked PortRange) ([]PortRange, Reason) {
	if same(from, to) {
		return nil, Reason{} // a pod always reaches itself
	}
	if from.HostNetwork || to.HostNetwork {
		return nil, s.hostNetwork(from, to)
	}
	out := s.consent(from, to, to, protocol, asked, egress)
	in := s.consent(to, from, to, protocol, asked, ingress)
	var reason Reason
	if len(out.blocked)+len(out.doubtful) > 0 {
		reason.Egress = out.isolating
	}
	if len(in.blocked)+len(in.doubtful) > 0 {
		reason.Ingress = in.isolating
	}
	blocked := Merge(append(out.blocked, in.blocked...))
	// A port that one side surely blocks is blocked, whatever the other says.
	for _, r := range append(out.doubtful, in.doubtful...) {
		if len(subtract(r, blocked)) > 0 {
			reason.Unknown = "a rule speaks of addresses and the pod has none yet"
		}
	}
	return blocked, reason
}

// hostNetwork answers for pods in the host's network: unknown, unless no
// policy isolates either end.
func (s *Set) hostNetwork(from, to Pod) Reason {
	reason := Reason{Egress: s.isolating(from, egress), Ingress: s.isolating(to, ingress)}
	if len(reason.Egress)+len(reason.Ingress) > 0 {
		reason.Unknown = "what a policy does to pods in the host's network is left to the network plugin"
	}
	return reason
}

func same(a, b Pod) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name && a.Name != ""
}

// direction picks a policy's side.
type direction func(policy) *side

func ingress(p policy) *side { return p.ingress }
func egress(p policy) *side  { return p.egress }

// Isolated names the policies that isolate the pod, by direction.
func (s *Set) Isolated(pod Pod) (ingressBy, egressBy []string) {
	return s.isolating(pod, ingress), s.isolating(pod, egress)
}

func (s *Set) isolating(pod Pod, of direction) []string {
	var names []string
	for _, p := range s.policies {
		if of(p) != nil && p.matches(pod) {
			names = append(names, p.namespace+"/"+p.name)
		}
	}
	slices.Sort(names)
	return names
}

func (p policy) matches(pod Pod) bool {
	return p.namespace == pod.Namespace && p.selects.Matches(labels.Set(pod.Labels))
}

// answer is one side's word on a range: blocked and doubtful are disjoint.
type answer struct {
	blocked, doubtful []PortRange
	isolating         []string
}

// consent adds up the rules of all policies that isolate subject in one
// direction, as far as they speak of peer. Named ports are those of the
// destination, whichever side is asked.
func (s *Set) consent(subject, peer, destination Pod, protocol corev1.Protocol, asked PortRange, of direction) answer {
	result := answer{isolating: s.isolating(subject, of)}
	if len(result.isolating) == 0 {
		return result
	}
	var sure, maybe []PortRange
	for _, p := range s.policies {
		rules := of(p)
		if rules == nil || !p.matches(subject) {
			continue
		}
		for _, r := range rules.rules {
			switch r.speaksOf(peer, p.namespace) {
			case yes:
				sure = append(sure, r.numbers(destination, protocol)...)
			case perhaps:
				maybe = append(maybe, r.numbers(destination, protocol)...)
			}
		}
	}
	sure, maybe = Merge(sure), Merge(maybe)
	for _, r := range subtract(asked, sure) {
		kept := subtract(r, maybe)
		result.blocked = append(result.blocked, kept...)
		result.doubtful = append(result.doubtful, subtract(r, kept)...)
	}
	return result
}

// match is a three-valued answer.
type match int

const (
	no match = iota
	perhaps
	yes
)

func (r rule) speaksOf(pod Pod, namespace string) match {
	if len(r.peers) == 0 {
		return yes
	}
	best := no
	for _, p := range r.peers {
		best = max(best, p.is(pod, namespace))
	}
	return best
}

func (p peer) is(pod Pod, namespace string) match {
	if p.block != nil {
		return p.block.holds(pod.IP)
	}
	inside := pod.Namespace == namespace
	if p.namespaces != nil {
		inside = p.namespaces.Matches(labels.Set(pod.NamespaceLabels))
	}
	if inside && p.pods.Matches(labels.Set(pod.Labels)) {
		return yes
	}
	return no
}

func (b *block) holds(ip netip.Addr) match {
	if !ip.IsValid() {
		return perhaps
	}
	if !b.cidr.Contains(ip) {
		return no
	}
	for _, except := range b.except {
		if except.Contains(ip) {
			return no
		}
	}
	return yes
}

// numbers are the ports the rule allows towards destination.
func (r rule) numbers(destination Pod, protocol corev1.Protocol) []PortRange {
	if len(r.ports) == 0 {
		return []PortRange{allPorts}
	}
	var ranges []PortRange
	for _, p := range r.ports {
		if p.protocol != protocol {
			continue
		}
		if p.name == "" {
			ranges = append(ranges, p.numbers)
			continue
		}
		ranges = append(ranges, named(destination, p)...)
	}
	return ranges
}

// named resolves a port name; a name that the destination lacks allows
// nothing towards it.
func named(destination Pod, wanted port) []PortRange {
	var ranges []PortRange
	for _, p := range destination.Ports {
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		if p.Name == wanted.name && protocol == wanted.protocol {
			ranges = append(ranges, PortRange{p.ContainerPort, p.ContainerPort})
		}
	}
	return ranges
}
