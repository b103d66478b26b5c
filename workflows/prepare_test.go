package workflows_test

import (
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"

	"gpumedic/incident"
	"gpumedic/steps"
)

// moving is a world whose plan copies a dataset before the ranks are stopped, and
// switches the job itself.
func moving() *world {
	w := newWorld()
	w.check = starved(incident.Finding{ID: incident.VolumeClassSlow, Check: steps.CheckVolumes, State: incident.Yes, Subject: "pvc/corpus", Why: "slow"})
	w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
		plan := somePlan(p.Remedy)
		plan.Wanted = p.Wanted
		plan.Prepare = []incident.ObjectChange{{Verb: "create", APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "training", Name: "new", Manifest: []byte(`{}`)}}
		plan.Changes = []incident.ObjectChange{{Verb: "replace", APIVersion: "batch/v1", Kind: target.Kind, Namespace: "training", Name: target.Name, Manifest: []byte(`{}`)}}
		return steps.PlanRemedyResult{Possible: true, Plan: plan.Seal()}, nil
	}
	return w
}

func TestWhatIsPreparedComesBeforeTheRanksStop(t *testing.T) {
	w := moving()
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	result := finish(t, env, input(t, alertOf("DatasetLoadingSlow")))
	snapshot, prepared, stopped, applied := w.order(steps.TakeSnapshot), w.order(steps.PrepareChange), w.order(steps.SuspendWorkload), w.order(steps.ApplyChange)
	if result.Outcome != incident.Resolved || snapshot < 0 || prepared < snapshot || stopped < prepared || applied < stopped || w.did(steps.UndoChange) {
		t.Errorf("outcome %s, steps %v", result.Outcome, w.log)
	}
}

// TestPreparationThatFails takes back what was prepared; the ranks never stop for it.
func TestPreparationThatFails(t *testing.T) {
	w := moving()
	w.prepare = func(steps.ApplyChangeParams) (steps.ApplyChangeResult, error) {
		return steps.ApplyChangeResult{}, temporal.NewNonRetryableApplicationError("the copy failed", string(incident.Unsupported), nil)
	}
	var undone incident.Plan
	w.undo = func(p steps.UndoChangeParams) (steps.UndoChangeResult, error) {
		undone = p.Plan
		return steps.UndoChangeResult{Complete: true, Restored: 2, At: start}, nil
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	result := finish(t, env, input(t, alertOf("DatasetLoadingSlow")))
	if result.Outcome != incident.RolledBack || len(undone.Prepare) != 1 || count(w.log, steps.UndoChange) != 1 {
		t.Errorf("outcome %s, undone %d prepared objects, steps %v", result.Outcome, len(undone.Prepare), w.log)
	}
	for _, name := range []string{steps.SuspendWorkload, steps.ResumeWorkload, steps.ApplyChange} {
		if w.did(name) {
			t.Errorf("%s was carried out", name)
		}
	}
	if w.reported.GPUHoursLost != 0 || !strings.Contains(w.reported.Summary, "could not be prepared: the copy failed") {
		t.Errorf("%v GPU-hours lost, summary %q", w.reported.GPUHoursLost, w.reported.Summary)
	}
}
