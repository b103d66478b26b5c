package netpol

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// parse reads the documents of a YAML text as NetworkPolicies of namespace
// training unless they name another.
func parse(t *testing.T, text string) []networkingv1.NetworkPolicy {
	t.Helper()
	var policies []networkingv1.NetworkPolicy
	for _, document := range strings.Split(text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		var policy networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(document), &policy); err != nil {
			t.Fatalf("policy %s: %v", document, err)
		}
		if policy.Namespace == "" {
			policy.Namespace = "training"
		}
		policies = append(policies, policy)
	}
	return policies
}

func pod(name string, pairs ...string) Pod {
	p := Pod{Namespace: "training", Name: name, Labels: map[string]string{}, IP: netip.MustParseAddr("10.0.0.9"),
		NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": "training", "team": "ml"}}
	for i := 0; i < len(pairs); i += 2 {
		p.Labels[pairs[i]] = pairs[i+1]
	}
	return p
}

func (p Pod) in(namespace string, pairs ...string) Pod {
	p.Namespace = namespace
	p.NamespaceLabels = map[string]string{"kubernetes.io/metadata.name": namespace}
	for i := 0; i < len(pairs); i += 2 {
		p.NamespaceLabels[pairs[i]] = pairs[i+1]
	}
	return p
}

func (p Pod) at(ip string) Pod {
	p.IP = netip.Addr{}
	if ip != "" {
		p.IP = netip.MustParseAddr(ip)
	}
	return p
}

func (p Pod) port(name string, protocol corev1.Protocol, number int32) Pod {
	p.Ports = append(p.Ports, corev1.ContainerPort{Name: name, Protocol: protocol, ContainerPort: number})
	return p
}

const denyAll = `
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}`

const denyIngress = `
metadata: {name: deny-in}
spec: {podSelector: {}, policyTypes: [Ingress]}`

// ingressFrom is a policy that isolates ingress of all pods and allows one rule.
func ingressFrom(rule string) string {
	return "metadata: {name: allow}\nspec: {podSelector: {}, policyTypes: [Ingress], ingress: [" + rule + "]}"
}

func egressTo(rule string) string {
	return "metadata: {name: allow}\nspec: {podSelector: {}, policyTypes: [Egress], egress: [" + rule + "]}"
}

func TestRanges(t *testing.T) {
	ephemeral := PortRange{32768, 60999}
	all := []PortRange{ephemeral}
	a, b := pod("a", "app", "llama", "role", "worker"), pod("b", "app", "llama", "role", "master")
	tests := []struct {
		name     string
		policies string
		from, to Pod
		want     []PortRange
		reason   Reason
	}{
		{name: "no policy allows all", from: a, to: b},
		{name: "default deny in both directions", policies: denyAll, from: a, to: b, want: all,
			reason: Reason{Egress: []string{"training/deny"}, Ingress: []string{"training/deny"}}},
		{name: "deny of ingress leaves egress open", policies: denyIngress, from: a, to: b, want: all,
			reason: Reason{Ingress: []string{"training/deny-in"}}},
		{name: "a pod reaches itself", policies: denyAll, from: a, to: a},
		{name: "a policy of another namespace selects nobody here",
			policies: "metadata: {name: x, namespace: other}\nspec: {podSelector: {}, policyTypes: [Ingress, Egress]}", from: a, to: b},
		{name: "only selected pods are isolated", from: a, to: b,
			policies: "metadata: {name: x}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}"},
		{name: "the destination's ingress counts, not the source's", from: a, to: b,
			policies: "metadata: {name: x}\nspec: {podSelector: {matchLabels: {role: worker}}, policyTypes: [Ingress]}"},
		{name: "the source's egress counts", from: a, to: b, want: all, reason: Reason{Egress: []string{"training/x"}},
			policies: "metadata: {name: x}\nspec: {podSelector: {matchLabels: {role: worker}}, policyTypes: [Egress]}"},
		{name: "no policyTypes and no egress rule isolate ingress only", from: a, to: b,
			policies: "metadata: {name: x}\nspec: {podSelector: {matchLabels: {role: worker}}}"},
		{name: "no policyTypes and no rule deny ingress", from: b, to: a, want: all, reason: Reason{Ingress: []string{"training/x"}},
			policies: "metadata: {name: x}\nspec: {podSelector: {matchLabels: {role: worker}}}"},
		{name: "no policyTypes with an egress rule isolates egress too", from: a, to: b, want: all, reason: Reason{Egress: []string{"training/x"}},
			policies: "metadata: {name: x}\nspec: {podSelector: {matchLabels: {role: worker}}, egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}"},
		{name: "an empty rule allows all", policies: ingressFrom("{}"), from: a, to: b},
		{name: "an empty list of rules allows none", from: a, to: b, want: all, reason: Reason{Ingress: []string{"training/x"}},
			policies: "metadata: {name: x}\nspec: {podSelector: {}, ingress: []}"},
		{name: "an empty list of peers is everybody", policies: ingressFrom("{from: [], ports: [{port: 40000}]}"), from: a, to: b,
			want: []PortRange{{32768, 39999}, {40001, 60999}}, reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "an empty list of ports is all ports", policies: ingressFrom("{from: [{podSelector: {matchLabels: {app: llama}}}], ports: []}"), from: a, to: b},
		{name: "an empty peer selector is every pod of the policy's namespace", policies: ingressFrom("{from: [{podSelector: {}}]}"), from: a, to: b},
		{name: "... and of no other", policies: ingressFrom("{from: [{podSelector: {}}]}"), from: a.in("other"), to: b, want: all,
			reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "policies add up", from: a, to: b, policies: denyIngress + "\n---\n" + ingressFrom("{from: [{podSelector: {matchLabels: {role: worker}}}]}")},
		{name: "rules of one policy add up to ranges", from: a, to: b,
			policies: ingressFrom("{ports: [{port: 32768, endPort: 39999}]}, {ports: [{port: 40000, endPort: 50000}]}"),
			want:     []PortRange{{50001, 60999}}, reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "both sides must consent, port by port", from: a, to: b,
			policies: ingressFrom("{ports: [{port: 30000, endPort: 50000}]}") + "\n---\n" + egressTo("{ports: [{port: 40000, endPort: 65535}]}"),
			want:     []PortRange{{32768, 39999}, {50001, 60999}}, reason: Reason{Egress: []string{"training/allow"}, Ingress: []string{"training/allow"}}},
		{name: "the master's port alone is not enough", policies: ingressFrom("{ports: [{port: 29500}]}"), from: a, to: b, want: all,
			reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "a rule for UDP says nothing about TCP", policies: ingressFrom("{ports: [{protocol: UDP}]}"), from: a, to: b, want: all,
			reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "a protocol without a port is all of its ports", policies: ingressFrom("{ports: [{protocol: TCP}]}"), from: a, to: b},
		{name: "matchExpressions In", from: a, to: b,
			policies: ingressFrom("{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, llama]}]}}]}")},
		{name: "matchExpressions NotIn holds for a missing key", from: pod("c"), to: b,
			policies: ingressFrom("{from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}]}")},
		{name: "matchExpressions Exists", from: pod("c"), to: b, want: all, reason: Reason{Ingress: []string{"training/allow"}},
			policies: ingressFrom("{from: [{podSelector: {matchExpressions: [{key: app, operator: Exists}]}}]}")},
		{name: "matchExpressions DoesNotExist", from: pod("c"), to: b,
			policies: ingressFrom("{from: [{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}]}")},
		{name: "matchLabels and matchExpressions must both hold", from: a, to: b, want: all, reason: Reason{Ingress: []string{"training/allow"}},
			policies: ingressFrom("{from: [{podSelector: {matchLabels: {app: llama}, matchExpressions: [{key: role, operator: In, values: [master]}]}}]}")},
		{name: "an empty namespace selector is every namespace", policies: ingressFrom("{from: [{namespaceSelector: {}}]}"), from: a.in("other"), to: b},
		{name: "a namespace selector alone is all pods of those namespaces", from: a.in("other", "team", "ops"), to: b,
			policies: ingressFrom("{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}")},
		{name: "a namespace by its own name", from: a.in("other"), to: b,
			policies: ingressFrom("{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}]}")},
		{name: "a namespace selector does not fall back on the policy's namespace", from: a, to: b, want: all, reason: Reason{Ingress: []string{"training/allow"}},
			policies: ingressFrom("{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}")},
		{name: "both selectors in one peer must hold", from: a.in("other", "team", "ops"), to: b, want: all, reason: Reason{Ingress: []string{"training/allow"}},
			policies: ingressFrom("{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {role: master}}}]}")},
		{name: "in two peers either is enough", from: a.in("other", "team", "ops"), to: b,
			policies: ingressFrom("{from: [{namespaceSelector: {matchLabels: {team: ops}}}, {podSelector: {matchLabels: {role: master}}}]}")},
		{name: "an address block", policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}"), from: a.at("10.1.2.3"), to: b},
		{name: "an address outside of it", policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}"), from: a.at("11.1.2.3"), to: b, want: all,
			reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "an address in the exception", policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}"), from: a.at("10.1.2.3"), to: b,
			want: all, reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "one block's exception does not bind another", from: a.at("10.1.2.3"), to: b,
			policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {ipBlock: {cidr: 10.1.2.0/24}}]}")},
		{name: "an IPv6 block", policies: egressTo("{to: [{ipBlock: {cidr: 'fd00::/8'}}]}"), from: a, to: b.at("fd00::7")},
		{name: "an address block and no address", policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}"), from: a.at(""), to: b,
			reason: Reason{Unknown: "a rule speaks of addresses and the pod has none yet", Ingress: []string{"training/allow"}}},
		{name: "no address, but the other side blocks for sure", from: a.at(""), to: b, want: all,
			policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}") + "\n---\nmetadata: {name: x}\nspec: {podSelector: {}, policyTypes: [Egress]}",
			reason:   Reason{Egress: []string{"training/x"}, Ingress: []string{"training/allow"}}},
		{name: "no address, but a selector allows", from: a.at(""), to: b, policies: ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {}}]}")},
		{name: "a named port of the destination, ingress", policies: ingressFrom("{ports: [{port: nccl}]}"), from: a, to: b.port("nccl", "", 40000),
			want: []PortRange{{32768, 39999}, {40001, 60999}}, reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "a named port of the destination, egress", policies: egressTo("{ports: [{port: nccl}]}"), from: a.port("nccl", "", 33000), to: b.port("nccl", "TCP", 40000),
			want: []PortRange{{32768, 39999}, {40001, 60999}}, reason: Reason{Egress: []string{"training/allow"}}},
		{name: "a named port that the destination lacks", policies: ingressFrom("{ports: [{port: nccl}]}"), from: a, to: b, want: all,
			reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "a named port of another protocol", policies: ingressFrom("{ports: [{port: nccl}]}"), from: a, to: b.port("nccl", corev1.ProtocolUDP, 40000), want: all,
			reason: Reason{Ingress: []string{"training/allow"}}},
		{name: "a pod in the host's network that a policy selects", policies: denyAll, from: Pod{Namespace: "training", Name: "h", HostNetwork: true}, to: b,
			reason: Reason{Unknown: "what a policy does to pods in the host's network is left to the network plugin", Egress: []string{"training/deny"}, Ingress: []string{"training/deny"}}},
		{name: "a pod in the host's network and no policy", from: Pod{Namespace: "training", Name: "h", HostNetwork: true}, to: b},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := Compile(parse(t, test.policies))
			if err != nil {
				t.Fatal(err)
			}
			got, reason := set.Ranges(test.from, test.to, corev1.ProtocolTCP, ephemeral)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("blocked (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.reason, reason); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllowedIsFalseWhenUnknown(t *testing.T) {
	host := Pod{Namespace: "training", Name: "h", HostNetwork: true}
	ok, reason, err := Allowed(parse(t, denyAll), host, pod("b"), corev1.ProtocolTCP, 29500)
	if err != nil || ok || reason.Unknown == "" {
		t.Errorf("got %t, %+v, %v; want not allowed and unknown", ok, reason, err)
	}
}

func TestAllowedOverUDP(t *testing.T) {
	dns := pod("dns", "k8s-app", "kube-dns").in("kube-system")
	policies := parse(t, egressTo("{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{protocol: UDP, port: 53}]}"))
	for _, test := range []struct {
		protocol corev1.Protocol
		port     int32
		want     bool
	}{{corev1.ProtocolUDP, 53, true}, {corev1.ProtocolTCP, 53, false}, {corev1.ProtocolUDP, 54, false}} {
		if got, _, _ := Allowed(policies, pod("a"), dns, test.protocol, test.port); got != test.want {
			t.Errorf("%s %d: got %t, want %t", test.protocol, test.port, got, test.want)
		}
	}
}

func TestCompileNamesTheFault(t *testing.T) {
	tests := map[string]struct{ policy, want string }{
		"bad cidr":            {ingressFrom("{from: [{ipBlock: {cidr: 10.0.0.0}}]}"), "networkpolicy training/allow: spec.ingress[0]: peer 0: ipBlock.cidr:"},
		"bad exception":       {egressTo("{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [x]}}]}"), "spec.egress[0]: peer 0: ipBlock.except[0]:"},
		"endPort alone":       {ingressFrom("{ports: [{endPort: 5}]}"), "port 0: endPort 5 without a port"},
		"endPort beside name": {ingressFrom("{ports: [{port: a, endPort: 5}]}"), `port 0: endPort 5 beside the named port "a"`},
		"endPort before port": {ingressFrom("{ports: [{port: 9, endPort: 5}]}"), "port 0: endPort 5 is before port 9"},
		"bad selector":        {"metadata: {name: x}\nspec: {podSelector: {matchExpressions: [{key: a, operator: Near}]}}", "spec.podSelector:"},
		"bad peer selector":   {ingressFrom("{from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}"), "peer 0: podSelector:"},
		"bad namespace":       {ingressFrom("{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}]}"), "peer 0: namespaceSelector:"},
	}
	for name, test := range tests {
		_, err := Compile(parse(t, test.policy))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want it to contain %q", name, err, test.want)
		}
	}
}

func TestSurveyOfAThousandIndexedPods(t *testing.T) {
	policies := parse(t, denyAll)
	for i := range 40 { // other people's policies, that select other pods
		other := parse(t, ingressFrom("{from: [{podSelector: {matchLabels: {app: web}}}]}"))[0]
		other.Spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("web-", i)}}
		policies = append(policies, other)
	}
	set, err := Compile(policies)
	if err != nil {
		t.Fatal(err)
	}
	var pods []Pod
	for i := range 1000 {
		name := "llama-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		pods = append(pods, pod(name, "app", "llama", "batch.kubernetes.io/job-completion-index", name))
	}
	if classes := set.classes(pods); len(classes) != 1 {
		t.Fatalf("got %d classes, want 1: the index label must not tell pods apart", len(classes))
	}
	got := set.Survey(pods, corev1.ProtocolTCP, PortRange{32768, 60999})
	if got.Directions != 999_000 || got.Blocked != 999_000 || got.Unknown != 0 || len(got.Groups) != 1 {
		t.Errorf("got %d of %d directions, %d unknown, %d groups; want all of 999000 in one group", got.Blocked, got.Directions, got.Unknown, len(got.Groups))
	}
}

func TestSurveyCountsByGroup(t *testing.T) {
	set, err := Compile(parse(t, "metadata: {name: masters}\nspec: {podSelector: {matchLabels: {role: master}}, ingress: [{ports: [{port: 29500}]}]}"))
	if err != nil {
		t.Fatal(err)
	}
	pods := []Pod{pod("m", "role", "master"), pod("w1"), pod("w2"), pod("w3")}
	got := set.Survey(pods, corev1.ProtocolTCP, PortRange{29500, 29500}, PortRange{32768, 60999})
	if got.Directions != 12 || got.Blocked != 3 {
		t.Errorf("got %d of %d, want 3 of 12: only towards the master", got.Blocked, got.Directions)
	}
	if len(got.Groups) != 1 || got.Groups[0].To.Name != "m" || Format(got.Groups[0].Blocked) != "32768-60999" {
		t.Errorf("got groups %+v", got.Groups)
	}
}
