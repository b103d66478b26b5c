package realapi

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// served is a Deployment that reads from the slow claim.
func (w *world) served() {
	w.Helper()
	labels := map[string]string{"app": "served"}
	_, err := w.admin.AppsV1().Deployments(w.namespace).Create(w.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "served", Annotations: map[string]string{incident.KnobAnnotation: declaredCache}},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "trainer", Image: "lab.gpumedic.io/train:1",
				Resources:    corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}},
				VolumeMounts: []corev1.VolumeMount{{Name: "dataset", MountPath: "/data", ReadOnly: true}}}},
			Volumes: []corev1.Volume{{Name: "dataset", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "corpus"}}}},
		}}}}, metav1.CreateOptions{FieldManager: "kubectl-create"})
	w.must(err)
}

func (w *world) planOf(target incident.Target, remedy string) steps.PlanRemedyResult {
	w.Helper()
	found, err := w.hands.ResolveTarget(w.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: target, Fabric: fabric})
	w.must(err)
	result, err := w.hands.PlanRemedy(w.ctx, steps.PlanRemedyParams{Incident: incidentID, Remedy: remedy, Risk: incident.RiskMedium, Workload: found.Workload, Fabric: fabric})
	w.must(err)
	return result
}

// TestDataOfADeployment: fields that nobody owns are applied and released again; what
// kubectl has set is edited, and the plan says whose it is.
func TestDataOfADeployment(t *testing.T) {
	w := newWorld(t)
	w.storage()
	w.served()
	target := incident.Target{Cluster: "lab", Namespace: w.namespace, Kind: "Deployment", Name: "served"}
	spec := func() corev1.PodSpec {
		live, err := w.admin.AppsV1().Deployments(w.namespace).Get(context.Background(), "served", metav1.GetOptions{})
		w.must(err)
		return live.Spec.Template.Spec
	}
	moved := w.planOf(target, steps.FasterStorage)
	if !moved.Possible || moved.Plan.Changes[0].Verb != "edit" || !strings.Contains(moved.Plan.Diff, "-          claimName: corpus") && !strings.Contains(moved.Plan.Diff, "claimName: gpumedic-corpus") {
		t.Errorf("possible %t (%s), diff:\n%s", moved.Possible, moved.WhyNot, moved.Plan.Diff)
	}
	cached := w.planOf(target, steps.CacheDataset)
	if !cached.Possible || cached.Plan.Restart {
		t.Fatalf("possible %t (%s), restarts %t", cached.Possible, cached.WhyNot, cached.Plan.Restart)
	}
	before, operation := spec(), incidentID+"@1/"+steps.CacheDataset
	params := steps.ApplyChangeParams{Incident: incidentID, OperationID: operation, Plan: cached.Plan, Snapshot: w.snapshot(cached.Plan)}
	_, err := w.hands.ApplyChange(w.ctx, params)
	w.must(err)
	after := spec()
	if len(after.InitContainers) != 1 || len(after.Volumes) != 2 || after.Containers[0].Env[0].Name != "CACHE_DIR" {
		t.Errorf("applied: %+v", after)
	}
	result, err := w.hands.UndoChange(w.ctx, steps.UndoChangeParams{Incident: incidentID, OperationID: operation, Plan: cached.Plan, Snapshot: params.Snapshot})
	w.must(err)
	if now := spec(); !result.Complete || len(now.InitContainers) != 0 || len(now.Volumes) != len(before.Volumes) || len(now.Containers[0].Env) != 0 || len(now.Containers[0].VolumeMounts) != 1 {
		t.Errorf("undone (complete %t, %v): %+v", result.Complete, result.Found, now)
	}
}
