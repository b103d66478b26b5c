package diagnosis

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseUnschedulable(t *testing.T) {
	cases := map[string]struct {
		text string
		want Unschedulable
	}{
		"counts, taints, preemption": {
			`0/12 nodes are available: 10 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {nvidia.com/gpu: present}, 3 Insufficient cpu. preemption: 0/12 nodes are available: 12 Preemption is not helpful for scheduling.`,
			Unschedulable{Nodes: 12, Preemption: "0/12 nodes are available: 12 Preemption is not helpful for scheduling.", Reasons: []Refusal{
				{Count: 10, Text: "Insufficient nvidia.com/gpu", Resource: "nvidia.com/gpu"},
				{Count: 2, Text: "node(s) had untolerated taint {nvidia.com/gpu: present}", Taint: "nvidia.com/gpu=present"},
				{Count: 3, Text: "Insufficient cpu", Resource: "cpu"}}}},
		"commas within a reason, as until 1.23": {
			`0/5 nodes are available: 1 node(s) had taint {dedicated: ml, infer}, that the pod didn't tolerate, 4 node(s) didn't match node selector.`,
			Unschedulable{Nodes: 5, Reasons: []Refusal{
				{Count: 1, Text: "node(s) had taint {dedicated: ml, infer}, that the pod didn't tolerate", Taint: "dedicated=ml, infer"},
				{Count: 4, Text: "node(s) didn't match node selector"}}}},
		"counts behind the reasons, as until 1.7": {
			`No nodes are available that match all of the following predicates:: Insufficient nvidia.com/gpu (2), MatchNodeSelector (1).`,
			Unschedulable{Reasons: []Refusal{{Count: 2, Text: "Insufficient nvidia.com/gpu", Resource: "nvidia.com/gpu"}, {Count: 1, Text: "MatchNodeSelector"}}}},
		"of the pod itself": {
			`0/8 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found`,
			Unschedulable{Nodes: 8, Reasons: []Refusal{{Text: "pod has unbound immediate PersistentVolumeClaims. not found"}}}},
		"without a value": {`0/1 nodes are available: 1 node(s) had untolerated taint {gpu: }.`,
			Unschedulable{Nodes: 1, Reasons: []Refusal{{Count: 1, Text: "node(s) had untolerated taint {gpu: }", Taint: "gpu"}}}},
		"cut by the scheduler": {`0/900 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 node(s) had untolerated taint {c ...`,
			Unschedulable{Nodes: 900, Cut: true, Reasons: []Refusal{{Count: 1, Text: "node(s) had untolerated taint {a: b}", Taint: "a=b"}, {Count: 2, Text: "node(s) had untolerated taint {c"}}}},
		"nothing said": {`0/4 nodes are available:`, Unschedulable{Nodes: 4}},
	}
	for name, tc := range cases {
		got, ok := ParseUnschedulable("Warning  FailedScheduling  2m  default-scheduler  " + tc.text)
		if diff := cmp.Diff(tc.want, got); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, ok := ParseUnschedulable("all nodes are available"); ok {
		t.Error("a sentence without counts was read")
	}
}

// TestJudgeUnschedulable: nodes that lack GPUs are none of the pod's business;
// what is said of the others is the cause.
func TestJudgeUnschedulable(t *testing.T) {
	cases := map[string]struct {
		reasons, cause string
		sure           bool
	}{
		"taint of the GPU nodes":             {"2 node(s) had untolerated taint {nvidia.com/gpu: present}, 10 Insufficient nvidia.com/gpu", "untolerated-taint", true},
		"control plane and no GPU":           {"1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 Insufficient nvidia.com/gpu", "insufficient-gpu-capacity", false},
		"affinity to the GPU nodes":          {"1 node(s) didn't match pod affinity rules, 11 Insufficient nvidia.com/gpu", "node-or-pod-affinity-mismatch", true},
		"selector":                           {"12 node(s) didn't match Pod's node affinity/selector", "node-or-pod-affinity-mismatch", true},
		"taint over selector":                {"4 node(s) had untolerated taint {nvidia.com/gpu: present}, 8 node(s) didn't match Pod's node affinity/selector", "untolerated-taint", true},
		"volume elsewhere":                   {"2 node(s) had volume node affinity conflict, 10 Insufficient nvidia.com/gpu", "volume-bind-or-mount-failure", true},
		"claim not bound":                    {"pod has unbound immediate PersistentVolumeClaims", "volume-bind-or-mount-failure", true},
		"plain lack proves nothing":          {"12 Insufficient nvidia.com/gpu", "insufficient-gpu-capacity", false},
		"lack of everything":                 {"12 Insufficient cpu, 12 Insufficient memory, 12 Insufficient nvidia.com/gpu", "insufficient-gpu-capacity", false},
		"slices":                             {"12 Insufficient nvidia.com/mig-1g.10gb", "mig-or-sharing-config", true},
		"a sick node is not the pod's fault": {"1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 11 Insufficient nvidia.com/gpu", "insufficient-gpu-capacity", false},
		"spread":                             {"12 node(s) didn't match pod topology spread constraints", "node-or-pod-affinity-mismatch", true},
	}
	for name, tc := range cases {
		u, ok := ParseUnschedulable("0/12 nodes are available: " + tc.reasons + ". preemption: not eligible due to preemptionPolicy=Never.")
		if !ok {
			t.Fatal(name)
		}
		r := judgeUnschedulable(u)
		if r.Causes[0] != tc.cause || r.Weight >= sure != tc.sure {
			t.Errorf("%s: got %s with %.2f: %s", name, r.Causes[0], r.Weight, r.Meaning)
		}
	}
}
