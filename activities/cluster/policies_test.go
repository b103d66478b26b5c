package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	discoveryfake "k8s.io/client-go/discovery/fake"

	"gpumedic/activities/cluster/netpol"
	"gpumedic/incident"
)

// allowWithin opens TCP on some ports between the pods of a namespace.
func allowWithin(name string, ports ...networkingv1.NetworkPolicyPort) *networkingv1.NetworkPolicy {
	peer := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training"}, Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: peer, Ports: ports}},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{To: peer, Ports: ports}}}}
}

func tcp(first, last int32) networkingv1.NetworkPolicyPort {
	protocol, port := corev1.ProtocolTCP, intstr.FromInt32(first)
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port, EndPort: &last}
}

func allowDNS() *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "allow-dns", Namespace: "training"}, Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{"Egress"}, Egress: []networkingv1.NetworkPolicyEgressRule{dnsRule()}}}
}

func TestCheckPolicies(t *testing.T) {
	host := func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }
	tests := []struct {
		name     string
		policies []runtime.Object
		edit     func(*corev1.Pod)
		ranks    incident.State
		value    string
		subject  string
		why      []string
		dns      incident.State
	}{
		{name: "no policies", ranks: incident.No, value: "0 of 12 directions", subject: "job/llama-70b", dns: incident.No},
		{name: "default deny", policies: []runtime.Object{denyAll("training")}, ranks: incident.Yes, value: "12 of 12 directions", subject: "networkpolicy/deny",
			why: []string{"networkpolicy deny isolates ingress and egress", "TCP 32768-60999 from llama-70b-0-aaaaa to llama-70b-1-aaaaa is blocked", "12 of 12"}, dns: incident.Yes},
		{name: "deny and allow within", policies: []runtime.Object{denyAll("training"), allowWithin("within", tcp(1, 65535)), allowDNS()},
			ranks: incident.No, value: "0 of 12 directions", subject: "job/llama-70b", dns: incident.No},
		{name: "only the master's port is open", policies: []runtime.Object{allowWithin("master", tcp(29500, 29500))}, edit: withEnv("MASTER_PORT", "29500"),
			ranks: incident.Yes, value: "12 of 12 directions", subject: "networkpolicy/master", why: []string{"TCP 32768-60999"}, dns: incident.Yes},
		{name: "all but the master's port is open", policies: []runtime.Object{allowWithin("within", tcp(32768, 60999))}, edit: withEnv("MASTER_PORT", "29500"),
			ranks: incident.Yes, value: "12 of 12 directions", subject: "networkpolicy/within", why: []string{"TCP 29500 from"}, dns: incident.Yes},
		{name: "another namespace's policy", policies: []runtime.Object{denyAll("other")}, ranks: incident.No, value: "0 of 12 directions", subject: "job/llama-70b", dns: incident.No},
		{name: "host network and a policy", policies: []runtime.Object{denyAll("training")}, edit: host, ranks: incident.Unknown, value: "0 of 12 directions", subject: "job/llama-70b",
			why: []string{"host's network"}, dns: incident.Unknown},
		{name: "host network and no policy", edit: host, ranks: incident.No, value: "0 of 12 directions", subject: "job/llama-70b", why: []string{"NetworkPolicies do not apply"}, dns: incident.No},
		{name: "the DNS pods' own policy", policies: []runtime.Object{denyAll("kube-system")}, ranks: incident.No, value: "0 of 12 directions", subject: "job/llama-70b", dns: incident.Yes},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			edit := test.edit
			if edit == nil {
				edit = func(*corev1.Pod) {}
			}
			w := newWorld(t, networked(gang(4, edit), test.policies...)...)
			result := w.checked(t, w.CheckPolicies)
			ranks, dns := only(t, result, incident.PolicyBlocksRanks), only(t, result, incident.PolicyBlocksDNS)
			if ranks.State != test.ranks || ranks.Value != test.value || ranks.Subject != test.subject {
				t.Errorf("ranks: got %s, %q about %s; want %s, %q about %s (%s)", ranks.State, ranks.Value, ranks.Subject, test.ranks, test.value, test.subject, ranks.Why)
			}
			contains(t, ranks.Why, test.why...)
			if dns.State != test.dns {
				t.Errorf("DNS: got %s, want %s (%s)", dns.State, test.dns, dns.Why)
			}
		})
	}
}

func TestCheckPoliciesOfRanksThatAreGone(t *testing.T) {
	w := newWorld(t, networked([]runtime.Object{testJob(4)}, denyAll("training"))...)
	finding := only(t, w.checked(t, w.CheckPolicies), incident.PolicyBlocksRanks)
	if finding.State != incident.Yes || finding.Value != "12 of 12 directions" {
		t.Errorf("got %s, %q", finding.State, finding.Value)
	}
	contains(t, finding.Why, "4 of 4 ranks have no pod now")
}

func TestCheckPoliciesThatCannotBeRead(t *testing.T) {
	w := newWorld(t, networked(gang(4))...)
	w.refuse("list", "networkpolicies", "networking.k8s.io")
	for _, finding := range w.checked(t, w.CheckPolicies).Findings {
		if finding.State != incident.Unknown {
			t.Errorf("%s: got %s", finding.ID, finding.State)
		}
		contains(t, finding.Why, "listing networkpolicies of namespace training", `verbs ["list"]`)
	}
}

func TestCheckPoliciesNeedsNamespaceLabelsOnlyWhenAsked(t *testing.T) {
	byTeam := allowWithin("team", tcp(1, 65535))
	byTeam.Spec.Ingress[0].From = []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "ml"}}}}
	for name, test := range map[string]struct {
		policy runtime.Object
		want   incident.State
	}{"asked": {byTeam, incident.Unknown}, "not asked": {denyAll("training"), incident.Yes}} {
		w := newWorld(t, networked(gang(2), test.policy)...)
		w.refuse("get", "namespaces", "")
		if finding := only(t, w.checked(t, w.CheckPolicies), incident.PolicyBlocksRanks); finding.State != test.want {
			t.Errorf("%s: got %s, want %s (%s)", name, finding.State, test.want, finding.Why)
		}
	}
}

func TestForeignPoliciesAreUnknown(t *testing.T) {
	lockdown := customObject("cilium.io/v2", "CiliumNetworkPolicy", "lockdown", "c-uid", "")
	for name, test := range map[string]struct {
		objects []runtime.Object
		want    []incident.State
	}{"none": {nil, []incident.State{incident.No}}, "one": {[]runtime.Object{lockdown}, []incident.State{incident.No, incident.Unknown}}} {
		w := newWorld(t, networked(gang(2), test.objects...)...)
		w.kube.Discovery().(*discoveryfake.FakeDiscovery).Resources = []*metav1.APIResourceList{
			{GroupVersion: "cilium.io/v2", APIResources: []metav1.APIResource{{Name: "ciliumnetworkpolicies", Kind: "CiliumNetworkPolicy", Namespaced: true}}}}
		var got []incident.State
		for _, finding := range all(w.checked(t, w.CheckPolicies), incident.PolicyBlocksRanks) {
			got = append(got, finding.State)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMasterPorts(t *testing.T) {
	pod := testPod(0, "")
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PET_RDZV_ENDPOINT", Value: "llama-0:29400"}, {Name: "MASTER_PORT", Value: "many"}}
	pod.Spec.Containers[0].Command = []string{"torchrun", "--rdzv_endpoint=llama-0.llama:29401", "--master-port", "29500", "train.py"}
	got := masterPorts([]corev1.Pod{*pod})
	if want := "29400-29401, 29500"; netpol.Format(got) != want {
		t.Errorf("got %s, want %s", netpol.Format(got), want)
	}
}
