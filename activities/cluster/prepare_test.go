package cluster

import (
	"encoding/json"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// TestCopyThatDoesNotEndWell: why it cannot is told, and no retry is asked for.
func TestCopyThatDoesNotEndWell(t *testing.T) {
	tests := map[string]struct {
		alter func(*batchv1.Job)
		pod   corev1.PodStatus
		why   string
		kind  incident.Kind
	}{
		"it ends well": {alter: func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		}},
		"it fails": {alter: func(job *batchv1.Job) {
			job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
		}, why: "it failed", kind: incident.Unsupported},
		"it finds no node": {alter: func(job *batchv1.Job) { job.CreationTimestamp = metav1.NewTime(midday.Add(-2 * copyStart)) },
			pod: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/16 nodes are available"}}},
			why: "has not started: 0/16 nodes are available", kind: incident.Unsupported},
		"it is of somebody else": {alter: func(job *batchv1.Job) { job.Annotations = nil }, why: "is not of this operation", kind: incident.Conflict},
		"it was edited":          {alter: func(job *batchv1.Job) { *job.Spec.BackoffLimit = 9 }, why: "edited by somebody else", kind: incident.Conflict},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			two := int32(2)
			job := &batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, Spec: batchv1.JobSpec{BackoffLimit: &two},
				ObjectMeta: metav1.ObjectMeta{Name: "copy", Namespace: "training", UID: "u", Annotations: map[string]string{steps.OperationAnnotation: "op"}}}
			manifest, err := json.Marshal(map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "copy"}, "spec": map[string]any{"backoffLimit": 2}})
			if err != nil {
				t.Fatal(err)
			}
			test.alter(job)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "copy-x", Namespace: "training", Labels: map[string]string{batchv1.JobNameLabel: "copy"}}, Status: test.pod}
			w := newWorld(t, append(networked(gang(2)), job, pod)...)
			live, err := w.liveTarget(t.Context(), jobTarget)
			if err != nil {
				t.Fatal(err)
			}
			plan := incident.Plan{Remedy: steps.FasterStorage, Target: jobTarget, TargetUID: string(live.GetUID()),
				Prepare: []incident.ObjectChange{{Verb: verbRun, APIVersion: "batch/v1", Kind: "Job", Namespace: "training", Name: "copy", Manifest: manifest}}}
			result, err := w.PrepareChange(t.Context(), steps.ApplyChangeParams{Incident: "i", OperationID: "op", Plan: plan})
			if test.why == "" {
				if err != nil || result.Already != 1 {
					t.Errorf("%+v, %v", result, err)
				}
				return
			}
			if err == nil || incident.KindOf(err) != test.kind {
				t.Fatalf("got %v", err)
			}
			contains(t, err.Error(), test.why)
		})
	}
}

// TestClaimInUseIsLeft: a claim that somebody else's pod mounts outlives the undo.
func TestClaimInUseIsLeft(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: "training", UID: "u", Annotations: map[string]string{steps.OperationAnnotation: "op"}}}
	user := func(label string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "training", Labels: map[string]string{steps.CopyLabel: label}}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
			{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "new"}}}}}}
	}
	change := incident.ObjectChange{Verb: verbCreate, APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "training", Name: "new", Manifest: []byte(`{"spec":{"resources":{}}}`)}
	for label, left := range map[string]bool{"": true, "true": false} {
		w, now := newWorld(t, claim, user(label)), midday
		w.Now = func() time.Time { now = now.Add(removal); return now }
		one, err := w.undoCreate(t.Context(), "op", change)
		if err != nil || one.whole == left {
			t.Errorf("label %q: %+v, %v", label, one, err)
		}
		if live, err := w.liveObject(t.Context(), change); err != nil || (live != nil) != left {
			t.Errorf("label %q: left %t, %v", label, live != nil, err)
		}
	}
}
