package netpol

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// naive answers one question about one port by the words of the API's
// documentation, with no ranges, no parsing ahead and no sharing.
func naive(policies []networkingv1.NetworkPolicy, from, to Pod, protocol corev1.Protocol, number int32) bool {
	if from.Name == to.Name && from.Namespace == to.Namespace {
		return true
	}
	outIsolated, outAllowed, inIsolated, inAllowed := false, false, false, false
	for _, p := range policies {
		types := p.Spec.PolicyTypes
		if len(types) == 0 {
			types = []networkingv1.PolicyType{"Ingress"}
			if len(p.Spec.Egress) > 0 {
				types = append(types, "Egress")
			}
		}
		for _, kind := range types {
			if kind == "Egress" && p.Namespace == from.Namespace && naiveSelects(p.Spec.PodSelector, from.Labels) {
				outIsolated = true
				for _, r := range p.Spec.Egress {
					outAllowed = outAllowed || naivePeers(r.To, to, p.Namespace) && naivePorts(r.Ports, to, protocol, number)
				}
			}
			if kind == "Ingress" && p.Namespace == to.Namespace && naiveSelects(p.Spec.PodSelector, to.Labels) {
				inIsolated = true
				for _, r := range p.Spec.Ingress {
					inAllowed = inAllowed || naivePeers(r.From, from, p.Namespace) && naivePorts(r.Ports, to, protocol, number)
				}
			}
		}
	}
	return (!outIsolated || outAllowed) && (!inIsolated || inAllowed)
}

func naiveSelects(s metav1.LabelSelector, labels map[string]string) bool {
	for key, value := range s.MatchLabels {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		have, ok := labels[e.Key]
		listed := false
		for _, v := range e.Values {
			listed = listed || ok && have == v
		}
		holds := map[metav1.LabelSelectorOperator]bool{"In": listed, "NotIn": !listed, "Exists": ok, "DoesNotExist": !ok}[e.Operator]
		if !holds {
			return false
		}
	}
	return true
}

func naivePeers(peers []networkingv1.NetworkPolicyPeer, pod Pod, namespace string) bool {
	for _, p := range peers {
		if p.IPBlock != nil {
			inside := netip.MustParsePrefix(p.IPBlock.CIDR).Contains(pod.IP)
			for _, e := range p.IPBlock.Except {
				inside = inside && !netip.MustParsePrefix(e).Contains(pod.IP)
			}
			if inside {
				return true
			}
			continue
		}
		inNamespace := pod.Namespace == namespace
		if p.NamespaceSelector != nil {
			inNamespace = naiveSelects(*p.NamespaceSelector, pod.NamespaceLabels)
		}
		if inNamespace && (p.PodSelector == nil || naiveSelects(*p.PodSelector, pod.Labels)) {
			return true
		}
	}
	return len(peers) == 0
}

func naivePorts(ports []networkingv1.NetworkPolicyPort, to Pod, protocol corev1.Protocol, number int32) bool {
	for _, p := range ports {
		if p.Protocol == nil && protocol != "TCP" || p.Protocol != nil && *p.Protocol != protocol {
			continue
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			for _, c := range to.Ports {
				if c.Name == p.Port.StrVal && c.Protocol == protocol && c.ContainerPort == number {
					return true
				}
			}
		case p.EndPort == nil && p.Port.IntVal == number, p.EndPort != nil && p.Port.IntVal <= number && number <= *p.EndPort:
			return true
		}
	}
	return len(ports) == 0
}

// world makes random policies and pods out of few labels, addresses and
// ports, so that they meet often.
type world struct{ *rand.Rand }

func (w world) pick(of ...string) string { return of[w.IntN(len(of))] }

func (w world) selector() metav1.LabelSelector {
	var s metav1.LabelSelector
	if w.IntN(3) == 0 {
		s.MatchLabels = map[string]string{w.pick("a", "b"): w.pick("1", "2")}
	}
	if w.IntN(3) == 0 {
		e := metav1.LabelSelectorRequirement{Key: w.pick("a", "b"), Operator: metav1.LabelSelectorOperator(w.pick("In", "NotIn", "Exists", "DoesNotExist"))}
		if e.Operator == "In" || e.Operator == "NotIn" {
			e.Values = []string{w.pick("1", "2")}
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func (w world) peers() []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for range w.IntN(3) {
		var p networkingv1.NetworkPolicyPeer
		if w.IntN(4) == 0 {
			p.IPBlock = &networkingv1.IPBlock{CIDR: w.pick("10.0.0.0/30", "10.0.0.0/31", "0.0.0.0/0")}
			if w.IntN(2) == 0 {
				p.IPBlock.Except = []string{w.pick("10.0.0.0/31", "10.0.0.2/32")}
			}
			peers = append(peers, p)
			continue
		}
		shape := w.IntN(3)
		if shape != 0 {
			s := w.selector()
			p.PodSelector = &s
		}
		if shape != 1 {
			s := w.selector()
			p.NamespaceSelector = &s
		}
		peers = append(peers, p)
	}
	return peers
}

func (w world) ports() []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	for range w.IntN(3) {
		var p networkingv1.NetworkPolicyPort
		if w.IntN(2) == 0 {
			protocol := corev1.Protocol(w.pick("TCP", "UDP"))
			p.Protocol = &protocol
		}
		switch w.IntN(4) {
		case 0:
			name := intstr.FromString(w.pick("x", "y"))
			p.Port = &name
		case 1, 2:
			first := intstr.FromInt32(int32(1 + w.IntN(30)))
			p.Port = &first
			if w.IntN(2) == 0 {
				last := first.IntVal + int32(w.IntN(10))
				p.EndPort = &last
			}
		}
		ports = append(ports, p)
	}
	return ports
}

func (w world) policy(i int) networkingv1.NetworkPolicy {
	p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), Namespace: w.pick("n", "m")}}
	p.Spec.PodSelector = w.selector()
	for _, kind := range []networkingv1.PolicyType{"Ingress", "Egress"} {
		if w.IntN(2) == 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, kind)
		}
	}
	for range w.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: w.peers(), Ports: w.ports()})
	}
	for range w.IntN(3) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: w.peers(), Ports: w.ports()})
	}
	return p
}

func (w world) pod(i int) Pod {
	p := Pod{Namespace: w.pick("n", "m"), Name: fmt.Sprint("pod", i), IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(w.IntN(5))})}
	p.NamespaceLabels = map[string]string{"a": map[string]string{"n": "1", "m": "2"}[p.Namespace]}
	p.Labels = map[string]string{}
	for _, key := range []string{"a", "b"} {
		if w.IntN(2) == 0 {
			p.Labels[key] = w.pick("1", "2")
		}
	}
	for _, name := range []string{"x", "y"} {
		if w.IntN(2) == 0 {
			p.Ports = append(p.Ports, corev1.ContainerPort{Name: name, Protocol: corev1.Protocol(w.pick("TCP", "UDP")), ContainerPort: int32(1 + w.IntN(40))})
		}
	}
	return p
}

// TestAgreesWithNaiveEvaluator compares ranges and surveys with the naive
// evaluator, port by port and pair by pair.
func TestAgreesWithNaiveEvaluator(t *testing.T) {
	asked := PortRange{1, 40}
	for seed := range uint64(1500) {
		w := world{rand.New(rand.NewPCG(seed, 7))}
		var policies []networkingv1.NetworkPolicy
		for i := range w.IntN(5) {
			policies = append(policies, w.policy(i))
		}
		var pods []Pod
		for i := range 5 {
			pods = append(pods, w.pod(i))
		}
		set, err := Compile(policies)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, protocol := range []corev1.Protocol{"TCP", "UDP"} {
			blockedPairs := 0
			for _, from := range pods {
				for _, to := range pods {
					ranges, _ := set.Ranges(from, to, protocol, asked)
					if disagreement := compare(policies, from, to, protocol, asked, ranges); disagreement != "" {
						t.Fatalf("seed %d, %s to %s over %s: %s", seed, from.Name, to.Name, protocol, disagreement)
					}
					if len(ranges) > 0 {
						blockedPairs++
					}
				}
			}
			if survey := set.Survey(pods, protocol, asked); survey.Blocked != blockedPairs {
				t.Fatalf("seed %d over %s: survey says %d blocked, the pairs one by one %d", seed, protocol, survey.Blocked, blockedPairs)
			}
		}
	}
}

func compare(policies []networkingv1.NetworkPolicy, from, to Pod, protocol corev1.Protocol, asked PortRange, ranges []PortRange) string {
	blocked := map[int32]bool{}
	for i, r := range ranges {
		if i > 0 && r.First <= ranges[i-1].Last+1 {
			return fmt.Sprintf("ranges %v are not merged", ranges)
		}
		for n := r.First; n <= r.Last; n++ {
			blocked[n] = true
		}
	}
	for n := asked.First; n <= asked.Last; n++ {
		if want := !naive(policies, from, to, protocol, n); blocked[n] != want {
			return fmt.Sprintf("port %d: blocked %t, naive evaluator says %t", n, blocked[n], want)
		}
	}
	return ""
}
