package realapi

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gpumedic/incident"
	"gpumedic/steps"
)

// TestPlansSayWhichBudgetsTheyGoPast: a real budget that allows nothing, over the
// pods of a StatefulSet and of a Job, read with the worker's rights.
func TestPlansSayWhichBudgetsTheyGoPast(t *testing.T) {
	w := newWorld(t)
	w.storage() // the set mounts a claim
	none := intstr.FromInt32(0)
	for name, labels := range map[string]map[string]string{"set": {"app": "x"}, "ranks": {"app": "llama"}} {
		_, err := w.admin.PolicyV1().PodDisruptionBudgets(w.namespace).Create(w.ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &none, Selector: &metav1.LabelSelector{MatchLabels: labels}}}, metav1.CreateOptions{})
		w.must(err)
	}
	sets := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
	k := &ofKind{trial: &trial{world: w, propertyCase: propertyCase{remedy: steps.SetAllocator}}, client: w.dynamic.Resource(sets).Namespace(w.namespace)}
	k.create(sets, otherKinds[sets])
	w.until("the pod of the set runs", func() bool {
		list, err := w.admin.CoreV1().Pods(w.namespace).List(w.ctx, metav1.ListOptions{LabelSelector: "app=x"})
		w.must(err)
		return len(list.Items) == 1 && list.Items[0].Status.Phase == corev1.PodRunning
	})
	if summary := k.asked().Plan.Summary; !strings.Contains(summary, "PodDisruptionBudget set (1 of its pods at a time, it allows 0 now)") {
		t.Error(summary)
	}
	ref := w.workload(w.trainingJob("gang"))
	result, err := w.hands.PlanRemedy(w.ctx, steps.PlanRemedyParams{Incident: incidentID, Remedy: steps.SetAllocator, Risk: incident.RiskMedium, Workload: ref, Fabric: fabric})
	w.must(err)
	if !result.Possible || !strings.Contains(result.Plan.Summary, "PodDisruptionBudget ranks (4 of its pods at a time, it allows 0 now), which only evictions ask") {
		t.Errorf("%s %s", result.WhyNot, result.Plan.Summary)
	}
}
