package realapi

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/steps"
)

// TestStopForTest: the plan to stop the ranks for a communication test changes
// nothing, its diff is what the stop then does, and the job runs again after.
func TestStopForTest(t *testing.T) {
	w := newWorld(t)
	job := w.trainingJob("llama-70b")
	workload := w.workload(job)
	before := w.job("llama-70b")
	plan := w.possible(steps.StopForTest, workload)
	if diff := cmp.Diff(before["spec"], w.job("llama-70b")["spec"]); diff != "" {
		t.Fatalf("planning changed the job (-before +after):\n%s", diff)
	}
	wantWords(t, plan.Diff, "-  suspend: false", "+  suspend: true", "+    gpumedic.io/suspended-by: "+incidentID)
	wantWords(t, plan.Summary, "Stop the", "communication test")
	if plan.PodsRestarted == 0 || len(plan.Changes) != 1 {
		t.Errorf("plan %+v", plan)
	}
	w.snapshot(plan)
	w.suspend(plan, false)
	w.suspend(plan, true) // a worker that was killed in between tries again
	if spec := w.job("llama-70b")["spec"].(map[string]any); spec["suspend"] != true {
		t.Errorf("suspend is %v", spec["suspend"])
	}
	w.resume(plan, false)
	w.resume(plan, true)
	if diff := cmp.Diff(before["spec"], w.job("llama-70b")["spec"]); diff != "" {
		t.Errorf("the job is not as it was (-before +after):\n%s", diff)
	}
}
