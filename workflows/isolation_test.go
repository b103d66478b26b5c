package workflows_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// sick is the node that the communication test finds bad.
const sick = "gpu-08"

// sickNode is a world in which every group with the sick node fails, and in
// which isolating it helps.
func sickNode() *world {
	w := newWorld()
	w.check = func(name string, _ steps.CheckParams) (steps.CheckResult, error) {
		if name != steps.CheckRankLogs {
			return steps.CheckResult{}, nil
		}
		return steps.CheckResult{Observations: []incident.Observation{{
			Signature: "nccl-ib-wc-error", Role: "origin", FailureCase: "nccl-failure", Weight: 0.8, Meaning: "an InfiniBand operation failed",
			Causes: []string{"ib-link-error"}, Ranks: "2", RankCount: 1, Count: 3, FirstAt: start, FirstRank: 2, Line: "NET/IB : Got completion with error 12", Evidence: "logs/rank-002.log#L9",
		}}}, nil
	}
	w.commTest = func(p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
		outcome := incident.Outcome{ID: p.Group.ID, Nodes: p.Group.Nodes, Result: incident.TestPass, BusBWGBps: 360, Why: "passed"}
		if slices.Contains(p.Group.Nodes, sick) {
			outcome.Result, outcome.BusBWGBps, outcome.Why = incident.TestFail, 0, "ranks did not arrive"
		}
		return steps.RunCommTestResult{Outcome: outcome}, nil
	}
	w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
		if p.Remedy != steps.IsolateNode || !slices.Equal(p.Blamed.Names, []string{sick}) {
			return steps.PlanRemedyResult{WhyNot: "not for this test"}, nil
		}
		return steps.PlanRemedyResult{Possible: true, Plan: isolationPlan()}, nil
	}
	w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		return steps.AwaitRanksResult{Good: incident.Yes, Why: "all ranks train", Summary: incident.WorkloadSummary{Nodes: isolationPlan().Isolation.After}}, nil
	}
	return w
}

func isolationPlan() incident.Plan {
	plan := somePlan(steps.IsolateNode)
	plan.Risk, plan.Nodes, plan.Summary = incident.RiskHigh, []string{sick}, "isolate "+sick
	plan.Changes = []incident.ObjectChange{{Verb: "isolate", APIVersion: "v1", Kind: "Node", Name: sick, UID: "n",
		Manifest: []byte(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"gpu-08"},"spec":{"taints":[{"effect":"NoSchedule","key":"gpumedic.io/isolated","value":"x"}],"unschedulable":true}}`)}}
	plan.Isolation = &incident.Isolation{Domains: []incident.Domain{{Kind: "cluster", Name: "lab", Size: 16, Nodes: []string{sick}}}}
	for _, name := range []string{"gpu-00", "gpu-01", "gpu-09", "gpu-10"} {
		plan.Isolation.After = append(plan.Isolation.After, incident.Node{Name: name, GPUs: 8, Ready: true})
	}
	return plan.Seal()
}

// isolated runs the incident with an approval and gives what became of it.
func (w *world) isolated(t *testing.T) incident.Record {
	t.Helper()
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	in := input(t, alertNow())
	in.Settings.CommTest.MaxRounds = 20
	finish(t, env, in)
	return w.reported
}

func TestASickNodeIsIsolated(t *testing.T) {
	w := sickNode()
	var lease steps.LeaseParams
	var given steps.ReleaseParams
	var tested []string
	w.lease = func(p steps.LeaseParams) (steps.LeaseResult, error) {
		lease = p
		return steps.LeaseResult{Granted: true}, nil
	}
	w.release = func(p steps.ReleaseParams) (steps.ReleaseResult, error) {
		given = p
		return steps.ReleaseResult{Known: true}, nil
	}
	test := w.commTest
	w.commTest = func(p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
		if w.did(steps.ApplyChange) {
			tested = append(tested, p.Group.Nodes...)
		}
		return test(p)
	}
	record := w.isolated(t)
	if record.Outcome != incident.Resolved || record.RootCause != "ib-link-error" || !slices.Equal(record.Blamed.Names, []string{sick}) {
		t.Fatalf("outcome %q, cause %s, blamed %v\n%+v\n%+v", record.Outcome, record.RootCause, record.Blamed, record.Decisions, record.CommTest)
	}
	if slices.Contains(tested, sick) || !slices.Contains(tested, "gpu-10") {
		t.Errorf("the second test ran over %v, want the nodes where the ranks can be", tested)
	}
	if !strings.Contains(record.Next, "kubectl uncordon "+sick) {
		t.Errorf("nobody is told how to release the node: %q", record.Next)
	}
	if !slices.Equal(lease.Lease.Nodes, []string{sick}) || len(lease.Lease.Domains) != 1 || !given.Applied || !given.Isolated {
		t.Errorf("lease %+v, given back %+v", lease, given)
	}
	if w.order(steps.AcquireLease) > w.order(steps.TakeSnapshot) || w.order(steps.ReleaseLease) < w.order(steps.AwaitRanks) {
		t.Errorf("order %v", w.log)
	}
}

// TestPromise7WithoutALeaseNothingIsIsolated: the governor refuses, cannot be
// asked, or refuses only when people have agreed already.
func TestPromise7WithoutALeaseNothingIsIsolated(t *testing.T) {
	const full = "leaf leaf-a has already 1 isolated node: gpu-03 since 02:14, incident/x"
	refuse := func(steps.LeaseParams) (steps.LeaseResult, error) {
		return steps.LeaseResult{Reasons: []string{full}}, nil
	}
	for name, test := range map[string]struct {
		lease func(steps.LeaseParams) (steps.LeaseResult, error)
		asked bool
		says  string
	}{
		"over budget": {refuse, false, full},
		"cannot be asked": {func(steps.LeaseParams) (steps.LeaseResult, error) {
			return steps.LeaseResult{}, final(incident.Internal)
		}, false, "could not be asked"},
		"says nothing": {func(steps.LeaseParams) (steps.LeaseResult, error) { return steps.LeaseResult{}, nil }, false, "does not say why"},
		"used up while people thought": {func(p steps.LeaseParams) (steps.LeaseResult, error) {
			if p.Ask {
				return steps.LeaseResult{Granted: true}, nil
			}
			return refuse(p)
		}, true, full},
	} {
		t.Run(name, func(t *testing.T) {
			w := sickNode()
			w.lease = test.lease
			record := w.isolated(t)
			if record.Outcome != incident.Refused || !strings.Contains(record.Summary, test.says) {
				t.Errorf("outcome %q: %s", record.Outcome, record.Summary)
			}
			for _, change := range []string{steps.TakeSnapshot, steps.SuspendWorkload, steps.ApplyChange} {
				if w.did(change) {
					t.Errorf("%s was carried out", change)
				}
			}
			if asked := len(record.Approvals) > 0; asked != test.asked {
				t.Errorf("people were asked: %t", asked)
			}
		})
	}
}

func TestAnIsolationThatDoesNotHelpIsTakenBack(t *testing.T) {
	for name, await := range map[string]steps.AwaitRanksResult{
		"the ranks stand still":       {Good: incident.No, Why: "rank 3 still fails"},
		"it could not be seen":        {Good: incident.Unknown, Why: "logs could not be read"},
		"a rank is on the node again": {Good: incident.Yes, Why: "all train", Summary: incident.WorkloadSummary{Nodes: []incident.Node{{Name: sick}}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := sickNode()
			w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) { return await, nil }
			var given steps.ReleaseParams
			w.release = func(p steps.ReleaseParams) (steps.ReleaseResult, error) {
				given = p
				return steps.ReleaseResult{Known: true}, nil
			}
			record := w.isolated(t)
			if record.Outcome != incident.RolledBack || !w.did(steps.UndoChange) || !given.Applied || given.Isolated {
				t.Errorf("outcome %q, steps %v, given back %+v", record.Outcome, w.log, given)
			}
		})
	}
}

// TestTheLeaseIsGivenBackWhenTheIncidentIsCancelled in the middle of a change.
func TestTheLeaseIsGivenBackWhenTheIncidentIsCancelled(t *testing.T) {
	w := sickNode()
	w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		return steps.AwaitRanksResult{}, unreachable()
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(workflows.CancelUpdate, "c", callbacks(t), workflows.CancelInput{By: "ada", Reason: "enough"})
	}, 70*time.Second)
	in := input(t, alertNow())
	in.Settings.CommTest.MaxRounds = 20
	if result := finish(t, env, in); result.Outcome != incident.Cancelled || !w.did(steps.UndoChange) || !w.did(steps.ReleaseLease) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
}

// TestEveryChangeHoldsALease of its target, also one that touches no node.
func TestEveryChangeHoldsALease(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	var lease steps.LeaseParams
	w.lease = func(p steps.LeaseParams) (steps.LeaseResult, error) {
		lease = p
		return steps.LeaseResult{Granted: true}, nil
	}
	finish(t, env, input(t, alertNow()))
	if lease.Lease.Target != target || lease.Lease.Isolates() || w.order(steps.AcquireLease) > w.order(steps.TakeSnapshot) || !w.did(steps.ReleaseLease) {
		t.Errorf("lease %+v, steps %v", lease, w.log)
	}
}
