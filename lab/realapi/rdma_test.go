package realapi

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

func TestRDMARestoredAndUndone(t *testing.T) {
	w := newWorld(t)
	workload := w.workload(w.trainingJob("llama-70b"))
	before := w.job("llama-70b")
	plan := w.possible(steps.RestoreRDMAResource, workload)
	if diff := cmp.Diff(before, w.job("llama-70b")); diff != "" {
		t.Errorf("the job after the dry run (-before +after):\n%s", diff)
	}
	wantWords(t, plan.Diff, "+            "+rdmaResource+": \"1\"\n+          requests:\n+            "+rdmaResource+": \"1\"\n")
	if added, removed := strings.Count(plan.Diff, "\n+"), strings.Count(plan.Diff, "\n-"); added != 4 || removed != 0 { // with the file's name
		t.Errorf("the diff should add three lines and nothing else:\n%s", plan.Diff)
	}
	if plan.Wanted.Transport != "IB" {
		t.Errorf("wanted transport %q, want IB", plan.Wanted.Transport)
	}
	snapshot := w.snapshot(plan)
	_, err := w.apply(plan, snapshot)
	wantKind(t, err, incident.Invalid, "immutable") // the ranks are not stopped yet
	w.suspend(plan, false)
	w.applied(plan, snapshot, 1, 0)
	w.applied(plan, snapshot, 0, 1)
	w.resume(plan, false)
	for _, pod := range w.pods("llama-70b", 4) {
		if amount := pod.Spec.Containers[1].Resources.Limits[rdmaResource]; amount.Value() != 1 {
			t.Errorf("pod %s has %s of the resource after the change", pod.Name, amount.String())
		}
	}
	w.suspend(plan, false)
	for round, restored := range []int{1, 0} {
		if result := w.undo(plan, snapshot); !result.Complete || result.Restored != restored {
			t.Errorf("undo %d: got %+v, want complete and %d restored", round, result, restored)
		}
	}
	w.resume(plan, false)
	if diff := cmp.Diff(before, w.job("llama-70b")); diff != "" {
		t.Errorf("the job after the undo (-before +after):\n%s", diff)
	}
	if !w.store.holds("objects/job-llama-70b.before.json") {
		t.Error("the whole object is not among the evidence")
	}
	if w.store.leaks(secret) || strings.Contains(plan.Diff, secret) {
		t.Error("a secret of the job's environment is in the evidence or the diff")
	}
}

// TestAwaitRanksSeesTheTransportAfterTheChange goes the whole way of a change:
// over TCP, stopped, changed, started, over InfiniBand.
func TestAwaitRanksSeesTheTransportAfterTheChange(t *testing.T) {
	w := newWorld(t)
	plan := w.possible(steps.RestoreRDMAResource, w.workload(w.trainingJob("llama-70b")))
	await := steps.AwaitRanksParams{Incident: incidentID, Target: plan.Target, Fabric: fabric, Since: time.Now().Add(-time.Minute), Wanted: plan.Wanted, Deadline: 20 * time.Second}
	before, err := w.hands.AwaitRanks(w.ctx, await)
	w.must(err)
	if before.Good != incident.No || !strings.Contains(before.Why, "trains over Socket, wanted is IB") {
		t.Fatalf("before the change: %s, %s", before.Good, before.Why)
	}
	snapshot := w.snapshot(plan)
	w.suspend(plan, false)
	w.applied(plan, snapshot, 1, 0)
	await.Since = time.Now()
	w.resume(plan, false)
	after, err := w.hands.AwaitRanks(w.ctx, await)
	w.must(err)
	if after.Good != incident.Yes || after.Summary.Ranks != 4 {
		t.Errorf("after the change: %s, %s, %+v", after.Good, after.Why, after.Summary)
	}
}

const othersRDMA = `{"spec":{"template":{"spec":{"containers":[{"name":"trainer","resources":{"limits":{"rdma/hca_shared_devices_a":"2"},"requests":{"rdma/hca_shared_devices_a":"2"}}}]}}}}`

func TestRDMAEditedByAnotherIsLeft(t *testing.T) {
	w := newWorld(t)
	plan := w.possible(steps.RestoreRDMAResource, w.workload(w.trainingJob("llama-70b")))
	snapshot := w.snapshot(plan)
	w.suspend(plan, false)
	w.applied(plan, snapshot, 1, 0)
	w.patchJob("llama-70b", othersRDMA)
	_, err := w.apply(plan, snapshot)
	wantKind(t, err, incident.Conflict, "edited by somebody else since")
	edited := w.job("llama-70b")
	result := w.undo(plan, snapshot)
	if result.Complete || result.Restored != 0 || len(result.Found) != 1 {
		t.Fatalf("got %+v, want an incomplete undo that says what it found", result)
	}
	wantWords(t, result.Found[0], "was edited since", rdmaResource, `is "2"`)
	if diff := cmp.Diff(edited, w.job("llama-70b")); diff != "" {
		t.Errorf("the undo touched an edited job (-before +after):\n%s", diff)
	}
}

func TestRDMASetByAnotherBeforeApplyVoidsThePlan(t *testing.T) {
	w := newWorld(t)
	plan := w.possible(steps.RestoreRDMAResource, w.workload(w.trainingJob("llama-70b")))
	snapshot := w.snapshot(plan)
	w.suspend(plan, false)
	w.patchJob("llama-70b", othersRDMA)
	_, err := w.apply(plan, snapshot)
	wantKind(t, err, incident.Conflict, "was changed since the plan", "make a new plan")
	taken, err := w.hands.TakeSnapshot(w.ctx, steps.TakeSnapshotParams{Incident: incidentID, Plan: plan})
	w.must(err)
	if !taken.Changed || !strings.Contains(taken.Why, rdmaResource) {
		t.Errorf("snapshot: got %+v, want the plan to be void", taken)
	}
	if result := w.undo(plan, snapshot); result.Complete || result.Restored != 0 {
		t.Errorf("undo of what was never applied, beside another's edit: got %+v", result)
	}
}

func TestRDMAKeptByAnotherSurvivesOurRelease(t *testing.T) {
	w := newWorld(t)
	plan := w.possible(steps.RestoreRDMAResource, w.workload(w.trainingJob("llama-70b")))
	snapshot := w.snapshot(plan)
	w.suspend(plan, false)
	w.applied(plan, snapshot, 1, 0)
	_, err := w.admin.BatchV1().Jobs(w.namespace).Patch(w.ctx, "llama-70b", types.ApplyPatchType, plan.Changes[0].Manifest, metav1.PatchOptions{FieldManager: "argocd-controller"})
	w.must(err)
	result := w.undo(plan, snapshot)
	if result.Complete || len(result.Found) != 1 || !strings.Contains(result.Found[0], "somebody else keeps") {
		t.Errorf("got %+v, want an incomplete undo: another manager holds the same value", result)
	}
}

func TestFieldOfAnotherManagerIsNotForced(t *testing.T) {
	w := newWorld(t)
	w.trainingJob("llama-70b")
	live, err := w.admin.BatchV1().Jobs(w.namespace).Get(w.ctx, "llama-70b", metav1.GetOptions{})
	w.must(err)
	plan := incident.Plan{Remedy: "hand-made", Target: w.target("llama-70b"), TargetUID: string(live.UID), Changes: []incident.ObjectChange{{
		Verb: "apply", APIVersion: "batch/v1", Kind: "Job", Namespace: w.namespace, Name: "llama-70b", UID: string(live.UID),
		Fields: []string{"spec.backoffLimit"}, Before: []byte(`{"spec.backoffLimit":100}`),
		Manifest: []byte(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"llama-70b"},"spec":{"backoffLimit":7}}`)}}}.Seal()
	snapshot := w.snapshot(plan)
	_, err = w.apply(plan, snapshot)
	wantKind(t, err, incident.Conflict, "spec.backoffLimit", "kubectl-create", "not taken over by force")
	if result := w.undo(plan, snapshot); !result.Complete || result.Restored != 0 {
		t.Errorf("undo of what was never applied: got %+v", result)
	}
}

// TestOldValueIsWrittenBack changes a field that had a value. Server-side
// apply alone would drop it on release.
func TestOldValueIsWrittenBack(t *testing.T) {
	w := newWorld(t)
	job := w.trainingJob("llama-70b")
	w.patchJob("llama-70b", `{"metadata":{"annotations":{"site/queue":"slow"}}}`)
	before := w.job("llama-70b")
	plan := incident.Plan{Remedy: "hand-made", Target: w.target("llama-70b"), TargetUID: string(job.UID), Changes: []incident.ObjectChange{{
		Verb: "apply", APIVersion: "batch/v1", Kind: "Job", Namespace: w.namespace, Name: "llama-70b", UID: string(job.UID),
		Fields: []string{`metadata.annotations["site/queue"]`}, Before: []byte(`{"metadata.annotations[\"site/queue\"]":"slow"}`),
		Manifest: []byte(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"llama-70b","annotations":{"site/queue":"fast"}}}`)}}}.Seal()
	snapshot := w.snapshot(plan)
	// Its owner gives the field up, so that it is free to be applied.
	live, err := w.admin.BatchV1().Jobs(w.namespace).Get(w.ctx, "llama-70b", metav1.GetOptions{})
	w.must(err)
	live.ManagedFields = slices.DeleteFunc(live.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "somebody" })
	_, err = w.admin.BatchV1().Jobs(w.namespace).Update(w.ctx, live, metav1.UpdateOptions{})
	w.must(err)
	w.applied(plan, snapshot, 1, 0)
	if result := w.undo(plan, snapshot); !result.Complete || result.Restored != 1 {
		t.Errorf("undo: got %+v", result)
	}
	if diff := cmp.Diff(before, w.job("llama-70b")); diff != "" {
		t.Errorf("the job after the undo (-before +after):\n%s", diff)
	}
}
