package workflows_test

import (
	"context"

	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// world is a cluster of eight ranks whose network policy blocks them, played
// by functions that a test replaces. It remembers which steps were carried
// out, in order.
type world struct {
	mutex sync.Mutex
	log   []string

	resolve  func(steps.ResolveTargetParams) (steps.ResolveTargetResult, error)
	collect  func(steps.CollectEvidenceParams) (steps.CollectEvidenceResult, error)
	check    func(name string, p steps.CheckParams) (steps.CheckResult, error)
	commTest func(steps.RunCommTestParams) (steps.RunCommTestResult, error)
	planTest func(steps.PlanCommTestParams) (steps.PlanCommTestResult, error)
	room     func(steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error)
	probe    func(steps.RunIOProbeParams) (steps.RunIOProbeResult, error)
	suspend  func(steps.WorkloadParams) (steps.WorkloadResult, error)
	resume   func(steps.WorkloadParams) (steps.WorkloadResult, error)
	plan     func(steps.PlanRemedyParams) (steps.PlanRemedyResult, error)
	snapshot func(steps.TakeSnapshotParams) (steps.TakeSnapshotResult, error)
	prepare  func(steps.ApplyChangeParams) (steps.ApplyChangeResult, error)
	apply    func(steps.ApplyChangeParams) (steps.ApplyChangeResult, error)
	await    func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error)
	lease    func(steps.LeaseParams) (steps.LeaseResult, error)
	release  func(steps.ReleaseParams) (steps.ReleaseResult, error)
	undo     func(steps.UndoChangeParams) (steps.UndoChangeResult, error)
	card     func(steps.PostCardParams) (steps.PostCardResult, error)
	report   func(steps.WriteReportParams) (steps.WriteReportResult, error)

	reported incident.Record
}

var (
	target = incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"}
	start  = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
)

func newWorld() *world {
	w := &world{}
	w.resolve = func(steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		return steps.ResolveTargetResult{Found: true, Supported: true, Target: target, Workload: ref("workload.json"), Summary: summary(), Simulated: []string{"everything"}}, nil
	}
	w.collect = func(steps.CollectEvidenceParams) (steps.CollectEvidenceResult, error) {
		return steps.CollectEvidenceResult{Index: ref("index.json"), Files: 20, Bytes: 4000}, nil
	}
	w.check = blockedByPolicy
	w.commTest = func(p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
		result := incident.TestFail
		if w.did(steps.ApplyChange) {
			result = incident.TestPass
		}
		return steps.RunCommTestResult{Outcome: incident.Outcome{ID: p.Group.ID, Nodes: p.Group.Nodes, Result: result, Why: string(result)}}, nil
	}
	w.planTest, w.room = planned, roomy
	w.probe = func(steps.RunIOProbeParams) (steps.RunIOProbeResult, error) {
		return steps.RunIOProbeResult{Why: "the ranks mount no volume over the network"}, nil
	}
	w.suspend, w.resume = atStart, atStart
	w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
		return steps.PlanRemedyResult{Possible: true, Plan: somePlan(p.Remedy)}, nil
	}
	w.snapshot = func(steps.TakeSnapshotParams) (steps.TakeSnapshotResult, error) {
		return steps.TakeSnapshotResult{Snapshot: ref("snapshot.json")}, nil
	}
	w.apply = func(steps.ApplyChangeParams) (steps.ApplyChangeResult, error) {
		return steps.ApplyChangeResult{Applied: 1, At: start}, nil
	}
	w.prepare = w.apply
	w.await = func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
		return steps.AwaitRanksResult{Good: incident.Yes, Why: "all ranks train over IB"}, nil
	}
	w.lease = func(steps.LeaseParams) (steps.LeaseResult, error) { return steps.LeaseResult{Granted: true}, nil }
	w.release = func(steps.ReleaseParams) (steps.ReleaseResult, error) { return steps.ReleaseResult{Known: true}, nil }
	w.undo = func(steps.UndoChangeParams) (steps.UndoChangeResult, error) {
		return steps.UndoChangeResult{Complete: true, Restored: 1, At: start}, nil
	}
	w.card = func(steps.PostCardParams) (steps.PostCardResult, error) {
		return steps.PostCardResult{Ref: steps.MessageRef{Channel: "C1", TS: "1.0"}}, nil
	}
	w.report = func(steps.WriteReportParams) (steps.WriteReportResult, error) {
		return steps.WriteReportResult{JSON: ref("report.json")}, nil
	}
	return w
}

func summary() incident.WorkloadSummary {
	s := incident.WorkloadSummary{UID: "uid-1", Ranks: 4, WantedRanks: 4, GPUs: 16, JobNames: []string{"llama-70b"}}
	for _, name := range []string{"gpu-00", "gpu-01", "gpu-08", "gpu-09"} {
		s.Nodes = append(s.Nodes, incident.Node{Name: name, Leaf: "leaf-" + name[:5], GPUs: 8, Ready: true})
	}
	return s
}

func ref(name string) incident.EvidenceRef {
	return incident.EvidenceRef{Name: name, SHA256: "aa" + name, Bytes: 10}
}

func somePlan(remedy string) incident.Plan {
	return incident.Plan{
		Remedy: remedy, Risk: incident.RiskMedium, Target: target, TargetUID: "uid-1", Summary: "allow the job's own traffic",
		Diff: "+ policy", Restart: true, PodsRestarted: 4, GPUHoursLost: 1.5, Wanted: incident.Wanted{Transport: "IB", CommTest: true},
		Changes: []incident.ObjectChange{{Verb: "create", APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "training", Name: "allow", Manifest: []byte(`{}`)}},
	}.Seal()
}

// blockedByPolicy answers the checks as a cluster with a default-deny policy.
func blockedByPolicy(name string, _ steps.CheckParams) (steps.CheckResult, error) {
	finding := func(check, id string, state incident.State, subject, value string) steps.CheckResult {
		return steps.CheckResult{Findings: []incident.Finding{{ID: id, Check: check, State: state, Subject: subject, Value: value, Why: id}}}
	}
	switch name {
	case steps.CheckWorkload:
		return finding("D1", incident.RanksFailing, incident.Yes, "job/llama-70b", "4 of 4"), nil
	case steps.CheckPolicies:
		return finding("D3", incident.PolicyBlocksRanks, incident.Yes, "networkpolicy/default-deny", "12 of 12 directions"), nil
	case steps.CheckRDMA:
		return finding("D5", incident.RDMANotRequested, incident.No, "job/llama-70b", ""), nil
	case steps.CheckRankLogs:
		return steps.CheckResult{Observations: []incident.Observation{{
			Signature: "nccl-connect-failed", Role: "origin", FailureCase: "nccl-failure", Weight: 0.7, Meaning: "a connection attempt failed",
			Causes: []string{"network-unreachable-or-port-blocked", "peer-process-died"}, Ranks: "0-3", RankCount: 4, Count: 12, FirstAt: start, Line: "connect failed", Evidence: "logs/rank-001.log#L4",
		}}}, nil
	default:
		return steps.CheckResult{}, nil
	}
}

func (w *world) did(name string) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Contains(w.log, name)
}

func (w *world) order(name string) int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return slices.Index(w.log, name)
}

// play registers fn under a step's name and notes that it was called.
func play[P, R any](w *world, env registry, name string, fn func() func(P) (R, error)) {
	env.RegisterActivityWithOptions(func(_ context.Context, p P) (R, error) {
		w.mutex.Lock()
		w.log = append(w.log, name)
		w.mutex.Unlock()
		return fn()(p)
	}, activity.RegisterOptions{Name: name})
}

// environment is a Temporal that skips time, with this world behind it.
func (w *world) environment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	env := timeless()
	env.SetStartWorkflowOptions(startOptions(target))
	w.register(env)
	return env
}

// timeless is a Temporal that skips time, with nothing in it yet.
func timeless() *testsuite.TestWorkflowEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{hclog.NewNullLogger()})
	env := suite.NewTestWorkflowEnvironment()
	env.SetStartTime(start)
	env.SetTestTimeout(20 * time.Second)
	return env
}

// register makes the workflows and this world's steps known.
func (w *world) register(env registry) {
	workflows.Register(env)
	play(w, env, steps.ResolveTarget, func() func(steps.ResolveTargetParams) (steps.ResolveTargetResult, error) { return w.resolve })
	play(w, env, steps.CollectEvidence, func() func(steps.CollectEvidenceParams) (steps.CollectEvidenceResult, error) { return w.collect })
	for _, name := range checks() {
		play(w, env, name, func() func(steps.CheckParams) (steps.CheckResult, error) {
			return func(p steps.CheckParams) (steps.CheckResult, error) { return w.check(name, p) }
		})
	}
	play(w, env, steps.RunCommTest, func() func(steps.RunCommTestParams) (steps.RunCommTestResult, error) { return w.commTest })
	play(w, env, steps.PlanRemedy, func() func(steps.PlanRemedyParams) (steps.PlanRemedyResult, error) { return w.plan })
	play(w, env, steps.TakeSnapshot, func() func(steps.TakeSnapshotParams) (steps.TakeSnapshotResult, error) { return w.snapshot })
	play(w, env, steps.PrepareChange, func() func(steps.ApplyChangeParams) (steps.ApplyChangeResult, error) { return w.prepare })
	play(w, env, steps.ApplyChange, func() func(steps.ApplyChangeParams) (steps.ApplyChangeResult, error) { return w.apply })
	play(w, env, steps.AwaitRanks, func() func(steps.AwaitRanksParams) (steps.AwaitRanksResult, error) { return w.await })
	play(w, env, steps.AcquireLease, func() func(steps.LeaseParams) (steps.LeaseResult, error) { return w.lease })
	play(w, env, steps.ReleaseLease, func() func(steps.ReleaseParams) (steps.ReleaseResult, error) { return w.release })
	play(w, env, steps.UndoChange, func() func(steps.UndoChangeParams) (steps.UndoChangeResult, error) { return w.undo })
	play(w, env, steps.PostCard, func() func(steps.PostCardParams) (steps.PostCardResult, error) { return w.card })
	w.playRest(env)
}

// quiet drops what the SDK says about its own doings.
type quiet struct{ hclog.Logger }

func (w *world) playRest(env registry) {
	play(w, env, steps.CleanCommTest, func() func(steps.CleanCommTestParams) (steps.CleanCommTestResult, error) {
		return func(p steps.CleanCommTestParams) (steps.CleanCommTestResult, error) {
			return steps.CleanCommTestResult{Removed: len(p.Names)}, nil
		}
	})
	play(w, env, steps.RunIOProbe, func() func(steps.RunIOProbeParams) (steps.RunIOProbeResult, error) { return w.probe })
	play(w, env, steps.CleanIOProbe, func() func(steps.CleanIOProbeParams) (steps.CleanIOProbeResult, error) {
		return func(steps.CleanIOProbeParams) (steps.CleanIOProbeResult, error) {
			return steps.CleanIOProbeResult{Removed: true}, nil
		}
	})
	play(w, env, steps.SuspendWorkload, func() func(steps.WorkloadParams) (steps.WorkloadResult, error) { return w.suspend })
	play(w, env, steps.ResumeWorkload, func() func(steps.WorkloadParams) (steps.WorkloadResult, error) { return w.resume })
	play(w, env, steps.PlanCommTest, func() func(steps.PlanCommTestParams) (steps.PlanCommTestResult, error) { return w.planTest })
	play(w, env, steps.CheckTestRoom, func() func(steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error) { return w.room })
	play(w, env, steps.PostStory, func() func(steps.PostStoryParams) (steps.PostStoryResult, error) {
		return func(steps.PostStoryParams) (steps.PostStoryResult, error) { return steps.PostStoryResult{}, nil }
	})
	play(w, env, steps.WriteReport, func() func(steps.WriteReportParams) (steps.WriteReportResult, error) {
		return func(p steps.WriteReportParams) (steps.WriteReportResult, error) {
			w.reported = p.Record
			return w.report(p)
		}
	})
}

func checks() []string {
	return []string{
		steps.CheckWorkload, steps.CheckNCCLEnv, steps.CheckPolicies, steps.CheckPlacement, steps.CheckRDMA, steps.CheckRankLogs,
		steps.CheckMemory, steps.CheckCapacity, steps.CheckVolumes, steps.CheckLoading, steps.CheckGPUMetrics, steps.CheckDataMetrics,
	}
}

func alertNow() incident.Alert {
	return incident.Alert{
		Name: "DistributedTrainingFailure", Status: incident.AlertFiring, StartsAt: start.Add(-time.Minute), ReceivedAt: start, Fingerprint: "0123456789abcdef",
		Labels: map[string]string{"alertname": "DistributedTrainingFailure", "namespace": "training", "job_name": "llama-70b"},
	}
}

func input(t *testing.T, alerts ...incident.Alert) workflows.IncidentInput {
	t.Helper()
	books, err := runbooks.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return workflows.IncidentInput{
		Hint: target, Alerts: alerts, Runbooks: books,
		Settings: incident.Settings{
			Cluster: "lab", StaleAfter: 6 * time.Hour, SlackChannel: "C1", Build: "test",
			Approval: incident.ApprovalSettings{Deadline: 30 * time.Minute, Reminder: 10 * time.Minute, Approvers: []incident.Approver{{Name: "Ada", Slack: "U1", Login: "ada"}}},
			CommTest: incident.CommTestSettings{Enabled: true, GPUsPerNode: 4, MaxRounds: 3, SlowBelow: 0.5, ExpectedBusBWGBps: 370},
			Verify:   incident.VerifySettings{Deadline: time.Minute},
		},
	}
}

// answer votes on whatever plan waits when the time comes.
func answer(t *testing.T, env *testsuite.TestWorkflowEnvironment, after time.Duration, verdict, by string) {
	t.Helper()
	env.RegisterDelayedCallback(func() {
		view := viewOf(t, env)
		hash := ""
		if view.Asking != nil {
			hash = view.Asking.Hash
		}
		env.UpdateWorkflow(workflows.VoteUpdate, "vote-"+by, callbacks(t), incident.Vote{By: by, Via: "cli", PlanHash: hash, Verdict: verdict})
	}, after)
}

func callbacks(t *testing.T) *testsuite.TestUpdateCallback {
	return &testsuite.TestUpdateCallback{
		OnReject:   func(err error) { t.Logf("rejected: %v", err) },
		OnAccept:   func() {},
		OnComplete: func(any, error) {},
	}
}

func viewOf(t *testing.T, env *testsuite.TestWorkflowEnvironment) workflows.View {
	t.Helper()
	value, err := env.QueryWorkflow(workflows.ViewQuery)
	if err != nil {
		t.Fatal(err)
	}
	var view workflows.View
	if err := value.Get(&view); err != nil {
		t.Fatal(err)
	}
	return view
}

// finish runs the workflow to its end and gives its result.
func finish(t *testing.T, env *testsuite.TestWorkflowEnvironment, in workflows.IncidentInput) workflows.Result {
	t.Helper()
	env.ExecuteWorkflow(workflows.Incident, in)
	if !env.IsWorkflowCompleted() {
		t.Fatal("the incident did not end")
	}
	if err := env.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}
	var result workflows.Result
	if err := env.GetWorkflowResult(&result); err != nil {
		t.Fatal(err)
	}
	return result
}

func unreachable() error {
	return temporal.NewApplicationErrorWithOptions("asking the API server: connection refused", string(incident.Unreachable), temporal.ApplicationErrorOptions{})
}

func final(kind incident.Kind) error {
	return temporal.NewApplicationErrorWithOptions("no: "+string(kind), string(kind), temporal.ApplicationErrorOptions{NonRetryable: true})
}
