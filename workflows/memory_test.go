package workflows_test

import (
	"strings"
	"testing"
	"time"

	"gpumedic/incident"
	"gpumedic/steps"
)

// outOfMemory answers the checks as a cluster whose third rank ran out of memory at
// step 120, twice; more is what the other checks say.
func outOfMemory(cause string, more ...incident.Finding) func(string, steps.CheckParams) (steps.CheckResult, error) {
	return func(name string, _ steps.CheckParams) (steps.CheckResult, error) {
		result := steps.CheckResult{}
		switch name {
		case steps.CheckWorkload:
			result.Findings = []incident.Finding{{ID: incident.RanksFailing, Check: name, State: incident.Yes, Subject: "job/llama-70b", Value: "4 of 4"}}
		case steps.CheckRankLogs:
			result.Observations = []incident.Observation{{
				Signature: "torch-cuda-oom", Role: "origin", FailureCase: "cuda-oom", Weight: 0.8, Meaning: "no room for 2.00 GiB",
				Causes: []string{cause}, Ranks: "2", RankCount: 1, Count: 2, FirstRank: 2, FirstAt: start, AfterStep: 120, Times: 2, Evidence: "logs/rank-002.log#L9",
			}, {
				Signature: "nccl-peer-closed", Role: "echo", FailureCase: "nccl-failure", Weight: 0.6, Meaning: "a peer closed the connection",
				Causes: []string{"peer-process-died"}, Ranks: "0-1,3", RankCount: 3, Count: 3, FirstAt: start.Add(time.Second), Evidence: "logs/rank-000.log#L9",
			}}
		}
		for _, finding := range more {
			if finding.Check == name {
				result.Findings = append(result.Findings, finding)
			}
		}
		return result, nil
	}
}

func templatePlan(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
	plan := somePlan(p.Remedy)
	plan.Wanted = p.Wanted
	return steps.PlanRemedyResult{Possible: true, Plan: plan.Seal()}, nil
}

func alertOf(name string) incident.Alert {
	alert := alertNow()
	alert.Name, alert.Labels = name, map[string]string{"alertname": name}
	return alert
}

func count(log []string, name string) int {
	n := 0
	for _, entry := range log {
		if entry == name {
			n++
		}
	}
	return n
}

// TestHandOverToMemory: an alert about NCCL whose first origin is one rank's memory
// goes on as cuda-oom, in one incident, and asks nothing twice.
func TestHandOverToMemory(t *testing.T) {
	w := newWorld()
	w.check = outOfMemory("memory-fragmentation")
	var planned steps.PlanRemedyParams
	w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
		planned = p
		return templatePlan(p)
	}
	var wanted incident.Wanted
	w.await = func(p steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		wanted = p.Wanted
		return steps.AwaitRanksResult{Good: incident.Yes, Why: "all ranks are past step 120"}, nil
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	result := finish(t, env, input(t, alertNow()))
	record := w.reported
	if result.Outcome != incident.Resolved || record.FailureCase != "cuda-oom" || record.RootCause != "memory-fragmentation" {
		t.Fatalf("outcome %s, case %s, cause %s: %v", result.Outcome, record.FailureCase, record.RootCause, record.Errors)
	}
	if record.Runbook.Name != "cuda-oom" || w.did(steps.RunCommTest) {
		t.Errorf("runbook %s, steps %v", record.Runbook.Name, w.log)
	}
	for _, once := range []string{steps.CollectEvidence, steps.CheckWorkload, steps.CheckRankLogs, steps.CheckMemory, steps.CheckCapacity, steps.WriteReport} {
		if n := count(w.log, once); n != 1 {
			t.Errorf("%s was carried out %d times", once, n)
		}
	}
	if planned.Remedy != steps.SetAllocator || planned.Cause != "memory-fragmentation" || planned.Framework != "pytorch" {
		t.Errorf("the planner was told %+v", planned)
	}
	if wanted.PastStep != 120 || wanted.Recurrences != 2 {
		t.Errorf("wanted is %+v", wanted)
	}
	if !decided(record, "hand over") {
		t.Errorf("the hand-over is no decision: %+v", record.Decisions)
	}
}

func decided(record incident.Record, what string) bool {
	for _, decision := range record.Decisions {
		if decision.What == what {
			return true
		}
	}
	return false
}

// TestHandOverHappensOnce: when the second runbook's checks point back, the incident
// stays where it is.
func TestHandOverHappensOnce(t *testing.T) {
	w := newWorld()
	w.check = outOfMemory("memory-fragmentation", incident.Finding{
		ID: incident.TransportUsed, Check: steps.CheckMemory, State: incident.Yes, Value: "Socket"}, incident.Finding{
		ID: incident.PolicyBlocksRanks, Check: steps.CheckMemory, State: incident.Yes, Subject: "networkpolicy/deny"})
	w.plan = func(steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
		return steps.PlanRemedyResult{WhyNot: "not here"}, nil
	}
	finish(t, w.environment(t), input(t, alertNow()))
	if n := count(w.log, steps.CheckMemory); n != 1 || w.reported.Runbook.Name != "cuda-oom" {
		t.Errorf("asked %d times, ended with runbook %s", n, w.reported.Runbook.Name)
	}
}

// TestUnprovedChangeWaits: until the job is past its step the incident asks again and
// again, and a death in between takes the change back.
func TestUnprovedChangeWaits(t *testing.T) {
	tests := map[string]struct {
		last    steps.AwaitRanksResult
		looks   int
		outcome string
		undone  bool
	}{
		"it gets past":     {steps.AwaitRanksResult{Good: incident.Yes, Why: "past step 120"}, 20, incident.Resolved, false},
		"it dies again":    {steps.AwaitRanksResult{Good: incident.No, Why: "rank 2 ended with exit code 1"}, 5, incident.RolledBack, true},
		"the time is over": {steps.AwaitRanksResult{Good: incident.Unknown, Unproved: true, Why: "not yet past step 120"}, 1, incident.Escalated, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.check, w.plan = outOfMemory("memory-fragmentation"), func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
				if p.Remedy != steps.SetAllocator {
					return steps.PlanRemedyResult{WhyNot: "no knob is declared"}, nil
				}
				return templatePlan(p)
			}
			looks := 0
			w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
				if looks++; looks < test.looks {
					return steps.AwaitRanksResult{Good: incident.Unknown, Unproved: true, Why: "not yet past step 120"}, nil
				}
				return test.last, nil
			}
			env := w.environment(t)
			answer(t, env, time.Minute, incident.Approve, "ada")
			in := input(t, alertOf("CUDAOutOfMemory"))
			in.Settings.Verify.Proof = 6 * time.Hour
			result := finish(t, env, in)
			if result.Outcome != test.outcome || w.did(steps.UndoChange) != test.undone {
				t.Fatalf("outcome %s (%s), undone %v", result.Outcome, w.reported.Summary, w.did(steps.UndoChange))
			}
			if change := w.reported.Changes[0]; change.Verified != (test.outcome == incident.Resolved) {
				t.Errorf("change %+v", change)
			}
			if limit := 60; looks > limit {
				t.Errorf("%d looks in six hours, want at most %d", looks, limit)
			}
		})
	}
}

// TestForeignProcess: nothing is changed, and the owner is named.
func TestForeignProcess(t *testing.T) {
	w := newWorld()
	w.check = outOfMemory("other-process-on-gpu", incident.Finding{ID: incident.GPUForeignProcess, Check: steps.CheckGPUMetrics, State: incident.Yes,
		Subject: "node/gpu-08", Value: "61 GiB", Why: "process 4242 of user mallory holds 61 GiB of GPU 0"})
	result := finish(t, w.environment(t), input(t, alertOf("CUDAOutOfMemory")))
	if result.Outcome != incident.Escalated || w.did(steps.PlanRemedy) || !strings.Contains(w.reported.Next, "mallory") {
		t.Errorf("outcome %s, next %q, steps %v", result.Outcome, w.reported.Next, w.log)
	}
}

// TestForeignProcessOfTheLogAlone: without a finding the ranks' own message names the
// process, and the placement the node.
func TestForeignProcessOfTheLogAlone(t *testing.T) {
	w := newWorld()
	asked := outOfMemory("other-process-on-gpu")
	w.check = func(name string, p steps.CheckParams) (steps.CheckResult, error) {
		result, err := asked(name, p)
		if name == steps.CheckRankLogs {
			result.Observations[0].Line = "Tried to allocate 2.00 GiB. Process 4242 has 61.00 GiB memory in use."
		}
		return result, err
	}
	resolve := w.resolve
	w.resolve = func(p steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		result, err := resolve(p)
		result.Summary.Placed = []incident.Placed{{Node: "gpu-00", Ranks: "0-1"}, {Node: "gpu-08", Ranks: "2-3"}}
		return result, err
	}
	finish(t, w.environment(t), input(t, alertOf("CUDAOutOfMemory")))
	if blamed := w.reported.Blamed; blamed.Kind != "node" || len(blamed.Names) != 1 || blamed.Names[0] != "gpu-08" {
		t.Errorf("blamed is %+v", blamed)
	}
	if !strings.Contains(w.reported.Next, "Process 4242 has 61.00 GiB memory in use; the rank ran on node gpu-08") {
		t.Errorf("next is %q", w.reported.Next)
	}
}

// starved answers the checks as a job that works and waits for its input.
func starved(more ...incident.Finding) func(string, steps.CheckParams) (steps.CheckResult, error) {
	answers := append([]incident.Finding{
		{ID: incident.RanksFailing, Check: steps.CheckWorkload, State: incident.No, Subject: "job/llama-70b"},
		{ID: incident.TrainingProgress, Check: steps.CheckRankLogs, State: incident.Yes, Subject: "job/llama-70b"},
		{ID: incident.InputWaits, Check: steps.CheckRankLogs, State: incident.Yes, Subject: "job/llama-70b", Value: "80 %", Why: "steps wait"},
	}, more...)
	return func(name string, _ steps.CheckParams) (steps.CheckResult, error) {
		var result steps.CheckResult
		for _, finding := range answers {
			if finding.Check == name {
				result.Findings = append(result.Findings, finding)
			}
		}
		return result, nil
	}
}

// TestLowUtilisationThatIsAStarvedLoader hands over, tries first what the findings
// speak for, and wants less waiting than before.
func TestLowUtilisationThatIsAStarvedLoader(t *testing.T) {
	yes := func(id, check string) incident.Finding {
		return incident.Finding{ID: id, Check: check, State: incident.Yes, Subject: "job/llama-70b", Why: id}
	}
	tests := map[string]struct {
		findings []incident.Finding
		first    string
	}{
		"few workers":   {[]incident.Finding{yes(incident.LoaderWorkersFew, steps.CheckLoading), yes(incident.KnobsDeclared, steps.CheckMemory), yes(incident.CacheMissing, steps.CheckLoading)}, steps.TurnKnobs},
		"a slow class":  {[]incident.Finding{yes(incident.VolumeClassSlow, steps.CheckVolumes), yes(incident.CacheMissing, steps.CheckLoading)}, steps.FasterStorage},
		"a cold cache":  {[]incident.Finding{yes(incident.CacheCold, steps.CheckLoading), yes(incident.VolumeClassSlow, steps.CheckVolumes)}, steps.CacheDataset},
		"nothing known": {nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.check = starved(test.findings...)
			var tried []string
			w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
				tried = append(tried, p.Remedy)
				return templatePlan(p)
			}
			below := 0.0
			w.await = func(p steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
				below = p.Wanted.InputWaitBelow
				return steps.AwaitRanksResult{Good: incident.Yes, Why: "the input keeps up"}, nil
			}
			env := w.environment(t)
			answer(t, env, time.Minute, incident.Approve, "ada")
			result := finish(t, env, input(t, alertOf("LowGPUUtilization")))
			if w.reported.FailureCase != "dataset-slow" || w.reported.RootCause != "input-pipeline-too-slow" {
				t.Fatalf("case %s, cause %s", w.reported.FailureCase, w.reported.RootCause)
			}
			if test.first == "" {
				if result.Outcome != incident.Escalated || len(tried) > 0 {
					t.Errorf("outcome %s, tried %v", result.Outcome, tried)
				}
				return
			}
			if result.Outcome != incident.Resolved || tried[0] != test.first || below != 0.4 {
				t.Errorf("outcome %s, tried %v, wanted waiting below %v", result.Outcome, tried, below)
			}
		})
	}
}

// TestMissingMetricsAreNoHealth: a job that gets on, of which nobody can say whether
// its GPUs are busy, is neither well nor ill.
func TestMissingMetricsAreNoHealth(t *testing.T) {
	w := newWorld()
	w.check = func(name string, p steps.CheckParams) (steps.CheckResult, error) {
		result, err := starved()(name, p)
		if name == steps.CheckRankLogs {
			result.Findings = result.Findings[:1] // steps, and no word of the input
		}
		return result, err
	}
	result := finish(t, w.environment(t), input(t, alertOf("DatasetLoadingSlow")))
	if result.Outcome != incident.Escalated || w.reported.RootCause != incident.UnknownCause || w.did(steps.PlanRemedy) {
		t.Errorf("outcome %s, cause %s", result.Outcome, w.reported.RootCause)
	}
}
