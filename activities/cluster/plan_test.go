package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

func (w *world) planned(t *testing.T, remedy string, target incident.Target, testJobs ...string) steps.PlanRemedyResult {
	t.Helper()
	result, err := w.PlanRemedy(t.Context(), steps.PlanRemedyParams{Incident: "i", Remedy: remedy, Risk: incident.RiskMedium,
		Workload: w.ranksEvidence(t, target), Fabric: testFabric, TestJobs: testJobs})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestPlanPrice(t *testing.T) {
	running := func(pod *corev1.Pod) {
		started := metav1.NewTime(midday.Add(-90 * time.Minute))
		pod.Status.StartTime = &started
	}
	w := newWorld(t, networked(gang(4, running), denyAll("training"))...)
	plan := w.planned(t, steps.AllowJobTraffic, jobTarget).Plan
	if plan.PodsRestarted != 4 || plan.GPUHoursLost != 24 { // 4 ranks, 4 GPUs, 1.5 hours
		t.Errorf("got %d pods and %v GPU-hours, want 4 and 24", plan.PodsRestarted, plan.GPUHoursLost)
	}
	contains(t, plan.Summary, "restart 4 ranks", "checkpoint", "24.00 GPU-hours")
	if plan.Wanted.Transport != "IB" {
		t.Errorf("wanted %q: the pods request RDMA and their nodes offer it", plan.Wanted.Transport)
	}
}

func TestPolicyPlanIsNarrow(t *testing.T) {
	ingressOnly := denyAll("training")
	ingressOnly.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress"}
	someRanks := denyAll("training")
	someRanks.Spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{batchv1.JobCompletionIndexAnnotation: "1"}}
	indexed := func(pod *corev1.Pod) {
		pod.Labels[batchv1.JobCompletionIndexAnnotation] = pod.Annotations[batchv1.JobCompletionIndexAnnotation]
	}
	tests := []struct {
		name     string
		policies []runtime.Object
		possible bool
		whyNot   []string
		has      []string
		hasNot   []string
	}{
		{name: "only the blocked direction", policies: []runtime.Object{ingressOnly}, possible: true, has: []string{"+  - Ingress"}, hasNot: []string{"Egress", "kube-dns"}},
		{name: "DNS where it is blocked", policies: []runtime.Object{denyAll("training")}, possible: true, has: []string{"+  - Ingress", "+  - Egress", "k8s-app: kube-dns"}},
		{name: "no DNS where it is open", policies: []runtime.Object{denyAll("training"), allowDNS()}, possible: true, has: []string{"+  - Egress"}, hasNot: []string{"kube-dns"}},
		{name: "never closes what is open", policies: []runtime.Object{someRanks}, whyNot: []string{"rank llama-70b-0-aaaaa is free in ingress today", "is free in egress today"}},
		{name: "nothing is blocked", whyNot: []string{"no NetworkPolicy blocks traffic between the ranks"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, networked(gang(3, indexed), test.policies...)...)
			result := w.planned(t, steps.AllowJobTraffic, jobTarget, "test-b", "test-a")
			if result.Possible != test.possible {
				t.Errorf("possible is %t: %s", result.Possible, result.WhyNot)
			}
			contains(t, result.WhyNot, test.whyNot...)
			contains(t, result.Plan.Diff, test.has...)
			for _, word := range test.hasNot {
				if strings.Contains(result.Plan.Diff, word) {
					t.Errorf("the policy has %q, which nobody needs:\n%s", word, result.Plan.Diff)
				}
			}
		})
	}
}

func TestReasonsAgainstRestart(t *testing.T) {
	condition := func(kind batchv1.JobConditionType) func(*batchv1.Job) {
		return func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"}}
		}
	}
	yes := true
	tests := map[string]struct {
		edit func(*batchv1.Job)
		why  string
	}{
		"failed":    {condition(batchv1.JobFailed), "has ended (condition Failed, BackoffLimitExceeded)"},
		"complete":  {condition(batchv1.JobComplete), "has ended (condition Complete"},
		"some done": {func(job *batchv1.Job) { job.Status.CompletedIndexes = "0-1" }, "ranks 0-1"},
		"suspended": {func(job *batchv1.Job) { job.Spec.Suspend = &yes }, "is suspended already"},
		"kueue":     {func(job *batchv1.Job) { job.Labels = map[string]string{kueueQueue: "gold"} }, "Kueue (queue gold)"},
		"argo":      {func(job *batchv1.Job) { job.Labels = map[string]string{"argocd.argoproj.io/instance": "llm"} }, "Argo CD"},
		"flux":      {func(job *batchv1.Job) { job.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "llm"} }, "Flux"},
		"being ended": {func(job *batchv1.Job) {
			job.DeletionTimestamp = &metav1.Time{Time: midday}
			job.Finalizers = []string{"x/y"}
		}, "is being deleted"},
	}
	for name, test := range tests {
		objects := networked(gang(2), denyAll("training"))
		test.edit(objects[0].(*batchv1.Job))
		for _, remedy := range []string{steps.AllowJobTraffic, steps.RestoreRDMAResource} {
			w := newWorld(t, objects...)
			w.serverVersion("v1.37.2")
			w.applyNeedsSuspension()
			result := w.planned(t, remedy, jobTarget)
			if result.Possible {
				t.Errorf("%s, %s: possible", name, remedy)
			}
			contains(t, result.WhyNot, test.why)
		}
	}
}

func TestRDMAPlanReasons(t *testing.T) {
	noRDMA := func(node *corev1.Node) { delete(node.Status.Allocatable, "rdma/hca_shared_devices_a") }
	two := func(node *corev1.Node) { node.Status.Allocatable["vpc.amazonaws.com/efa"] = resource.MustParse("32") }
	tests := map[string]struct {
		version string
		pod     func(*corev1.Pod)
		node    func(index int, node *corev1.Node)
		why     []string
	}{
		"has it already": {pod: func(*corev1.Pod) {}, why: []string{"requests rdma/hca_shared_devices_a already"}},
		"none offered":   {node: func(_ int, node *corev1.Node) { noRDMA(node) }, why: []string{"offer no RDMA resource"}},
		"some offered": {node: func(i int, node *corev1.Node) {
			if i == 0 {
				noRDMA(node)
			}
		}, why: []string{"rdma/hca_shared_devices_a on 1 of 2 nodes"}},
		"two offered":   {node: func(_ int, node *corev1.Node) { two(node) }, why: []string{"several RDMA resources, rdma/hca_shared_devices_a, vpc.amazonaws.com/efa"}},
		"old API":       {version: "v1.34.1", why: []string{"Kubernetes v1.34.1 does not let the resources of an existing Job change"}},
		"odd version":   {version: "tip", why: []string{`version "tip" cannot be read`}},
		"two with GPUs": {pod: func(pod *corev1.Pod) { withoutRDMA(pod); pod.Spec.Containers[0].Resources = trainerOf(pod).Resources }, why: []string{"2 containers"}},
	}
	for name, test := range tests {
		edit := test.pod
		if edit == nil {
			edit = withoutRDMA
		}
		objects := gang(2, edit)
		template := testPod(0, "", edit)
		objects[0].(*batchv1.Job).Spec.Template.Spec = template.Spec
		for i, object := range objects {
			if node, ok := object.(*corev1.Node); ok && test.node != nil {
				test.node(i/3, node) // job, then pod and node of each rank
			}
		}
		w := newWorld(t, objects...)
		w.serverVersion(orWord(test.version, "v1.37.2"))
		w.applyNeedsSuspension()
		result := w.planned(t, steps.RestoreRDMAResource, jobTarget)
		if result.Possible {
			t.Errorf("%s: possible", name)
		}
		contains(t, result.WhyNot, test.why...)
	}
}

func TestRDMAAmount(t *testing.T) {
	workload := incident.Workload{Nodes: []incident.Node{{Name: "a", GPUs: 8, RDMA: map[string]int{"vpc.amazonaws.com/efa": 32, "rdma/x": 63}}},
		Ranks: []incident.Rank{{Node: "a", GPUs: 4}}}
	for resource, want := range map[string]string{"rdma/x": "1", "vpc.amazonaws.com/efa": "16"} {
		if got := rdmaAmount(resource, workload); got != want {
			t.Errorf("%s: got %s, want %s", resource, got, want)
		}
	}
}

// TestPlansOfOtherKinds are diffs to read: no kind but a Job can be changed in
// place, and only pods of Jobs carry the label that a policy could select.
func TestPlansOfOtherKinds(t *testing.T) {
	container := `{"name":"trainer","resources":{"limits":{"nvidia.com/gpu":"4"}}}`
	tests := map[string]struct {
		spec, version string
		traffic       bool // the remedy allow-job-traffic is possible
		label, field  string
	}{
		"PyTorchJob": {version: "kubeflow.org/v1", spec: `{"spec":{"pytorchReplicaSpecs":{"Worker":{"replicas":2,"template":{"spec":{"containers":[` + container + `]}}}}}}`,
			label: "training.kubeflow.org/job-name", field: `spec.pytorchReplicaSpecs.Worker.template.spec.containers[name=trainer].resources.limits["rdma/hca_shared_devices_a"]`},
		"JobSet": {version: "jobset.x-k8s.io/v1alpha2", spec: `{"spec":{"replicatedJobs":[{"name":"workers","replicas":1,"template":{"spec":{"parallelism":2,"template":{"spec":{"containers":[` + container + `]}}}}}]}}`,
			traffic: true, label: "batch.kubernetes.io/job-name", field: `spec.replicatedJobs[name=workers].template.spec.template.spec.containers[name=trainer].resources.limits["rdma/hca_shared_devices_a"]`},
	}
	for kind, test := range tests {
		t.Run(kind, func(t *testing.T) {
			top := customObject(test.version, kind, "llama-70b", "top-uid", test.spec)
			objects := []runtime.Object{top}
			for i := range 2 {
				pod := testPod(i, "", withoutRDMA)
				if kind == "PyTorchJob" {
					ownedBy(pod, test.version, kind, "llama-70b", "top-uid")
				}
				objects = append(objects, pod, testNode(i))
			}
			if kind == "JobSet" {
				objects = append(objects, ownedBy(testJob(2), test.version, kind, "llama-70b", "top-uid"))
			}
			w := newWorld(t, networked(objects, denyAll("training"))...)
			w.serverVersion("v1.37.2")
			target := incident.Target{Cluster: "lab", Namespace: "training", Kind: kind, Name: "llama-70b"}
			traffic := w.planned(t, steps.AllowJobTraffic, target)
			if traffic.Possible != test.traffic {
				t.Errorf("%s: possible is %t: %s", steps.AllowJobTraffic, traffic.Possible, traffic.WhyNot)
			}
			contains(t, traffic.Plan.Diff, "key: "+test.label)
			rdma := w.planned(t, steps.RestoreRDMAResource, target)
			if rdma.Possible || len(rdma.Plan.Changes) != 1 {
				t.Fatalf("%s: possible is %t, %d changes", steps.RestoreRDMAResource, rdma.Possible, len(rdma.Plan.Changes))
			}
			contains(t, rdma.WhyNot, "cannot be changed in place")
			contains(t, strings.Join(rdma.Plan.Changes[0].Fields, "\n"), test.field)
			contains(t, rdma.Plan.Diff, "rdma/hca_shared_devices_a: \"1\"\n")
		})
	}
}

func TestSuspendOfOtherKinds(t *testing.T) {
	for kind, test := range map[string]struct{ version, field string }{
		"JobSet": {"jobset.x-k8s.io/v1alpha2", "spec.suspend"}, "TrainJob": {"trainer.kubeflow.org/v1alpha1", "spec.suspend"}, "RayJob": {"ray.io/v1", "spec.suspend"},
		"PyTorchJob": {"kubeflow.org/v1", "spec.runPolicy.suspend"}, "MPIJob": {"kubeflow.org/v2beta1", "spec.runPolicy.suspend"},
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, customObject(test.version, kind, "llama", "top-uid", `{"spec":{}}`))
			params := steps.WorkloadParams{Incident: "i", Target: incident.Target{Cluster: "lab", Namespace: "training", Kind: kind, Name: "llama"}, TargetUID: "top-uid"}
			path, err := parseFieldPath(test.field)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				do      string
				already bool
				want    bool
			}{{"suspend", false, true}, {"suspend", true, true}, {"resume", false, false}, {"resume", true, false}} {
				carryOut := w.SuspendWorkload
				if step.do == "resume" {
					carryOut = w.ResumeWorkload
				}
				result, err := carryOut(t.Context(), params)
				if err != nil || result.Already != step.already {
					t.Fatalf("%s: already %t, %v; want %t", step.do, result.Already, err, step.already)
				}
				live, err := w.liveTarget(t.Context(), params.Target)
				if err != nil {
					t.Fatal(err)
				}
				if value, _ := path.get(live.Object); value != step.want {
					t.Errorf("after %s: %s is %v", step.do, test.field, value)
				}
				if marked := live.GetAnnotations()[suspendedBy] != ""; marked != step.want {
					t.Errorf("after %s: our mark is there: %t", step.do, marked)
				}
			}
		})
	}
}

func TestSuspendEndsWithItsTime(t *testing.T) {
	w := newWorld(t, gang(2)...) // no controller deletes these pods
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := w.SuspendWorkload(ctx, steps.WorkloadParams{Incident: "i", Target: jobTarget, TargetUID: "job-uid"})
	if incident.KindOf(err) != incident.TimedOut {
		t.Fatalf("got %v, want %s", err, incident.TimedOut)
	}
	contains(t, err.Error(), "waiting for 2 pods of job training/llama-70b in lab to go", "hang in Terminating")
}
