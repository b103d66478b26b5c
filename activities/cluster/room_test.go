package cluster

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// spots gives test nodes the spots for pods that real ones have.
func spots(node *corev1.Node) {
	node.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("110")
}

// asked fills in the requests as the API server does.
func asked(pod *corev1.Pod) { trainerOf(pod).Resources.Requests = trainerOf(pod).Resources.Limits }

func cordoned(node *corev1.Node) { node.Spec.Unschedulable = true }

// crew is the job of four ranks on gpu-00 to gpu-03 with further nodes.
func crew(spares int, options ...func(*corev1.Node)) []runtime.Object {
	objects := []runtime.Object{testJob(4)}
	for i := range 4 + spares {
		if i < 4 {
			objects = append(objects, testPod(i, "", asked))
			objects = append(objects, testNode(i, spots))
			continue
		}
		objects = append(objects, testNode(i, append([]func(*corev1.Node){spots}, options...)...))
	}
	return objects
}

func (w *world) isolation(t *testing.T, kind string, names ...string) steps.PlanRemedyResult {
	t.Helper()
	result, err := w.PlanRemedy(t.Context(), steps.PlanRemedyParams{Incident: "i", Remedy: steps.IsolateNode, Risk: incident.RiskHigh,
		Workload: w.ranksEvidence(t, jobTarget), Fabric: testFabric, Blamed: incident.Blamed{Kind: kind, Names: names}})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestRoomAfterAnIsolation: ranks want 4 of 8 GPUs. They may sit closer than
// now where nothing else is left.
func TestRoomAfterAnIsolation(t *testing.T) {
	full := func(node *corev1.Node) { node.Status.Allocatable["nvidia.com/gpu"] = resource.MustParse("2") }
	for name, test := range map[string]struct {
		objects []runtime.Object
		after   string
		says    string
		whyNot  string
	}{
		"a spare node":            {crew(1), "gpu-01 gpu-02 gpu-03 gpu-04", "on gpu-04 instead, and 0 more spare nodes", ""},
		"two spare nodes":         {crew(2), "gpu-01 gpu-02 gpu-03 gpu-04", "and 1 more spare nodes", ""},
		"closer together":         {crew(0), "gpu-01 gpu-02 gpu-03", "on the nodes that they have", ""},
		"spare nodes that do not": {crew(2, cordoned), "gpu-01 gpu-02 gpu-03", "on the nodes that they have", ""},
		"too few GPUs there":      {crew(2, full), "gpu-01 gpu-02 gpu-03", "on the nodes that they have", ""},
	} {
		t.Run(name, func(t *testing.T) {
			result := newWorld(t, test.objects...).isolation(t, "node", "gpu-00")
			var after []string
			for _, node := range result.Plan.Isolation.After {
				after = append(after, node.Name)
			}
			if !result.Possible || strings.Join(after, " ") != test.after {
				t.Errorf("possible %t (%s), afterwards on %v, want %s", result.Possible, result.WhyNot, after, test.after)
			}
			contains(t, result.Plan.Summary, test.says)
		})
	}
}

func TestNoRoomAfterAnIsolation(t *testing.T) {
	alone := func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "llama"}}}}}}
	}
	objects := []runtime.Object{testJob(4)}
	for i := range 4 {
		objects = append(objects, testPod(i, "", alone, asked), testNode(i, spots))
	}
	result := newWorld(t, objects...).isolation(t, "node", "gpu-00")
	if result.Possible {
		t.Error("a plan for ranks that must not share a node, without a spare one")
	}
	contains(t, result.WhyNot, "without gpu-00 only 3 of 4 ranks find room again", "it takes 1 more with", "4 nvidia.com/gpu", "1 rdma/hca_shared_devices_a")
}

// TestOthersPodsTakeRoom: what runs on a spare node is counted, what has ended
// is not.
func TestOthersPodsTakeRoom(t *testing.T) {
	other := func(phase corev1.PodPhase) *corev1.Pod {
		return testPod(4, "other", inPhase(phase), func(pod *corev1.Pod) {
			pod.Namespace, pod.Labels, pod.OwnerReferences = "prod", nil, nil
			trainerOf(pod).Resources.Limits["nvidia.com/gpu"] = resource.MustParse("6")
		}, asked)
	}
	for phase, want := range map[corev1.PodPhase]string{corev1.PodRunning: "gpu-01 gpu-02 gpu-03", corev1.PodPending: "gpu-01 gpu-02 gpu-03", corev1.PodSucceeded: "gpu-01 gpu-02 gpu-03 gpu-04"} {
		result := newWorld(t, append(crew(1), other(phase))...).isolation(t, "node", "gpu-00")
		var after []string
		for _, node := range result.Plan.Isolation.After {
			after = append(after, node.Name)
		}
		if strings.Join(after, " ") != want {
			t.Errorf("beside a pod that is %s: %v, want %s", phase, after, want)
		}
	}
}

func TestFailureDomainsOfAPlan(t *testing.T) {
	marked := func(node *corev1.Node) {
		spots(node)
		node.Spec.Unschedulable, node.Spec.Taints = true, []corev1.Taint{{Key: steps.IsolatedTaint, Effect: corev1.TaintEffectNoSchedule}}
	}
	bare := func(node *corev1.Node) { node.Labels = map[string]string{"kubernetes.io/hostname": node.Name} }
	cpu := func(node *corev1.Node) { node.Status.Allocatable = corev1.ResourceList{} }
	objects := append(crew(2, marked), testNode(6, spots, bare), testNode(8, cpu))
	got := newWorld(t, objects...).isolation(t, "node", "gpu-00", "gpu-02").Plan.Isolation.Domains
	want := []incident.Domain{
		{Kind: "leaf", Name: "leaf-a", Size: 3, Nodes: []string{"gpu-00", "gpu-02"}, Isolated: []string{"gpu-04"}},
		{Kind: "rack", Name: "rack-1", Size: 6, Nodes: []string{"gpu-00", "gpu-02"}, Isolated: []string{"gpu-04", "gpu-05"}},
		{Kind: "cluster", Name: "lab", Size: 7, Nodes: []string{"gpu-00", "gpu-02"}, Isolated: []string{"gpu-04", "gpu-05"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhoElseActsOnANode: their marks keep us off, what was there before them
// does not.
func TestWhoElseActsOnANode(t *testing.T) {
	taint := func(key string) func(*corev1.Node) {
		return func(node *corev1.Node) {
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	label := func(key, value string) func(*corev1.Node) {
		return func(node *corev1.Node) { node.Labels[key] = value }
	}
	for name, test := range map[string]struct {
		alter func(*corev1.Node)
		says  string // "" = nobody
	}{
		"nobody":                 {func(*corev1.Node) {}, ""},
		"a GPU node's own taint": {taint("nvidia.com/gpu"), ""},
		"the node is not Ready":  {taint("node.kubernetes.io/not-ready"), ""},
		"a person's cordon":      {cordoned, "somebody else has cordoned it"},
		"autoscaler":             {taint("ToBeDeletedByClusterAutoscaler"), "Cluster Autoscaler removes it"},
		"Karpenter":              {taint("karpenter.sh/disrupted"), "Karpenter removes it"},
		"NVSentinel":             {label("dgxc.nvidia.com/nvsentinel-state", "draining"), "NVSentinel repairs it (dgxc.nvidia.com/nvsentinel-state=draining)"},
		"NVSentinel is done":     {label("dgxc.nvidia.com/nvsentinel-state", "remediation-succeeded"), ""},
		"dead by an operator":    {taint("node.kubernetes.io/out-of-service"), "declared the node out of service"},
	} {
		t.Run(name, func(t *testing.T) {
			node := testNode(0, test.alter)
			got := strings.Join(actedOn(asUnstructured(t, node)), "; ")
			if (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("%q, want %q", got, test.says)
			}
		})
	}
}

// TestASilentNodeIsNotWaitedFor: its pods cannot be seen to go.
func TestASilentNodeIsNotWaitedFor(t *testing.T) {
	objects := crew(1)
	node := objects[2].(*corev1.Node)
	node.Status.Conditions[0].Status = corev1.ConditionUnknown
	w := newWorld(t, objects...)
	result := w.isolation(t, "node", "gpu-00")
	if !result.Possible || !slices.Equal(result.Plan.Isolation.Unheard, []string{"gpu-00"}) {
		t.Fatalf("possible %t (%s), unheard %v", result.Possible, result.WhyNot, result.Plan.Isolation.Unheard)
	}
	now := metav1.NewTime(midday)
	for _, name := range []string{"llama-70b-1-aaaaa", "llama-70b-2-aaaaa", "llama-70b-3-aaaaa"} {
		if err := w.kube.CoreV1().Pods("training").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stuck, err := w.kube.CoreV1().Pods("training").Get(t.Context(), "llama-70b-0-aaaaa", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stuck.DeletionTimestamp = &now
	if _, err := w.kube.CoreV1().Pods("training").Update(t.Context(), stuck, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func(unheard ...string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 3*settle)
		defer cancel()
		_, err := w.awaitPodsGone(ctx, steps.WorkloadParams{Target: jobTarget, TargetUID: "job-uid", Unheard: unheard})
		return err
	}
	if err := gone(); err == nil {
		t.Error("a pod that ends on a node which answers was not waited for")
	}
	if err := gone("gpu-00"); err != nil {
		t.Errorf("waited for a pod that cannot go: %v", err)
	}
}
