package workflows_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gpumedic/incident"
	"gpumedic/localize"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// planned is the real planner.
func planned(p steps.PlanCommTestParams) (steps.PlanCommTestResult, error) {
	step := localize.Next(localize.Input{Nodes: p.Nodes, Prior: p.Prior, ExpectedGBps: p.ExpectedGBps, MaxRounds: p.MaxRounds}, p.Rounds)
	return steps.PlanCommTestResult{Groups: step.Groups, Verdict: step.Verdict, Suspects: step.Suspects, Cleared: step.Cleared}, nil
}

// roomy is a cluster with GPUs free on every node.
func roomy(steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error) {
	return steps.CheckTestRoomResult{Room: incident.Yes, Freed: incident.Yes, Why: "every node has 4 GPUs free"}, nil
}

func atStart(steps.WorkloadParams) (steps.WorkloadResult, error) {
	return steps.WorkloadResult{At: start}, nil
}

// script is a planner that gives its rounds and then its verdict, whatever the
// outcomes were. The test after a change has the real planner.
func script(verdict incident.Verdict, rounds ...[]incident.Group) func(steps.PlanCommTestParams) (steps.PlanCommTestResult, error) {
	return func(p steps.PlanCommTestParams) (steps.PlanCommTestResult, error) {
		at := len(p.Rounds)
		switch {
		case p.MaxRounds == 1:
			return planned(p)
		case at == 0:
			return steps.PlanCommTestResult{Groups: rounds[0]}, nil
		case at < len(rounds):
			return steps.PlanCommTestResult{Groups: rounds[at], Suspects: []incident.Suspect{{Kind: "node", ID: "gpu-01", Probability: 0.2 * float64(at)}}, Cleared: at}, nil
		}
		verdict.Rounds = len(p.Rounds)
		return steps.PlanCommTestResult{Verdict: &verdict}, nil
	}
}

func group(id string, nodes ...string) incident.Group { return incident.Group{ID: id, Nodes: nodes} }

var everybody = []incident.Group{group("r1-g1", "gpu-00", "gpu-01", "gpu-08", "gpu-09")}

// unexplained answers the checks as a cluster in which nothing tells why the
// ranks fail.
func unexplained(name string, p steps.CheckParams) (steps.CheckResult, error) {
	switch name {
	case steps.CheckPolicies:
		return steps.CheckResult{Findings: []incident.Finding{
			{ID: incident.PolicyBlocksRanks, Check: name, State: incident.No, Subject: "Job/llama-70b", Value: "0 of 12 directions"},
			{ID: incident.PolicyBlocksDNS, Check: name, State: incident.No, Subject: "Job/llama-70b"}}}, nil
	case steps.CheckRankLogs:
		return steps.CheckResult{}, nil
	}
	return blockedByPolicy(name, p)
}

func finding(record incident.Record, id string) (incident.Finding, bool) {
	at := slices.IndexFunc(record.Findings, func(f incident.Finding) bool { return f.ID == id })
	if at < 0 {
		return incident.Finding{}, false
	}
	return record.Findings[at], true
}

func said(record incident.Record, text string) bool {
	return slices.ContainsFunc(record.Story, func(e incident.Event) bool { return strings.Contains(e.Text, text) })
}

func TestVerdictBecomesCauseAndFindings(t *testing.T) {
	w := newWorld()
	w.check = unexplained
	commTest := w.commTest
	w.commTest = func(p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
		result, err := commTest(p)
		result.Index = ref("commtest/" + p.Name + "/index.json")
		return result, err
	}
	w.planTest = script(incident.Verdict{Why: "two nodes are bad", Bad: []incident.BadPart{
		{Kind: "node", ID: "gpu-01", Confidence: 0.97}, {Kind: "node", ID: "gpu-09", Confidence: 0.97}}}, everybody)
	env := w.environment(t)
	finish(t, env, input(t, alertNow()))
	if w.reported.RootCause != "ib-link-error" || w.reported.Blamed.Kind != "node" || !slices.Equal(w.reported.Blamed.Names, []string{"gpu-01", "gpu-09"}) {
		t.Errorf("cause %s, blamed %+v", w.reported.RootCause, w.reported.Blamed)
	}
	if bad, _ := finding(w.reported, incident.CommTestNodeBad); bad.State != incident.Yes || bad.Subject != "node/gpu-01" {
		t.Errorf("finding %+v", bad)
	}
	if w.reported.CommTest == nil || len(w.reported.CommTest.History) != 1 {
		t.Errorf("test %+v", w.reported.CommTest)
	}
	if !slices.ContainsFunc(w.reported.Evidence, func(r incident.EvidenceRef) bool { return strings.HasSuffix(r.Name, "-d1-0/index.json") }) {
		t.Errorf("the logs of the test are not kept: %+v", w.reported.Evidence)
	}
}

// TestNothingCrossesNodes: no node is blamed, the cluster is asked again, and
// what it answers now decides.
func TestNothingCrossesNodes(t *testing.T) {
	infrastructure := incident.Verdict{Why: "no group could connect", Bad: []incident.BadPart{{Kind: "infrastructure", ID: "*", Confidence: 0.95}}}
	t.Run("a policy shows the second time", func(t *testing.T) {
		w := newWorld()
		w.check = func(name string, p steps.CheckParams) (steps.CheckResult, error) {
			if name == steps.CheckPolicies && w.did(steps.RunCommTest) {
				return blockedByPolicy(name, p)
			}
			if name == steps.CheckRankLogs {
				return blockedByPolicy(name, p)
			}
			return unexplained(name, p)
		}
		w.planTest = script(infrastructure, everybody)
		env := w.environment(t)
		answer(t, env, time.Minute, incident.Approve, "ada")
		result := finish(t, env, input(t, alertNow()))
		if result.Outcome != incident.Resolved || w.reported.RootCause != "network-unreachable-or-port-blocked" {
			t.Errorf("outcome %q, cause %q: %+v", result.Outcome, w.reported.RootCause, w.reported.Story)
		}
		found := 0
		for _, f := range w.reported.Findings {
			if f.ID == incident.PolicyBlocksRanks {
				found++
				if f.State != incident.Yes {
					t.Errorf("the old answer stands: %+v", f)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d answers to one question", found)
		}
	})
	t.Run("nothing tells why", func(t *testing.T) {
		w := newWorld()
		w.check = unexplained
		w.planTest = script(infrastructure, everybody)
		env := w.environment(t)
		result := finish(t, env, input(t, alertNow()))
		if result.Outcome != incident.Escalated || w.reported.Blamed.Kind == "node" || w.did(steps.ApplyChange) {
			t.Errorf("outcome %q, blamed %+v", result.Outcome, w.reported.Blamed)
		}
		if !strings.Contains(w.reported.Next, "Ruled out: policy blocks ranks, policy blocks dns") {
			t.Errorf("next: %s", w.reported.Next)
		}
		asked := 0
		for _, name := range w.log {
			if name == steps.CheckRankLogs {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("the logs were read %d times", asked)
		}
	})
	t.Run("the second time nobody answers", func(t *testing.T) {
		w := newWorld()
		w.check = func(name string, p steps.CheckParams) (steps.CheckResult, error) {
			if w.did(steps.RunCommTest) {
				return steps.CheckResult{}, final(incident.Forbidden)
			}
			return blockedByPolicy(name, p)
		}
		w.planTest = script(infrastructure, everybody)
		env := w.environment(t)
		answer(t, env, time.Minute, incident.Approve, "ada")
		if result := finish(t, env, input(t, alertNow())); result.Outcome != incident.Resolved {
			t.Errorf("outcome %q: what was known was given up", result.Outcome)
		}
	})
}

// TestProgressIsTold: the story has every round. What view and card tell while
// it runs is seen in TestPromise5WorkerKilledInTheMiddleOfARound.
func TestProgressIsTold(t *testing.T) {
	w := newWorld()
	w.check = unexplained
	second := []incident.Group{group("r2-g1", "gpu-00", "gpu-01"), group("r2-g2", "gpu-08", "gpu-09")}
	w.planTest = script(incident.Verdict{Clean: true, Why: "all passed"}, everybody, second)
	env := w.environment(t)
	finish(t, env, input(t, alertNow()))
	want := "Round 2: 2 groups over 4 nodes; still suspected: gpu-01 (20 %); 1 node cleared"
	if !said(w.reported, want) || !said(w.reported, "Round 1: 1 group over 4 nodes") {
		t.Errorf("the story %+v", w.reported.Story)
	}
}

// short is a cluster whose nodes have no GPUs free; held by the job itself, or
// by others.
func short(freed incident.State) func(steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error) {
	return func(p steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error) {
		room := steps.CheckTestRoomResult{Room: incident.No, Freed: freed, Why: fmt.Sprintf("%d nodes have no GPU free", len(p.Nodes))}
		for _, node := range p.Nodes {
			n := steps.NodeRoom{Node: node, Wanted: 4, ByTarget: 8}
			if freed != incident.Yes {
				n.ByTarget, n.ByOthers = 2, 6
			}
			room.Short = append(room.Short, n)
		}
		return room, nil
	}
}

func TestNoRoomHeldByOthers(t *testing.T) {
	for _, freed := range []incident.State{incident.No, incident.Unknown} {
		w := newWorld()
		w.check, w.room = unexplained, short(freed)
		env := w.environment(t)
		result := finish(t, env, input(t, alertNow()))
		if result.Outcome != incident.Escalated || w.did(steps.RunCommTest) || w.did(steps.SuspendWorkload) || w.reported.CommTest != nil {
			t.Errorf("%s: outcome %q, steps %v", freed, result.Outcome, w.log)
		}
		if !slices.ContainsFunc(w.reported.Decisions, func(d incident.Decision) bool {
			return d.What == "communication test" && d.Verdict == incident.Refuse && slices.Contains(d.Reasons, "gpu-00: a test pod needs 4 GPUs, 0 are free, this job holds 2, others hold 6")
		}) {
			t.Errorf("who holds the GPUs is not told: %+v", w.reported.Decisions)
		}
	}
}

func TestRoomThatNobodyCouldCountStopsNothing(t *testing.T) {
	w := newWorld()
	w.check = unexplained
	w.room = func(steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error) {
		return steps.CheckTestRoomResult{}, final(incident.Forbidden)
	}
	env := w.environment(t)
	finish(t, env, input(t, alertNow()))
	if !w.did(steps.RunCommTest) || w.did(steps.SuspendWorkload) {
		t.Errorf("steps %v", w.log)
	}
}

// TestStopForTest: the ranks hold the GPUs, people agree, the ranks stop, the
// test runs, and they start again whatever came out.
func TestStopForTest(t *testing.T) {
	w := newWorld()
	w.check, w.room = unexplained, short(incident.Yes)
	w.planTest = script(incident.Verdict{Clean: true, Why: "all passed"}, everybody)
	w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
		plan := somePlan(p.Remedy)
		plan.Changes[0].Verb = "apply"
		return steps.PlanRemedyResult{Possible: true, Plan: plan.Seal()}, nil
	}
	env := w.environment(t)
	var asked incident.Plan
	env.RegisterDelayedCallback(func() { asked = *viewOf(t, env).Asking }, 30*time.Second)
	answer(t, env, time.Minute, incident.Approve, "ada")
	in := input(t, alertNow())
	in.Settings.CommTest.StartDeadline, in.Settings.CommTest.Deadline = time.Minute, 4*time.Minute
	result := finish(t, env, in)
	order := []string{steps.CheckTestRoom, steps.PlanRemedy, steps.TakeSnapshot, steps.SuspendWorkload, steps.RunCommTest, steps.ResumeWorkload}
	for i := 1; i < len(order); i++ {
		if a, b := w.order(order[i-1]), w.order(order[i]); a < 0 || b < 0 || a > b {
			t.Errorf("%s must come before %s: %v", order[i-1], order[i], w.log)
		}
	}
	if asked.Remedy != steps.StopForTest || !strings.Contains(asked.Summary, "They hold 32 GPUs on 4 nodes. The test takes at most 3 rounds of up to 5m0s each") {
		t.Errorf("asked about %q: %s", asked.Remedy, asked.Summary)
	}
	if result.Outcome != incident.Escalated || len(w.reported.Changes) != 1 {
		t.Fatalf("outcome %q, changes %+v", result.Outcome, w.reported.Changes)
	}
	change := w.reported.Changes[0]
	if change.Remedy != steps.StopForTest || !change.Undone || change.UndoComplete == nil || !*change.UndoComplete || change.AppliedAt.IsZero() {
		t.Errorf("change %+v", change)
	}
	if !strings.Contains(w.reported.Summary, "The ranks were stopped for a communication test and started again") {
		t.Errorf("summary %q", w.reported.Summary)
	}
	if w.reported.GPUHoursLost != 1.5 || w.reported.CommTest == nil {
		t.Errorf("%v GPU-hours, test %+v", w.reported.GPUHoursLost, w.reported.CommTest)
	}
}

// TestPromise4NoStopForTestWithoutApproval: silence and no mean no test, and
// the incident goes on without it.
func TestPromise4NoStopForTestWithoutApproval(t *testing.T) {
	for name, arrange := range map[string]func(*testing.T, *world, *voting){
		"silence": func(*testing.T, *world, *voting) {},
		"denied":  func(t *testing.T, _ *world, v *voting) { v.vote(t, time.Minute, incident.Deny, "ada", "") },
		"a stranger agrees": func(t *testing.T, _ *world, v *voting) {
			v.vote(t, time.Minute, incident.Approve, "mallory", "")
		},
		"no plan": func(_ *testing.T, w *world, _ *voting) {
			w.plan = func(steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
				return steps.PlanRemedyResult{WhyNot: "Kueue owns the suspension"}, nil
			}
		},
		"target changed": func(t *testing.T, w *world, v *voting) {
			w.snapshot = changedTarget
			v.vote(t, time.Minute, incident.Approve, "ada", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.check, w.room = unexplained, short(incident.Yes)
			env := w.environment(t)
			arrange(t, w, &voting{env})
			result := finish(t, env, input(t, alertNow()))
			if w.did(steps.SuspendWorkload) || w.did(steps.RunCommTest) || len(w.reported.Changes) != 0 {
				t.Errorf("steps %v", w.log)
			}
			if name != "target changed" && !said(w.reported, "no communication test: the ranks hold the GPUs") {
				t.Errorf("nobody is told that there was no test: %+v", w.reported.Story)
			}
			if result.Outcome != incident.Escalated {
				t.Errorf("outcome %q: without the test it is not known whose fault it is", result.Outcome)
			}
		})
	}
}

// TestAlertGoneWhileAskingToStop: nobody needs a test any more, nor a remedy.
func TestAlertGoneWhileAskingToStop(t *testing.T) {
	w := newWorld()
	w.room = short(incident.Yes)
	env := w.environment(t)
	alert := alertNow()
	env.RegisterDelayedCallback(func() {
		over := alert
		over.Status = incident.AlertResolved
		env.SignalWorkflow(workflows.AlertSignal, workflows.AlertSignalInput{Alerts: []incident.Alert{over}})
	}, time.Minute)
	result := finish(t, env, input(t, alert))
	if result.Outcome != incident.SelfResolved || w.did(steps.SuspendWorkload) || w.did(steps.RunCommTest) || w.did(steps.ApplyChange) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
	if w.reported.Changes == nil {
		t.Error("no changes is null in the report, must be an empty list")
	}
}

// TestPromise5RanksStartAgain: a stop that failed half way, and a cancellation
// in the middle of the test, both end with the ranks started.
func TestPromise5RanksStartAgainAfterTheTest(t *testing.T) {
	t.Run("stop failed", func(t *testing.T) {
		w := newWorld()
		w.check, w.room = unexplained, short(incident.Yes)
		w.suspend = func(steps.WorkloadParams) (steps.WorkloadResult, error) {
			return steps.WorkloadResult{}, final(incident.Conflict)
		}
		env := w.environment(t)
		answer(t, env, time.Minute, incident.Approve, "ada")
		finish(t, env, input(t, alertNow()))
		if !w.did(steps.ResumeWorkload) || w.did(steps.RunCommTest) {
			t.Errorf("steps %v", w.log)
		}
	})
	t.Run("cancelled in the test", func(t *testing.T) {
		w := newWorld()
		w.check, w.room = unexplained, short(incident.Yes)
		w.commTest = func(steps.RunCommTestParams) (steps.RunCommTestResult, error) {
			return steps.RunCommTestResult{}, unreachable() // keeps trying, so that there is time to cancel
		}
		env := w.environment(t)
		answer(t, env, time.Minute, incident.Approve, "ada")
		env.RegisterDelayedCallback(func() {
			env.UpdateWorkflow(workflows.CancelUpdate, "c", callbacks(t), workflows.CancelInput{By: "ada", Reason: "enough"})
		}, 70*time.Second)
		result := finish(t, env, input(t, alertNow()))
		if result.Outcome != incident.Cancelled || !w.did(steps.CleanCommTest) || w.order(steps.ResumeWorkload) < w.order(steps.CleanCommTest) {
			t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
		}
	})
	t.Run("cannot start", func(t *testing.T) {
		w := newWorld()
		w.check, w.room = unexplained, short(incident.Yes)
		w.resume = func(steps.WorkloadParams) (steps.WorkloadResult, error) {
			return steps.WorkloadResult{}, final(incident.Forbidden)
		}
		env := w.environment(t)
		answer(t, env, time.Minute, incident.Approve, "ada")
		result := finish(t, env, input(t, alertNow()))
		if result.Outcome != incident.Escalated || !strings.Contains(w.reported.Next, "Start them by hand") {
			t.Errorf("outcome %q, next %q", result.Outcome, w.reported.Next)
		}
	})
}

// TestSlowJobIsTested: a job that runs is worth a test when an alert says that
// it is slow, and not else.
func TestSlowJobIsTested(t *testing.T) {
	for name, tested := range map[string]bool{"NCCLSlowCollectives": true, "NCCLErrors": false} {
		w := newWorld()
		w.check = func(check string, p steps.CheckParams) (steps.CheckResult, error) {
			switch check {
			case steps.CheckWorkload:
				return steps.CheckResult{Findings: []incident.Finding{{ID: incident.RanksFailing, Check: check, State: incident.No, Subject: "Job/llama-70b"}}}, nil
			case steps.CheckRankLogs:
				return steps.CheckResult{Findings: []incident.Finding{{ID: incident.TrainingProgress, Check: check, State: incident.Yes, Subject: "Job/llama-70b"}}}, nil
			}
			return unexplained(check, p)
		}
		w.planTest = script(incident.Verdict{Why: "gpu-01 is bad", Bad: []incident.BadPart{{Kind: "node", ID: "gpu-01", Confidence: 0.99}}}, everybody)
		alert := alertNow()
		alert.Name, alert.Labels["alertname"] = name, name
		env := w.environment(t)
		finish(t, env, input(t, alert))
		if w.did(steps.RunCommTest) != tested || (w.reported.RootCause == "ib-link-error") != tested {
			t.Errorf("%s: tested %v, cause %q", name, w.did(steps.RunCommTest), w.reported.RootCause)
		}
	}
}

// TestAPlannerThatFailsBlamesNobody: what was seen stays, the verdict is open.
func TestAPlannerThatFailsBlamesNobody(t *testing.T) {
	w := newWorld()
	w.check = unexplained
	plan := script(incident.Verdict{}, everybody)
	w.planTest = func(p steps.PlanCommTestParams) (steps.PlanCommTestResult, error) {
		if len(p.Rounds) == 1 {
			return steps.PlanCommTestResult{}, final(incident.Internal)
		}
		return plan(p)
	}
	env := w.environment(t)
	finish(t, env, input(t, alertNow()))
	test := w.reported.CommTest
	if test == nil || !test.Verdict.Inconclusive || len(test.History) != 1 || len(test.Verdict.Bad) != 0 {
		t.Fatalf("test %+v", test)
	}
	if bad, _ := finding(w.reported, incident.CommTestNodeBad); bad.State != incident.Unknown {
		t.Errorf("finding %+v", bad)
	}
}
