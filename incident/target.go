package incident

import "strings"

// Target is what is ill: a workload or a node, in one cluster. Namespace is
// empty for cluster-scoped kinds. Kind is the Kubernetes kind ("Job",
// "PyTorchJob", "Node"), or "Namespace" when an alert names nothing narrower.
type Target struct {
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
}

// ID is the incident id, the same for every alert about this target. It is
// the Temporal workflow id, which makes it the lock: one target, one incident.
func (t Target) ID() string {
	return strings.Join([]string{"incident", t.Cluster, orDash(t.Namespace), strings.ToLower(t.Kind), t.Name}, "/")
}

// String names the target for people: "job training/llama-70b in lab".
func (t Target) String() string {
	name := t.Name
	if t.Namespace != "" {
		name = t.Namespace + "/" + t.Name
	}
	return strings.ToLower(t.Kind) + " " + name + " in " + t.Cluster
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
