package workflows_test

import (
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

func startOptions(target incident.Target) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: target.ID(), TaskQueue: workflows.TaskQueue(target.Cluster)}
}

func TestResolvedByAllowingTraffic(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	result := finish(t, env, input(t, alertNow()))
	if result.Outcome != incident.Resolved {
		t.Fatalf("outcome %q: %+v", result.Outcome, w.reported.Story)
	}
	record := w.reported
	if record.RootCause != "network-unreachable-or-port-blocked" || len(record.Changes) != 1 || !record.Changes[0].Verified {
		t.Errorf("cause %s, changes %+v", record.RootCause, record.Changes)
	}
	if record.HumanWaitSeconds < 50 || record.HumanWaitSeconds > 70 {
		t.Errorf("human wait %v s, want about 60", record.HumanWaitSeconds)
	}
	for _, stage := range record.Stages {
		if stage.EndedAt.IsZero() {
			t.Errorf("stage %q has no end", stage.Name)
		}
	}
}

func TestPromise3EvidenceIsKeptBeforeAnythingIsChanged(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	finish(t, env, input(t, alertNow()))
	for _, later := range []string{steps.RunCommTest, steps.SuspendWorkload, steps.ApplyChange} {
		if w.order(steps.CollectEvidence) > w.order(later) || w.order(later) < 0 {
			t.Errorf("%s before the evidence was kept: %v", later, w.log)
		}
	}
}

func TestPromise3NoEvidenceNoChange(t *testing.T) {
	w := newWorld()
	w.collect = func(steps.CollectEvidenceParams) (steps.CollectEvidenceResult, error) {
		return steps.CollectEvidenceResult{}, final(incident.Forbidden)
	}
	env := w.environment(t)
	result := finish(t, env, input(t, alertNow()))
	if result.Outcome != incident.Escalated || w.did(steps.ApplyChange) || w.did(steps.SuspendWorkload) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
}

// TestPromise4 gives every way of not saying yes: none of them changes anything.
func TestPromise4NothingIsChangedWithoutApproval(t *testing.T) {
	tests := map[string]func(*testing.T, *world, *voting){
		"silence":           func(*testing.T, *world, *voting) {},
		"denied":            func(t *testing.T, _ *world, v *voting) { v.vote(t, time.Minute, incident.Deny, "ada", "") },
		"a stranger agrees": func(t *testing.T, _ *world, v *voting) { v.vote(t, time.Minute, incident.Approve, "mallory", "") },
		"another plan's hash": func(t *testing.T, _ *world, v *voting) {
			v.vote(t, time.Minute, incident.Approve, "ada", "feedfeedfeedfeed")
		},
		"too late": func(t *testing.T, _ *world, v *voting) { v.vote(t, 31*time.Minute, incident.Approve, "ada", "") },
		"target changed": func(t *testing.T, w *world, v *voting) {
			w.snapshot = changedTarget
			v.vote(t, time.Minute, incident.Approve, "ada", "")
		},
	}
	for name, arrange := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			env := w.environment(t)
			arrange(t, w, &voting{env})
			result := finish(t, env, input(t, alertNow()))
			if result.Outcome != incident.Refused {
				t.Errorf("outcome %q", result.Outcome)
			}
			for _, change := range []string{steps.SuspendWorkload, steps.ApplyChange} {
				if w.did(change) {
					t.Errorf("%s was carried out", change)
				}
			}
		})
	}
}

func changedTarget(steps.TakeSnapshotParams) (steps.TakeSnapshotResult, error) {
	return steps.TakeSnapshotResult{Changed: true, Why: "the job was created anew"}, nil
}

func TestPromise4SnapshotComesBeforeTheChange(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	finish(t, env, input(t, alertNow()))
	if snapshot := w.order(steps.TakeSnapshot); snapshot < 0 || snapshot > w.order(steps.SuspendWorkload) {
		t.Errorf("order %v", w.log)
	}
}

func TestWhatDoesNotHelpIsUndone(t *testing.T) {
	w := newWorld()
	w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		return steps.AwaitRanksResult{Good: incident.No, Why: "rank 3 still cannot connect"}, nil
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	result := finish(t, env, input(t, alertNow()))
	if result.Outcome != incident.RolledBack || !w.did(steps.UndoChange) {
		t.Fatalf("outcome %q, steps %v", result.Outcome, w.log)
	}
	change := w.reported.Changes[0]
	if !change.Undone || change.UndoComplete == nil || !*change.UndoComplete || change.Verified {
		t.Errorf("change %+v", change)
	}
}

func TestPromise7UnknownIsNotTakenForHealthy(t *testing.T) {
	t.Run("after a change", func(t *testing.T) {
		w := newWorld()
		w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
			return steps.AwaitRanksResult{Good: incident.Unknown, Why: "logs could not be read"}, nil
		}
		env := w.environment(t)
		answer(t, env, time.Minute, incident.Approve, "ada")
		if result := finish(t, env, input(t, alertNow())); result.Outcome != incident.RolledBack {
			t.Errorf("outcome %q", result.Outcome)
		}
	})
	t.Run("no check could ask", func(t *testing.T) {
		w := newWorld()
		w.check = func(string, steps.CheckParams) (steps.CheckResult, error) {
			return steps.CheckResult{}, final(incident.Forbidden)
		}
		w.commTest = func(p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
			return steps.RunCommTestResult{}, final(incident.Forbidden)
		}
		env := w.environment(t)
		result := finish(t, env, input(t, alertNow()))
		if result.Outcome != incident.Escalated || w.reported.FailureCase == incident.NoneOfThese {
			t.Errorf("outcome %q, case %q", result.Outcome, w.reported.FailureCase)
		}
	})
}

func TestPromise6AThirdPartysEditIsLeftAlone(t *testing.T) {
	w := newWorld()
	w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		return steps.AwaitRanksResult{Good: incident.No, Why: "no better"}, nil
	}
	w.undo = func(steps.UndoChangeParams) (steps.UndoChangeResult, error) {
		return steps.UndoChangeResult{Complete: false, Found: []string{"networkpolicy/allow: edited by kubectl"}}, nil
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	if result := finish(t, env, input(t, alertNow())); result.Outcome != incident.Escalated {
		t.Errorf("outcome %q, want a person to be asked", result.Outcome)
	}
}

func TestCancelUndoes(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		return steps.AwaitRanksResult{}, unreachable() // keeps trying, so that there is time to cancel
	}
	answer(t, env, time.Minute, incident.Approve, "ada")
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(workflows.CancelUpdate, "c", callbacks(t), workflows.CancelInput{By: "ada", Reason: "enough"})
	}, 70*time.Second)
	result := finish(t, env, input(t, alertNow()))
	if result.Outcome != incident.Cancelled || !w.did(steps.UndoChange) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
}

func TestAPIServerAwayForAWhile(t *testing.T) {
	w := newWorld()
	asked := 0
	resolve := w.resolve
	w.resolve = func(p steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		if asked++; asked < 40 {
			return steps.ResolveTargetResult{}, unreachable()
		}
		return resolve(p)
	}
	var said []string
	w.card = func(p steps.PostCardParams) (steps.PostCardResult, error) {
		said = append(said, p.Card.Headline)
		return steps.PostCardResult{Ref: steps.MessageRef{Channel: "C1", TS: "1"}}, nil
	}
	env := w.environment(t)
	answer(t, env, 30*time.Minute, incident.Approve, "ada")
	in := input(t, alertNow())
	in.Settings.Approval.Deadline = 2 * time.Hour
	if result := finish(t, env, in); result.Outcome != incident.Resolved {
		t.Fatalf("outcome %q %v", result.Outcome, w.reported.Errors)
	}
	if len(said) == 0 || said[0] != "Waiting: gave up after repeated tries: asking the API server: connection refused" && said[0] != "Waiting: asking the API server: connection refused" {
		t.Errorf("people were told %q", said)
	}
}

func TestSlackAwayDoesNotStopTheStory(t *testing.T) {
	w := newWorld()
	w.card = func(steps.PostCardParams) (steps.PostCardResult, error) { return steps.PostCardResult{}, unreachable() }
	env := w.environment(t)
	answer(t, env, 5*time.Minute, incident.Approve, "ada")
	if result := finish(t, env, input(t, alertNow())); result.Outcome != incident.Resolved {
		t.Errorf("outcome %q", result.Outcome)
	}
}

func TestReportFailureIsNotTheEnd(t *testing.T) {
	w := newWorld()
	w.report = func(steps.WriteReportParams) (steps.WriteReportResult, error) {
		return steps.WriteReportResult{}, final(incident.Internal)
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	if result := finish(t, env, input(t, alertNow())); result.Outcome != incident.Resolved {
		t.Errorf("outcome %q", result.Outcome)
	}
}

// voting lets a test name the plan hash; "" is the one that waits.
type voting struct{ env testEnv }

func (v *voting) vote(t *testing.T, after time.Duration, verdict, by, hash string) {
	v.env.RegisterDelayedCallback(func() {
		if hash == "" {
			if view := viewOf(t, v.env); view.Asking != nil {
				hash = view.Asking.Hash
			}
		}
		v.env.UpdateWorkflow(workflows.VoteUpdate, "vote-"+by, callbacks(t), incident.Vote{By: by, Via: "cli", PlanHash: hash, Verdict: verdict})
	}, after)
}
