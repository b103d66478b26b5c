package faults

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"gpumedic/lab/faults/policy"
)

// Ephemeral ports as Linux hands them out by default.
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
	dnsPort        = 53
)

// dial is how an attempt to connect ends.
type dial int

const (
	connected dial = iota
	// rejected: a policy stopped it; the answer comes at once.
	rejected
	// dropped: no answer ever comes.
	dropped
	// refused: nobody listens there.
	refused
)

// reach says how a TCP connection between two pods ends.
func (m *Model) reach(from, to *corev1.Pod, port int32) dial {
	flow := policy.Flow{From: m.view.endpoint(from), To: m.view.endpoint(to), Protocol: corev1.ProtocolTCP, Port: port}
	switch {
	case from.UID == to.UID:
		return connected
	case !m.allowed(flow):
		return rejected
	case m.currentScript().drops(from.Spec.NodeName, to.Spec.NodeName, port):
		return dropped
	}
	return connected
}

// allowed fails closed: a policy that cannot be read lets nothing through.
func (m *Model) allowed(f policy.Flow) bool {
	all, err := m.view.policies.List(labels.Everything())
	if err != nil {
		m.log.Error("policies cannot be listed", "error", err)
		return false
	}
	verdict, err := policy.Evaluate(all, f)
	if err != nil {
		m.log.Error("policy cannot be read", "error", err)
		return false
	}
	return verdict.Allowed
}

// namesAllowed says whether a pod may ask any DNS server, over UDP or TCP.
func (m *Model) namesAllowed(pod *corev1.Pod) bool {
	from := m.view.endpoint(pod)
	for _, server := range m.view.dnsServers() {
		for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
			if m.allowed(policy.Flow{From: from, To: server, Protocol: protocol, Port: dnsPort}) {
				return true
			}
		}
	}
	return false
}

// lookup finds the pod that a name stands for, as the pod's resolver would:
// "host.service", "host.service.namespace" and what the cluster domain adds.
func (m *Model) lookup(from *corev1.Pod, name string) (*corev1.Pod, bool) {
	parts := strings.Split(strings.TrimSuffix(name, "."), ".")
	switch {
	case len(parts) < 2:
		return nil, false
	case len(parts) == 2:
		return m.view.named(from.Namespace, parts[0], parts[1])
	}
	return m.view.named(parts[2], parts[0], parts[1])
}
