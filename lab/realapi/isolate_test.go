package realapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gpumedic/incident"
	"gpumedic/steps"
)

// gitOps makes a job one that we must not suspend, so that only pods are
// evicted.
const gitOps = `{"metadata":{"annotations":{"argocd.argoproj.io/tracking-id":"llm:batch/Job:training/llama-70b"}}}`

// onNode is the node of the job's rank 0, and its pods there.
func (w *world) onNode(job string) (node string, pods []corev1.Pod) {
	w.Helper()
	all := w.pods(job, 4)
	for _, pod := range all {
		if pod.Annotations[batchv1.JobCompletionIndexAnnotation] == "0" {
			node = pod.Spec.NodeName
		}
	}
	for _, pod := range all {
		if pod.Spec.NodeName == node {
			pods = append(pods, pod)
		}
	}
	w.putBackAfterwards(node)
	return node, pods
}

// putBackAfterwards frees a node for the next test, whatever this one does.
func (w *world) putBackAfterwards(name string) {
	before := w.node(name)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for range 5 {
			node, err := w.admin.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			w.must(err)
			node.Spec.Unschedulable, node.Spec.Taints = false, nil
			node.Labels, node.Annotations = before.Labels, before.Annotations
			if _, err = w.admin.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{}); err == nil {
				return
			}
		}
		w.Errorf("node %s is not as it was", name)
	})
}

func (w *world) node(name string) *corev1.Node {
	w.Helper()
	node, err := w.admin.CoreV1().Nodes().Get(w.ctx, name, metav1.GetOptions{})
	w.must(err)
	return node
}

// face is what people and schedulers see of a node.
func (w *world) face(name string) map[string]any {
	w.Helper()
	node := w.node(name)
	taints := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeUnschedulable }) // the cluster's own echo of the cordon, late
	if len(taints) == 0 {
		taints = nil
	}
	return map[string]any{"cordon": node.Spec.Unschedulable, "taints": taints, "labels": node.Labels, "annotations": node.Annotations}
}

func (w *world) patchNode(name, patch string) {
	w.Helper()
	_, err := w.admin.CoreV1().Nodes().Patch(w.ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
	w.must(err)
}

func (w *world) planFor(remedy string, workload incident.EvidenceRef, kind string, names ...string) steps.PlanRemedyResult {
	w.Helper()
	result, err := w.hands.PlanRemedy(w.ctx, steps.PlanRemedyParams{Incident: incidentID, Remedy: remedy, Risk: incident.RiskHigh,
		Workload: workload, Fabric: fabric, Blamed: incident.Blamed{Kind: kind, Names: names}})
	w.must(err)
	return result
}

func (w *world) isolation(workload incident.EvidenceRef, nodes ...string) incident.Plan {
	w.Helper()
	result := w.planFor(steps.IsolateNode, workload, "node", nodes...)
	if !result.Possible {
		w.Fatalf("no plan: %s", result.WhyNot)
	}
	return result.Plan
}

// isolating is a job that runs, a node of it and a plan against that node.
func isolating(t *testing.T) (w *world, node string, plan incident.Plan) {
	w = newWorld(t)
	workload := w.workload(w.trainingJob("llama-70b"))
	node, _ = w.onNode("llama-70b")
	return w, node, w.isolation(workload, node)
}

// evicting is the same for a job that must not be suspended.
func evicting(t *testing.T) (w *world, node string, pods []corev1.Pod, plan incident.Plan) {
	w = newWorld(t)
	workload := w.workload(w.trainingJob("llama-70b"))
	w.patchJob("llama-70b", gitOps)
	node, pods = w.onNode("llama-70b")
	return w, node, pods, w.isolation(workload, node)
}

func (w *world) isIsolated(node string) {
	w.Helper()
	live := w.node(node)
	want := corev1.Taint{Key: steps.IsolatedTaint, Value: steps.OwnerValue(incidentID), Effect: corev1.TaintEffectNoSchedule}
	if !live.Spec.Unschedulable || !slices.Contains(live.Spec.Taints, want) || live.Annotations[steps.OperationAnnotation] != operationID {
		w.Errorf("node %s: cordoned %t, taints %v, annotations %v", node, live.Spec.Unschedulable, live.Spec.Taints, live.Annotations)
	}
}

func TestIsolationPlanChangesNothing(t *testing.T) {
	w, node, _ := isolating(t)
	now := time.Now()
	w.hands.Now = func() time.Time { return now } // the price grows with the time, and the hash is over it
	before, workload := w.face(node), w.workload(w.jobOf("llama-70b"))
	plan, again := w.isolation(workload, node), w.isolation(workload, node)
	if diff := cmp.Diff(before, w.face(node)); diff != "" {
		t.Errorf("the node after the dry run (-before +after):\n%s", diff)
	}
	if again.Hash != plan.Hash || plan.Hash == "" {
		t.Errorf("hash %q, and %q when planned again: it must be stable", plan.Hash, again.Hash)
	}
	wantWords(t, plan.Diff, "node "+node, "+  unschedulable: true", "key: "+steps.IsolatedTaint, "effect: NoSchedule")
	if lost := strings.Count(plan.Diff, "\n-") - strings.Count(plan.Diff, "\n-spec: {}"); lost != 0 {
		t.Errorf("the diff takes something away:\n%s", plan.Diff)
	}
	wantWords(t, plan.Summary, "Isolate node "+node, "restart 4 ranks", "spare nodes", "until somebody has repaired")
	if !plan.Restart || !plan.Wanted.CommTest || plan.PodsRestarted != 4 || len(plan.Changes) != 1 {
		t.Errorf("restart %t, wanted %+v, %d pods, %d changes", plan.Restart, plan.Wanted, plan.PodsRestarted, len(plan.Changes))
	}
	if len(plan.Isolation.After) == 0 || slices.ContainsFunc(plan.Isolation.After, func(n incident.Node) bool { return n.Name == node }) {
		t.Errorf("afterwards the ranks would be on %v", plan.Isolation.After)
	}
	cluster := plan.Isolation.Domains[len(plan.Isolation.Domains)-1]
	if diff := cmp.Diff(incident.Domain{Kind: "cluster", Name: "lab", Size: 16, Nodes: []string{node}}, cluster); diff != "" {
		t.Errorf("the cluster as a failure domain (-want +got):\n%s", diff)
	}
}

// jobOf reads a job that is there.
func (w *world) jobOf(name string) *batchv1.Job {
	w.Helper()
	job, err := w.admin.BatchV1().Jobs(w.namespace).Get(w.ctx, name, metav1.GetOptions{})
	w.must(err)
	return job
}

// TestPromise5IsolatedOnceAndPromise6PutBackExactly isolates twice and takes
// it back twice, beside a taint of somebody else.
func TestPromise5IsolatedOnceAndPromise6PutBackExactly(t *testing.T) {
	w, node, _ := isolating(t)
	w.patchNode(node, `{"spec":{"taints":[{"key":"team","value":"nlp","effect":"PreferNoSchedule"}]}}`)
	plan := w.isolation(w.workload(w.jobOf("llama-70b")), node)
	before := w.face(node)
	snapshot := w.snapshot(plan)
	w.applied(plan, snapshot, 1, 0)
	w.isIsolated(node)
	w.applied(plan, snapshot, 0, 1)
	if taints := w.node(node).Spec.Taints; !slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.Key == "team" }) {
		t.Errorf("somebody else's taint is gone: %v", taints)
	}
	for round, restored := range []int{1, 0} {
		if result := w.undo(plan, snapshot); !result.Complete || result.Restored != restored || len(result.Found) != 0 {
			t.Errorf("undo %d: got %+v, want complete and %d restored", round, result, restored)
		}
	}
	if diff := cmp.Diff(before, w.face(node)); diff != "" {
		t.Errorf("the node after the undo (-before +after):\n%s", diff)
	}
}

// TestTheRanksLeaveAnIsolatedNode goes the whole way of the change.
func TestTheRanksLeaveAnIsolatedNode(t *testing.T) {
	w, node, plan := isolating(t)
	snapshot := w.snapshot(plan)
	w.suspend(plan, false)
	w.applied(plan, snapshot, 1, 0)
	w.resume(plan, false)
	result, err := w.hands.AwaitRanks(w.ctx, steps.AwaitRanksParams{Incident: incidentID, Target: plan.Target, Fabric: fabric, Since: time.Now(), Wanted: incident.Wanted{}, Deadline: 30 * time.Second})
	w.must(err)
	if result.Good != incident.Yes {
		t.Errorf("ranks: %s, %s", result.Good, result.Why)
	}
	for _, pod := range w.pods("llama-70b", 4) {
		if pod.Spec.NodeName == node {
			t.Errorf("pod %s is on the isolated node", pod.Name)
		}
	}
	w.isIsolated(node)
	if next := w.planFor(steps.IsolateNode, w.workload(w.jobOf("llama-70b")), "node", node); next.Possible || !strings.Contains(next.WhyNot, "is isolated already") {
		t.Errorf("planned again: possible %t, %q", next.Possible, next.WhyNot)
	}
}

// TestPromise6AnothersHandOnANode lets somebody act between the steps.
func TestPromise6AnothersHandOnANode(t *testing.T) {
	t.Run("cordoned before the plan", func(t *testing.T) {
		w, node, _ := isolating(t)
		w.patchNode(node, `{"spec":{"unschedulable":true}}`)
		result := w.planFor(steps.IsolateNode, w.workload(w.jobOf("llama-70b")), "node", node)
		if result.Possible || !strings.Contains(result.WhyNot, "gpumedic only watches: somebody else has cordoned it") {
			t.Errorf("possible %t, %q", result.Possible, result.WhyNot)
		}
	})
	t.Run("cordoned after the plan", func(t *testing.T) {
		w, node, plan := isolating(t)
		snapshot := w.snapshot(plan)
		w.patchNode(node, `{"spec":{"unschedulable":true}}`)
		_, err := w.apply(plan, snapshot)
		wantKind(t, err, incident.Conflict, "somebody else has cordoned it", "make a new plan")
		if result := w.undo(plan, snapshot); !result.Complete || result.Restored != 0 || !w.node(node).Spec.Unschedulable {
			t.Errorf("undo: %+v, cordoned %t", result, w.node(node).Spec.Unschedulable)
		}
	})
	t.Run("another repairs it since", func(t *testing.T) {
		w, node, plan := isolating(t)
		snapshot := w.snapshot(plan)
		w.applied(plan, snapshot, 1, 0)
		w.patchNode(node, `{"metadata":{"labels":{"dgxc.nvidia.com/nvsentinel-state":"quarantined"}}}`)
		result := w.undo(plan, snapshot)
		if result.Complete || result.Restored != 0 || len(result.Found) != 1 || !strings.Contains(result.Found[0], "NVSentinel repairs it") {
			t.Errorf("undo: %+v", result)
		}
		w.isIsolated(node)
	})
	t.Run("released by hand since", func(t *testing.T) {
		w, node, plan := isolating(t)
		snapshot := w.snapshot(plan)
		w.applied(plan, snapshot, 1, 0)
		w.patchNode(node, `{"spec":{"unschedulable":null}}`)
		result := w.undo(plan, snapshot)
		if result.Complete || result.Restored != 0 || len(result.Found) != 1 {
			t.Errorf("undo: %+v", result)
		}
		if _, err := w.apply(plan, snapshot); incident.KindOf(err) != incident.Conflict {
			t.Errorf("applied over somebody's release: %v", err)
		}
	})
	t.Run("a taint of another since", func(t *testing.T) {
		w, node, plan := isolating(t)
		snapshot := w.snapshot(plan)
		w.applied(plan, snapshot, 1, 0)
		w.until("somebody has added a taint", func() bool {
			live := w.node(node)
			live.Spec.Taints = append(live.Spec.Taints, corev1.Taint{Key: "team", Effect: corev1.TaintEffectPreferNoSchedule})
			_, err := w.admin.CoreV1().Nodes().Update(w.ctx, live, metav1.UpdateOptions{})
			return err == nil
		})
		if result := w.undo(plan, snapshot); !result.Complete || result.Restored != 1 {
			t.Errorf("undo: %+v", result)
		}
		left := w.face(node)["taints"].([]corev1.Taint)
		if len(left) != 1 || left[0].Key != "team" || w.node(node).Spec.Unschedulable {
			t.Errorf("taints after the undo: %v", left)
		}
	})
}

func TestPromise7ProtectedNodesAreNotPlannedFor(t *testing.T) {
	w, node, _ := isolating(t)
	workload := w.workload(w.jobOf("llama-70b"))
	for _, mark := range []string{`{"labels":{"gpumedic.io/protected":""}}`, `{"labels":{"gpumedic.io/protected":null},"annotations":{"gpumedic.io/protected":"yes"}}`, `{"annotations":{"gpumedic.io/protected":null},"labels":{"node-role.kubernetes.io/control-plane":""}}`} {
		w.patchNode(node, `{"metadata":`+mark+`}`)
		if result := w.planFor(steps.IsolateNode, workload, "node", node); result.Possible || len(result.Plan.Isolation.Protected) != 1 || !strings.Contains(result.WhyNot, "never touched") {
			t.Errorf("%s: possible %t, %q", mark, result.Possible, result.WhyNot)
		}
	}
}

// TestWithoutTheBindingNodesAreNeverIsolated takes gpumedic-isolate away.
func TestWithoutTheBindingNodesAreNeverIsolated(t *testing.T) {
	w, node, plan := isolating(t)
	w.must(w.admin.RbacV1().ClusterRoleBindings().Delete(w.ctx, "gpumedic-isolate", metav1.DeleteOptions{}))
	workload := w.workload(w.jobOf("llama-70b"))
	var result steps.PlanRemedyResult
	w.until("the binding is gone", func() bool {
		result = w.planFor(steps.IsolateNode, workload, "node", node)
		return !result.Possible
	})
	wantWords(t, result.WhyNot, "ClusterRole gpumedic-isolate", `verbs ["patch"]`)
	_, err := w.apply(plan, w.snapshot(plan))
	wantKind(t, err, incident.Forbidden)
	if w.node(node).Spec.Unschedulable {
		t.Error("the node is cordoned")
	}
	if _, err := w.hands.Kube.CoreV1().Pods(w.namespace).List(w.ctx, metav1.ListOptions{Limit: 1}); err != nil {
		t.Errorf("a cluster without the binding is not even diagnosed: %v", err)
	}
}

func TestWhoIsNoNodeIsNotIsolated(t *testing.T) {
	w, _, _ := isolating(t)
	workload := w.workload(w.jobOf("llama-70b"))
	for kind, words := range map[string]string{"link": "not a node", "switch": "not its nodes", "rank": "its node is not proved bad", "": "no node is blamed"} {
		if result := w.planFor(steps.IsolateNode, workload, kind, "x"); result.Possible || !strings.Contains(result.WhyNot, words) {
			t.Errorf("%s: possible %t, %q", kind, result.Possible, result.WhyNot)
		}
	}
	if result := w.planFor(steps.IsolateNode, workload, "node", "gpu-99"); result.Possible || !strings.Contains(result.WhyNot, "gpu-99 is not in the cluster any more") {
		t.Errorf("a node that is not there: possible %t, %q", result.Possible, result.WhyNot)
	}
}

// TestWithoutRoomThereIsNoPlan has a job that may be on four nodes only and
// fills them.
func TestWithoutRoomThereIsNoPlan(t *testing.T) {
	w := newWorld(t)
	names := []string{"gpu-12", "gpu-13", "gpu-14", "gpu-15"}
	w.until("the nodes are free of other tests", func() bool { return w.free(names) })
	job := w.trainingJobWith("llama-70b", func(job *batchv1.Job) {
		spec := &job.Spec.Template.Spec
		spec.Containers[1].Resources.Limits["nvidia.com/gpu"] = resource.MustParse("8")
		spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: names}}}}}}}
	})
	workload := w.workload(job)
	result := w.planFor(steps.IsolateNode, workload, "node", "gpu-12")
	if result.Possible || result.Plan.Diff == "" {
		t.Errorf("possible %t, diff %q", result.Possible, result.Plan.Diff)
	}
	wantWords(t, result.WhyNot, "without gpu-12 only 3 of 4 ranks find room again", "1 more with", "8 nvidia.com/gpu")
}

// free says whether nodes are ready for pods and hold none.
func (w *world) free(names []string) bool {
	w.Helper()
	pods, err := w.admin.CoreV1().Pods(metav1.NamespaceAll).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	if slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return slices.Contains(names, pod.Spec.NodeName) }) {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool {
		node := w.node(name)
		return node.Spec.Unschedulable || len(node.Spec.Taints) > 0 ||
			!slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
	})
}

func TestPodsThatTolerateEverythingAreNotKeptOff(t *testing.T) {
	w := newWorld(t)
	job := w.trainingJobWith("llama-70b", func(job *batchv1.Job) {
		job.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	})
	workload := w.workload(job)
	node, _ := w.onNode("llama-70b")
	if result := w.planFor(steps.IsolateNode, workload, "node", node); result.Possible || !strings.Contains(result.WhyNot, "tolerate every taint") {
		t.Errorf("possible %t, %q", result.Possible, result.WhyNot)
	}
}

// budget makes a PodDisruptionBudget that lets no rank go, and waits until the
// cluster has counted.
func (w *world) budget() {
	w.Helper()
	four := intstr.FromInt32(4)
	_, err := w.admin.PolicyV1().PodDisruptionBudgets(w.namespace).Create(w.ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "keep-all"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &four, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "llama"}}}}, metav1.CreateOptions{})
	w.must(err)
	w.until("the budget is counted", func() bool {
		live, err := w.admin.PolicyV1().PodDisruptionBudgets(w.namespace).Get(w.ctx, "keep-all", metav1.GetOptions{})
		w.must(err)
		return live.Status.ObservedGeneration > 0 && live.Status.ExpectedPods == 4
	})
}

func TestABudgetKeepsAPlanAway(t *testing.T) {
	w, node, _ := isolating(t)
	w.budget()
	result := w.planFor(steps.IsolateNode, w.workload(w.jobOf("llama-70b")), "node", node)
	if result.Possible {
		t.Error("a plan although a PodDisruptionBudget lets no rank go")
	}
	wantWords(t, result.WhyNot, "PodDisruptionBudget", "keep-all")
}

// TestABudgetStopsAnEvictionAndARetryGoesOn cordons, is stopped by a budget
// that came after the plan, is killed there, and goes on when it is retried.
func TestABudgetStopsAnEvictionAndARetryGoesOn(t *testing.T) {
	w, node, pods, plan := evicting(t)
	snapshot := w.snapshot(plan)
	w.budget()
	w.hands.BudgetPatience = 500 * time.Millisecond
	_, err := w.apply(plan, snapshot)
	wantKind(t, err, incident.Conflict, "keep-all", "nothing is deleted around it")
	w.isIsolated(node)
	w.hands.BudgetPatience = 0
	ctx, kill := context.WithCancel(w.ctx)
	time.AfterFunc(time.Second, kill)
	_, err = w.hands.ApplyChange(ctx, steps.ApplyChangeParams{Incident: incidentID, OperationID: operationID, Plan: plan, Snapshot: snapshot})
	wantKind(t, err, incident.TimedOut)
	if now := w.pods("llama-70b", 4); !slices.ContainsFunc(now, func(p corev1.Pod) bool { return p.UID == pods[0].UID && p.DeletionTimestamp == nil }) {
		t.Error("the pod went in spite of the budget")
	}
	w.must(w.admin.PolicyV1().PodDisruptionBudgets(w.namespace).Delete(w.ctx, "keep-all", metav1.DeleteOptions{}))
	w.applied(plan, snapshot, len(pods), 1)
	w.applied(plan, snapshot, 0, 1+len(pods))
	w.pods("llama-70b", 4)
	if result := w.undo(plan, snapshot); !result.Complete || result.Restored != 1 {
		t.Errorf("undo: %+v", result)
	}
}

// TestOnlyTheJobsOwnPodsAreEvicted has another job beside it on the node.
func TestOnlyTheJobsOwnPodsAreEvicted(t *testing.T) {
	w, node, pods, plan := evicting(t)
	other, err := w.admin.CoreV1().Pods(w.namespace).Create(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "neighbour", Labels: map[string]string{"app": "llama"}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "lab.gpumedic.io/side:1"}}}}, metav1.CreateOptions{})
	w.must(err)
	if plan.Restart || plan.Wanted.CommTest || len(plan.Changes) != 1+len(pods) {
		t.Fatalf("restart %t, comm test %t, %d changes for %d pods", plan.Restart, plan.Wanted.CommTest, len(plan.Changes), len(pods))
	}
	wantWords(t, plan.Summary, fmt.Sprintf("evict %d of its 4 ranks", len(pods)))
	w.applied(plan, w.snapshot(plan), 1+len(pods), 0)
	now, err := w.admin.CoreV1().Pods(w.namespace).Get(w.ctx, "neighbour", metav1.GetOptions{})
	w.must(err)
	if now.UID != other.UID || now.DeletionTimestamp != nil {
		t.Error("a pod of somebody else was evicted")
	}
	w.until("no rank is on the isolated node and all run", func() bool {
		running := 0
		for _, pod := range w.pods("llama-70b", 4) {
			if pod.Spec.NodeName != node && pod.Status.Phase == corev1.PodRunning {
				running++
			}
		}
		return running == 4
	})
}

func TestReplacingARank(t *testing.T) {
	w := newWorld(t)
	workload := w.workload(w.trainingJob("llama-70b"))
	_, pods := w.onNode("llama-70b")
	result := w.planFor(steps.ReplaceRank, workload, "rank", "0")
	if !result.Possible {
		t.Fatal(result.WhyNot)
	}
	plan := result.Plan
	if plan.Restart || plan.Isolation != nil || len(plan.Changes) != 1 || len(plan.Nodes) != 1 {
		t.Errorf("plan %+v", plan)
	}
	wantWords(t, plan.Summary, "Replace pod llama-70b-0-", "evict 1 of its 4 ranks", "the same node")
	w.applied(plan, w.snapshot(plan), 1, 0)
	w.until("rank 0 is a new pod", func() bool {
		for _, pod := range w.pods("llama-70b", 4) {
			if pod.UID == pods[0].UID {
				return false
			}
		}
		return true
	})
	if next := w.planFor(steps.ReplaceRank, workload, "rank", "7"); next.Possible || !strings.Contains(next.WhyNot, "no rank of") {
		t.Errorf("a rank that is not there: possible %t, %q", next.Possible, next.WhyNot)
	}
}

func TestARankThatWouldNotBeReplacedIsLeft(t *testing.T) {
	w := newWorld(t)
	job := w.trainingJobWith("llama-70b", func(job *batchv1.Job) { few := int32(3); job.Spec.BackoffLimit = &few })
	result := w.planFor(steps.ReplaceRank, w.workload(job), "rank", "0")
	if result.Possible {
		t.Error("a plan although the Job would give up")
	}
	wantWords(t, result.WhyNot, "would give up", "backoffLimit 3 leaves 2 failures")
}
