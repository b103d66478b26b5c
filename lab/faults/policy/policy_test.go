package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// policies reads specs, each a document; their names are a, b, c in namespace ns.
func policies(t *testing.T, specs ...string) []*netv1.NetworkPolicy {
	t.Helper()
	var all []*netv1.NetworkPolicy
	for i, spec := range specs {
		p := &netv1.NetworkPolicy{}
		p.Namespace, p.Name = "ns", string(rune('a'+i))
		if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
			t.Fatalf("spec %d: %v", i, err)
		}
		all = append(all, p)
	}
	return all
}

func pod(namespace, app, addr string) Endpoint {
	return Endpoint{
		Namespace: namespace, NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": namespace, "team": namespace + "-team"},
		Labels: map[string]string{"app": app, "tier": app + "-tier"}, Addr: netip.MustParseAddr(addr), Node: "node-" + addr,
		Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}},
	}
}

// host is a pod in its node's network.
func host(node string) Endpoint {
	e := pod("ns", "host", "192.168.0.9")
	e.HostNetwork, e.Node = true, node
	return e
}

var (
	client   = pod("ns", "client", "10.0.0.1")
	server   = pod("ns", "server", "10.0.0.2")
	stranger = pod("other", "client", "10.0.9.1")
)

func tcp(from, to Endpoint, port int32) Flow {
	return Flow{From: from, To: to, Protocol: corev1.ProtocolTCP, Port: port}
}

func TestEvaluate(t *testing.T) {
	const (
		denyIn  = "podSelector: {}\npolicyTypes: [Ingress]"
		denyOut = "podSelector: {}\npolicyTypes: [Egress]"
		denyAll = "podSelector: {}\npolicyTypes: [Ingress, Egress]"
	)
	fromClients := `
podSelector: {matchLabels: {app: server}}
ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]`
	cases := []struct {
		name  string
		specs []string
		flow  Flow
		want  []string // stopped; nil = allowed
	}{
		{"no policy: everything flows", nil, tcp(client, server, 80), nil},
		{"default deny ingress stops what comes in", []string{denyIn}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"default deny ingress leaves what goes out", []string{denyIn}, tcp(client, stranger, 80), nil},
		{"default deny egress stops what goes out", []string{denyOut}, tcp(client, stranger, 80), []string{"egress of ns/a"}},
		{"default deny egress leaves what comes in", []string{denyOut}, tcp(stranger, server, 80), nil},
		{"both ends must consent", []string{denyAll}, tcp(client, server, 80), []string{"egress of ns/a", "ingress of ns/a"}},
		{"a policy of another namespace selects nobody here", []string{denyAll}, tcp(stranger, stranger, 80), nil},
		{"an unselected pod is not isolated", []string{"podSelector: {matchLabels: {app: db}}"}, tcp(client, server, 80), nil},
		{"without types: ingress is isolated", []string{"podSelector: {}"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"without types and egress rules: egress is not", []string{"podSelector: {}"}, tcp(client, stranger, 80), nil},
		{"without types but with egress rules: egress is isolated",
			[]string{"podSelector: {}\negress: [{ports: [{port: 443}]}]"}, tcp(client, stranger, 80), []string{"egress of ns/a"}},
		{"types are taken as given: egress rules without the type do nothing",
			[]string{"podSelector: {}\npolicyTypes: [Ingress]\negress: [{ports: [{port: 443}]}]\ningress: [{}]"}, tcp(client, server, 80), nil},
		{"an empty rule allows all", []string{"podSelector: {}\ningress: [{}]"}, tcp(stranger, server, 80), nil},
		{"an empty list of rules allows nothing", []string{"podSelector: {}\ningress: []"}, tcp(client, server, 80), []string{"ingress of ns/a"}},

		{"policies add up", []string{denyIn, fromClients}, tcp(client, server, 80), nil},
		{"in any order", []string{fromClients, denyIn}, tcp(client, server, 80), nil},
		{"a peer by pod selector is one of the policy's own namespace", []string{fromClients}, tcp(stranger, server, 80), []string{"ingress of ns/a"}},
		{"all isolating policies are named", []string{denyIn, fromClients}, tcp(stranger, server, 80), []string{"ingress of ns/a", "ingress of ns/b"}},

		{"a namespace selector takes all its pods",
			[]string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: other-team}}}]}]"}, tcp(stranger, server, 80), nil},
		{"and not those of the own namespace",
			[]string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: other-team}}}]}]"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"an empty namespace selector takes all namespaces",
			[]string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {}}]}]"}, tcp(stranger, server, 80), nil},
		{"namespace and pod selector of one peer must both match",
			[]string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: other-team}}, podSelector: {matchLabels: {app: db}}}]}]"},
			tcp(stranger, server, 80), []string{"ingress of ns/a"}},
		{"as two peers one is enough",
			[]string{"podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: other-team}}}, {podSelector: {matchLabels: {app: db}}}]}]"},
			tcp(stranger, server, 80), nil},

		{"expression In", []string{"podSelector: {matchExpressions: [{key: app, operator: In, values: [server, db]}]}"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"expression NotIn", []string{"podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [server, db]}]}"}, tcp(client, server, 80), nil},
		{"expression NotIn takes pods without the label", []string{"podSelector: {matchExpressions: [{key: absent, operator: NotIn, values: [x]}]}"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"expression Exists", []string{"podSelector: {matchExpressions: [{key: tier, operator: Exists}]}"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"expression DoesNotExist", []string{"podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}"}, tcp(client, server, 80), nil},
		{"labels and expressions must all match", []string{"podSelector: {matchLabels: {app: server}, matchExpressions: [{key: tier, operator: In, values: [gold]}]}"}, tcp(client, server, 80), nil},

		{"a block takes its addresses", []string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 10.0.0.0/16}}]}]"}, tcp(stranger, server, 80), nil},
		{"but for the exceptions", []string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.9.0/24]}}]}]"}, tcp(stranger, server, 80), []string{"ingress of ns/a"}},
		{"an address outside of the block", []string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 172.16.0.0/12}}]}]"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"blocks work for egress too", []string{"podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 10.0.9.0/24}}]}]"}, tcp(client, stranger, 80), nil},
		{"no block matches a pod without address",
			[]string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]"}, tcp(func() Endpoint { e := client; e.Addr = netip.Addr{}; return e }(), server, 80), []string{"ingress of ns/a"}},

		{"the port decides", []string{"podSelector: {}\ningress: [{ports: [{port: 443}]}]"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"a port alone means TCP", []string{"podSelector: {}\ningress: [{ports: [{port: 80}]}]"}, Flow{From: client, To: server, Protocol: corev1.ProtocolUDP, Port: 80}, []string{"ingress of ns/a"}},
		{"a protocol without port means all its ports", []string{"podSelector: {}\ningress: [{ports: [{protocol: UDP}]}]"}, Flow{From: client, To: server, Protocol: corev1.ProtocolUDP, Port: 4791}, nil},
		{"a range holds its first port", []string{"podSelector: {}\ningress: [{ports: [{port: 32768, endPort: 60999}]}]"}, tcp(client, server, 32768), nil},
		{"and its last", []string{"podSelector: {}\ningress: [{ports: [{port: 32768, endPort: 60999}]}]"}, tcp(client, server, 60999), nil},
		{"and not the next", []string{"podSelector: {}\ningress: [{ports: [{port: 32768, endPort: 60999}]}]"}, tcp(client, server, 61000), []string{"ingress of ns/a"}},
		{"a name is the port of the destination's container", []string{"podSelector: {}\ningress: [{ports: [{port: web}]}]"}, tcp(client, server, 8080), nil},
		{"of another port it is not", []string{"podSelector: {}\ningress: [{ports: [{port: web}]}]"}, tcp(client, server, 80), []string{"ingress of ns/a"}},
		{"a name needs the protocol, too", []string{"podSelector: {}\ningress: [{ports: [{port: dns}]}]"}, tcp(client, server, 53), []string{"ingress of ns/a"}},
		{"also in egress the name is the destination's",
			[]string{"podSelector: {}\npolicyTypes: [Egress]\negress: [{ports: [{port: web}]}]"}, tcp(func() Endpoint { e := client; e.Ports = nil; return e }(), stranger, 8080), nil},
		{"peer and port of one rule must both match",
			[]string{"podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 443}]}, {from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 80}]}]"},
			tcp(client, server, 80), []string{"ingress of ns/a"}},

		{"a pod in the host's network is not selected", []string{denyAll}, tcp(host("node-x"), stranger, 80), nil},
		{"and matches no pod selector", []string{"podSelector: {}\ningress: [{from: [{podSelector: {}}]}]"}, tcp(host("node-x"), server, 80), []string{"ingress of ns/a"}},
		{"but its node's address block", []string{"podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 192.168.0.0/24}}]}]"}, tcp(host("node-x"), server, 80), nil},
		{"a node always reaches its own pods", []string{denyAll}, tcp(host(server.Node), server, 80), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Evaluate(policies(t, c.specs...), c.flow)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Verdict{Allowed: c.want == nil, Stopped: c.want}, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvaluateRefusesWhatNoServerStores(t *testing.T) {
	for want, spec := range map[string]string{
		"pod selector of ns/a: ":                                "podSelector: {matchExpressions: [{key: app, operator: Near}]}",
		`ingress rule 0 of ns/a: address block "10.0.0.0/99": `: "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: 10.0.0.0/99}}]}]",
		"ingress rule 0 of ns/a: ":                              "podSelector: {}\ningress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In}]}}]}]",
	} {
		_, err := Evaluate(policies(t, spec), tcp(client, server, 80))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
