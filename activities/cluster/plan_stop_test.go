package cluster

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/steps"
)

// TestPlanStop: the plan tells what suspending would write and cost, and
// writes nothing.
func TestPlanStop(t *testing.T) {
	running := func(pod *corev1.Pod) {
		started := metav1.NewTime(midday.Add(-90 * time.Minute))
		pod.Status.StartTime = &started
	}
	w := newWorld(t, gang(4, running)...)
	result := w.planned(t, steps.StopForTest, jobTarget)
	if !result.Possible {
		t.Fatal(result.WhyNot)
	}
	plan := result.Plan
	if plan.PodsRestarted != 4 || plan.GPUHoursLost != 24 || !plan.Restart || len(plan.Changes) != 1 || plan.Changes[0].Fields[0] != "spec.suspend" {
		t.Errorf("plan %+v", plan)
	}
	contains(t, plan.Summary, "Stop the 4 ranks", "communication test", "24.00 GPU-hours")
	contains(t, plan.Diff, "+  suspend: true", "+    gpumedic.io/suspended-by: i")
}

// TestPlanStopNeedsTheRanksToBeOurs: who else owns the suspension is told.
func TestPlanStopNeedsTheRanksToBeOurs(t *testing.T) {
	objects := gang(2)
	objects[0].(*batchv1.Job).Labels = map[string]string{kueueQueue: "gold"}
	result := newWorld(t, objects...).planned(t, steps.StopForTest, jobTarget)
	if result.Possible {
		t.Error("possible")
	}
	contains(t, result.WhyNot, "Kueue (queue gold)")
}
