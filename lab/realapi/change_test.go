package realapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	incidentID  = "incident/lab/training/job/llama-70b"
	operationID = incidentID + "/allow-job-traffic"
)

func (w *world) plan(remedy string, workload incident.EvidenceRef) steps.PlanRemedyResult {
	w.Helper()
	result, err := w.hands.PlanRemedy(w.ctx, steps.PlanRemedyParams{Incident: incidentID, Remedy: remedy, Risk: incident.RiskMedium,
		Workload: workload, Fabric: fabric, TestJobs: []string{"gpumedic-test-b", "gpumedic-test-a"}})
	w.must(err)
	return result
}

func (w *world) possible(remedy string, workload incident.EvidenceRef) incident.Plan {
	w.Helper()
	result := w.plan(remedy, workload)
	if !result.Possible {
		w.Fatalf("no plan: %s", result.WhyNot)
	}
	return result.Plan
}

func (w *world) snapshot(plan incident.Plan) incident.EvidenceRef {
	w.Helper()
	result, err := w.hands.TakeSnapshot(w.ctx, steps.TakeSnapshotParams{Incident: incidentID, Plan: plan})
	w.must(err)
	if result.Changed {
		w.Fatalf("the plan is void: %s", result.Why)
	}
	return result.Snapshot
}

func (w *world) apply(plan incident.Plan, snapshot incident.EvidenceRef) (steps.ApplyChangeResult, error) {
	return w.hands.ApplyChange(w.ctx, steps.ApplyChangeParams{Incident: incidentID, OperationID: operationID, Plan: plan, Snapshot: snapshot})
}

func (w *world) applied(plan incident.Plan, snapshot incident.EvidenceRef, applied, already int) {
	w.Helper()
	result, err := w.apply(plan, snapshot)
	w.must(err)
	if result.Applied != applied || result.Already != already {
		w.Fatalf("applied %d, already %d; want %d and %d", result.Applied, result.Already, applied, already)
	}
}

func (w *world) undo(plan incident.Plan, snapshot incident.EvidenceRef) steps.UndoChangeResult {
	w.Helper()
	result, err := w.hands.UndoChange(w.ctx, steps.UndoChangeParams{Incident: incidentID, OperationID: operationID, Plan: plan, Snapshot: snapshot})
	w.must(err)
	return result
}

func (w *world) ranks(plan incident.Plan) steps.WorkloadParams {
	return steps.WorkloadParams{Incident: incidentID, OperationID: operationID + "/ranks", Target: plan.Target, TargetUID: plan.TargetUID}
}

func (w *world) suspend(plan incident.Plan, already bool) {
	w.Helper()
	result, err := w.hands.SuspendWorkload(w.ctx, w.ranks(plan))
	w.must(err)
	if result.Already != already {
		w.Fatalf("already suspended is %t, want %t", result.Already, already)
	}
}

func (w *world) resume(plan incident.Plan, already bool) {
	w.Helper()
	result, err := w.hands.ResumeWorkload(w.ctx, w.ranks(plan))
	w.must(err)
	if result.Already != already {
		w.Fatalf("already resumed is %t, want %t", result.Already, already)
	}
}

func wantKind(t *testing.T, err error, kind incident.Kind, words ...string) {
	t.Helper()
	if err == nil || incident.KindOf(err) != kind {
		t.Fatalf("got error %v, want one of kind %s", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q lacks %q", err, word)
		}
	}
}

func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q lacks %q", text, word)
		}
	}
}

func TestPolicyPlanChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.deny()
	job := w.trainingJob("llama-70b")
	workload := w.workload(job)
	before := w.job("llama-70b")
	plan := w.possible(steps.AllowJobTraffic, workload)
	if diff := cmp.Diff([]string{"default-deny"}, w.policies()); diff != "" {
		t.Errorf("policies after the dry run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, w.job("llama-70b")); diff != "" {
		t.Errorf("the job after the dry run (-before +after):\n%s", diff)
	}
	wantWords(t, plan.Diff, "--- /dev/null", "+kind: NetworkPolicy", "+      - gpumedic-test-a\n+      - gpumedic-test-b\n+      - llama-70b\n", "k8s-app: kube-dns", "+  - Ingress", "+  - Egress")
	for _, noise := range []string{"managedFields", "creationTimestamp", "uid:", steps.OperationAnnotation} {
		if strings.Contains(plan.Diff, noise) {
			t.Errorf("the diff has noise: %s\n%s", noise, plan.Diff)
		}
	}
	// The price grows while the ranks run: plans are the same at the same price.
	again := w.possible(steps.AllowJobTraffic, workload)
	again.GPUHoursLost, again.Summary = plan.GPUHoursLost, plan.Summary
	if again = again.Seal(); again.Hash != plan.Hash || plan.Hash == "" {
		t.Errorf("hash %q, and %q when planned again: it must be stable", plan.Hash, again.Hash)
	}
	if !plan.Restart || plan.PodsRestarted != 4 || len(plan.Changes) != 1 || !plan.Wanted.CommTest {
		t.Errorf("got restart %t of %d pods, %d changes, wanted %+v", plan.Restart, plan.PodsRestarted, len(plan.Changes), plan.Wanted)
	}
}

func TestPolicyAppliedOnceAndUndone(t *testing.T) {
	w := newWorld(t)
	w.deny()
	plan := w.possible(steps.AllowJobTraffic, w.workload(w.trainingJob("llama-70b")))
	snapshot := w.snapshot(plan)
	w.applied(plan, snapshot, 1, 0)
	w.applied(plan, snapshot, 0, 1)
	policy, err := w.admin.NetworkingV1().NetworkPolicies(w.namespace).Get(w.ctx, plan.Changes[0].Name, metav1.GetOptions{})
	w.must(err)
	if policy.Annotations[steps.OperationAnnotation] != operationID || policy.Labels[steps.OwnerLabel] != steps.OwnerValue(incidentID) {
		t.Errorf("marks of the policy: labels %v, annotations %v", policy.Labels, policy.Annotations)
	}
	for round, restored := range []int{1, 0} {
		if result := w.undo(plan, snapshot); !result.Complete || result.Restored != restored || len(result.Found) != 0 {
			t.Errorf("undo %d: got %+v, want complete and %d restored", round, result, restored)
		}
	}
	if diff := cmp.Diff([]string{"default-deny"}, w.policies()); diff != "" {
		t.Errorf("policies after the undo (-want +got):\n%s", diff)
	}
}

func TestPolicyEditedByAnotherIsLeft(t *testing.T) {
	w := newWorld(t)
	w.deny()
	plan := w.possible(steps.AllowJobTraffic, w.workload(w.trainingJob("llama-70b")))
	snapshot := w.snapshot(plan)
	w.applied(plan, snapshot, 1, 0)
	name := plan.Changes[0].Name
	_, err := w.admin.NetworkingV1().NetworkPolicies(w.namespace).Patch(w.ctx, name, types.JSONPatchType,
		[]byte(`[{"op":"replace","path":"/spec/ingress","value":[{}]}]`), metav1.PatchOptions{FieldManager: "somebody"})
	w.must(err)
	result := w.undo(plan, snapshot)
	if result.Complete || result.Restored != 0 || len(result.Found) != 1 {
		t.Fatalf("got %+v, want an incomplete undo that says what it found", result)
	}
	wantWords(t, result.Found[0], name, "was edited since", "+  - {}")
	if diff := cmp.Diff([]string{"default-deny", name}, w.policies()); diff != "" {
		t.Errorf("policies after the undo (-want +got):\n%s", diff)
	}
}

func TestPolicyOfAnotherIsNotTakenOver(t *testing.T) {
	w := newWorld(t)
	w.deny()
	workload := w.workload(w.trainingJob("llama-70b"))
	plan := w.possible(steps.AllowJobTraffic, workload)
	snapshot := w.snapshot(plan)
	_, err := w.admin.NetworkingV1().NetworkPolicies(w.namespace).Create(w.ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: plan.Changes[0].Name}}, metav1.CreateOptions{})
	w.must(err)
	_, err = w.apply(plan, snapshot)
	wantKind(t, err, incident.Conflict, "exists and is not of this operation", "make a new plan")
	if result := w.undo(plan, snapshot); !result.Complete || result.Restored != 0 || len(result.Found) != 1 {
		t.Errorf("undo beside another's policy: got %+v", result)
	}
	if again := w.plan(steps.AllowJobTraffic, workload); again.Possible || !strings.Contains(again.WhyNot, "exists already") {
		t.Errorf("plan beside another's policy: possible %t, %q", again.Possible, again.WhyNot)
	}
	taken, err := w.hands.TakeSnapshot(w.ctx, steps.TakeSnapshotParams{Incident: incidentID, Plan: plan})
	w.must(err)
	if !taken.Changed || !strings.Contains(taken.Why, "exists already") {
		t.Errorf("snapshot beside another's policy: got %+v", taken)
	}
}

func TestPlanIsVoidWhenTargetIsCreatedAnew(t *testing.T) {
	w := newWorld(t)
	w.deny()
	workload := w.workload(w.trainingJob("llama-70b"))
	plan := w.possible(steps.AllowJobTraffic, workload)
	snapshot := w.snapshot(plan)
	background := metav1.DeletePropagationBackground
	w.must(w.admin.BatchV1().Jobs(w.namespace).Delete(w.ctx, "llama-70b", metav1.DeleteOptions{PropagationPolicy: &background}))
	w.pods("llama-70b", 0)
	if gone := w.plan(steps.AllowJobTraffic, workload); gone.Possible || !strings.Contains(gone.WhyNot, "is gone") {
		t.Errorf("plan for a target that is gone: possible %t, %q", gone.Possible, gone.WhyNot)
	}
	w.trainingJob("llama-70b")
	taken, err := w.hands.TakeSnapshot(w.ctx, steps.TakeSnapshotParams{Incident: incidentID, Plan: plan})
	w.must(err)
	if !taken.Changed || !strings.Contains(taken.Why, "was created anew") {
		t.Errorf("snapshot: got %+v, want the plan to be void", taken)
	}
	_, err = w.apply(plan, snapshot)
	wantKind(t, err, incident.Conflict, "was created anew")
	_, err = w.hands.SuspendWorkload(w.ctx, w.ranks(plan))
	wantKind(t, err, incident.Conflict, "was created anew")
	if diff := cmp.Diff([]string{"default-deny"}, w.policies()); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}

func TestSuspendAndResume(t *testing.T) {
	w := newWorld(t)
	w.deny()
	plan := w.possible(steps.AllowJobTraffic, w.workload(w.trainingJob("llama-70b")))
	before := w.job("llama-70b")
	w.suspend(plan, false)
	w.pods("llama-70b", 0)
	w.suspend(plan, true)
	w.resume(plan, false)
	w.resume(plan, true)
	if diff := cmp.Diff(before, w.job("llama-70b")); diff != "" {
		t.Errorf("the job after suspend and resume (-before +after):\n%s", diff)
	}
	w.pods("llama-70b", 4)
}

func TestAnothersSuspensionIsNotEnded(t *testing.T) {
	w := newWorld(t)
	w.deny()
	workload := w.workload(w.trainingJob("llama-70b"))
	plan := w.possible(steps.AllowJobTraffic, workload)
	w.patchJob("llama-70b", `{"spec":{"suspend":true}}`)
	_, err := w.hands.SuspendWorkload(w.ctx, w.ranks(plan))
	wantKind(t, err, incident.Conflict, "suspended by somebody else")
	_, err = w.hands.ResumeWorkload(w.ctx, w.ranks(plan))
	wantKind(t, err, incident.Conflict, "suspended by somebody else")
	if again := w.plan(steps.AllowJobTraffic, workload); again.Possible || !strings.Contains(again.WhyNot, "suspended already") {
		t.Errorf("plan for a suspended job: possible %t, %q", again.Possible, again.WhyNot)
	}
}

// TestAttemptsSideBySide plays attempts of one step that do not know of each
// other: whatever the order, the change is made once and taken back once.
func TestAttemptsSideBySide(t *testing.T) {
	for _, remedy := range []string{steps.AllowJobTraffic, steps.RestoreRDMAResource, steps.SetAllocator} {
		t.Run(remedy, func(t *testing.T) {
			w := newWorld(t)
			w.deny()
			plan := w.possible(remedy, w.workload(w.trainingJob("llama-70b")))
			snapshot := w.snapshot(plan)
			w.suspend(plan, false)
			applied, restored := w.sideBySide(plan, snapshot)
			if applied != 1 || restored < 1 {
				t.Errorf("applied %d times and restored %d times", applied, restored)
			}
			w.resume(plan, false)
			if diff := cmp.Diff([]string{"default-deny"}, w.policies()); diff != "" {
				t.Errorf("policies after the undo (-want +got):\n%s", diff)
			}
			if text := fmt.Sprint(w.job("llama-70b")); strings.Contains(text, rdmaResource) || strings.Contains(text, steps.OperationAnnotation) {
				t.Errorf("the job after the undo: %s", text)
			}
		})
	}
}

// sideBySide applies six times at once, then undoes six times at once, and
// counts who says that they did it.
func (w *world) sideBySide(plan incident.Plan, snapshot incident.EvidenceRef) (applied, restored int) {
	w.Helper()
	const attempts = 6
	var group errgroup.Group
	counts := make([]int, attempts)
	for i := range attempts {
		group.Go(func() error {
			result, err := w.apply(plan, snapshot)
			counts[i] = result.Applied
			return err
		})
	}
	w.must(group.Wait())
	for _, count := range counts {
		applied += count
	}
	for i := range attempts {
		group.Go(func() error {
			result, err := w.hands.UndoChange(w.ctx, steps.UndoChangeParams{Incident: incidentID, OperationID: operationID, Plan: plan, Snapshot: snapshot})
			if err == nil && !result.Complete {
				err = fmt.Errorf("an undo is not complete: %v", result.Found)
			}
			counts[i] = result.Restored
			return err
		})
	}
	w.must(group.Wait())
	for _, count := range counts {
		restored += count
	}
	return applied, restored
}

func TestChecksAndPlansUnderTheDeployedRoles(t *testing.T) {
	w := newWorld(t)
	w.deny()
	workload := w.workload(w.trainingJob("llama-70b"))
	result, err := w.hands.CheckPolicies(w.ctx, steps.CheckParams{Incident: incidentID, Workload: workload, Fabric: fabric})
	w.must(err)
	states := map[string]incident.State{}
	for _, finding := range result.Findings {
		states[finding.ID] = finding.State
	}
	want := map[string]incident.State{incident.PolicyBlocksRanks: incident.Yes, incident.PolicyBlocksDNS: incident.Yes}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("findings (-want +got):\n%s\n%+v", diff, result.Findings)
	}
	_, err = w.hands.Kube.CoreV1().Secrets(w.namespace).List(w.ctx, metav1.ListOptions{})
	if err == nil {
		t.Error("the worker may list secrets")
	}
	err = w.hands.Kube.NetworkingV1().NetworkPolicies("default").Delete(w.ctx, "x", metav1.DeleteOptions{})
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("deleting a policy in a namespace without gpumedic-act: %v", err)
	}
	_, err = w.hands.Kube.NetworkingV1().NetworkPolicies(w.namespace).Patch(w.ctx, "default-deny", types.MergePatchType, []byte(`{"spec":{"policyTypes":["Ingress"]}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("editing somebody else's policy: %v", err)
	}
}

func TestReasonsAgainstPlans(t *testing.T) {
	w := newWorld(t)
	w.deny()
	workload := w.workload(w.trainingJob("llama-70b"))
	w.patchJob("llama-70b", `{"metadata":{"labels":{"kueue.x-k8s.io/queue-name":"gold"},"annotations":{"argocd.argoproj.io/tracking-id":"llm:batch/Job:training/llama-70b"}}}`)
	for _, remedy := range []string{steps.AllowJobTraffic, steps.RestoreRDMAResource} {
		result := w.plan(remedy, workload)
		if result.Possible || result.Plan.Diff == "" {
			t.Errorf("%s: possible %t, diff of %d bytes; want a diff to read and no plan", remedy, result.Possible, len(result.Plan.Diff))
		}
		wantWords(t, result.WhyNot, "Argo CD", "Kueue (queue gold)")
	}
	if _, err := w.hands.PlanRemedy(w.ctx, steps.PlanRemedyParams{Remedy: "reboot"}); incident.KindOf(err) != incident.Unsupported {
		t.Errorf("an unknown remedy: got %v", err)
	}
}
