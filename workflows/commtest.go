package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// The two purposes of a communication test; they are part of Job names.
const (
	diagnoseTest = "diagnose"
	verifyTest   = "verify"
)

// CommTestInput is one communication test over the suspect nodes.
type CommTestInput struct {
	Incident  string                    `json:"incident"`
	Purpose   string                    `json:"purpose"`
	Prefix    string                    `json:"prefix"`
	Namespace string                    `json:"namespace"`
	Nodes     []incident.Node           `json:"nodes"`
	Settings  incident.CommTestSettings `json:"settings"`
	PodLabels map[string]string         `json:"pod_labels,omitempty"`
	// Prior is how likely a node is bad before the first test, by its name; a
	// node that is not named gets its share of what is usual.
	Prior map[string]float64 `json:"prior,omitempty"`
}

// CommTest plans rounds, runs their groups at the same time and reads the
// outcomes until there is a verdict. It tells its incident how far it is, and
// it always cleans up.
func CommTest(ctx workflow.Context, in CommTestInput) (incident.CommTest, error) {
	r := &testRun{in: in, test: incident.CommTest{Purpose: in.Purpose, StartedAt: workflow.Now(ctx).UTC()}}
	if err := workflow.SetQueryHandler(ctx, ViewQuery, r.view); err != nil {
		return r.test, err
	}
	if !knows(ctx, planAsStep) {
		return r.test, temporal.NewNonRetryableApplicationError("the communication test began under an earlier planner; it is not gone on with", string(incident.Unsupported), nil)
	}
	for {
		step, err := r.next(ctx)
		if err != nil {
			return r.test, err
		}
		if step.Verdict != nil {
			return r.end(ctx, step), nil
		}
		r.begin(ctx, step)
		if err := r.round(ctx); err != nil {
			return r.test, err
		}
	}
}

// testRun is a communication test on its way. The last round of test.History
// may be running: then it has groups and no outcomes.
type testRun struct {
	in   CommTestInput
	test incident.CommTest
}

func (r *testRun) view() (incident.CommTest, error) { return r.test, nil }

// next asks the planner. A planner that cannot be asked ends the test with
// what was seen so far, and with nobody blamed.
func (r *testRun) next(ctx workflow.Context) (steps.PlanCommTestResult, error) {
	result, err := call[steps.PlanCommTestResult](ctx, steps.PlanCommTest, steps.PlanCommTestParams{
		Incident: r.in.Incident, Nodes: r.in.Nodes, Prior: r.in.Prior,
		ExpectedGBps: r.in.Settings.ExpectedBusBWGBps, MaxRounds: r.in.Settings.MaxRounds, Rounds: r.test.History,
	})
	if err == nil || cancelled(err) {
		return result, err
	}
	why := fmt.Sprintf("after %d rounds the next one could not be planned: %s", len(r.test.History), plain(err))
	return steps.PlanCommTestResult{Verdict: &incident.Verdict{Bad: []incident.BadPart{}, Inconclusive: true, Why: why}}, nil
}

// begin opens a round and tells the incident.
func (r *testRun) begin(ctx workflow.Context, step steps.PlanCommTestResult) {
	round := incident.Round{Number: len(r.test.History) + 1, Groups: step.Groups}
	progress := CommTestProgress{
		Purpose: r.in.Purpose, Round: round.Number, Groups: steps.PackGroups(step.Groups, r.in.Nodes), Suspects: step.Suspects, Cleared: step.Cleared,
	}
	if last := len(r.test.History) - 1; last >= 0 {
		progress.Done = told(r.test.History[last].Outcomes)
	}
	r.test.History = append(r.test.History, round)
	r.test.Suspects, r.test.Cleared = step.Suspects, step.Cleared
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if parent == nil {
		return
	}
	// Nobody waits for it: an incident that cannot be told does not stop a test.
	_ = workflow.SignalExternalWorkflow(ctx, parent.ID, parent.RunID, ProgressSignal, progress)
}

// round runs the groups of the last round side by side. The clean-up is
// registered before the first Job exists and runs on a context that no
// cancellation reaches.
func (r *testRun) round(ctx workflow.Context) error {
	round := &r.test.History[len(r.test.History)-1]
	names := make([]string, len(round.Groups))
	for i := range round.Groups {
		names[i] = testJobName(r.in.Prefix, r.in.Purpose, round.Number, i)
	}
	defer cleanUp(ctx, r.in, names)
	running := make([]workflow.Future, len(round.Groups))
	for i, group := range round.Groups {
		running[i] = begin(ctx, steps.RunCommTest, steps.RunCommTestParams{
			Incident: r.in.Incident, Name: names[i], Namespace: r.in.Namespace, Group: group,
			Settings: r.in.Settings, PodLabels: r.in.PodLabels,
		})
	}
	var outcomes []incident.Outcome
	for i, group := range round.Groups {
		var result steps.RunCommTestResult
		if err := running[i].Get(ctx, &result); err != nil {
			if cancelled(err) {
				return err
			}
			result.Outcome = couldNotRun(ctx, group, err)
		}
		if result.Outcome.Nodes == nil { // a result does not repeat them
			result.Outcome.Nodes = group.Nodes
		}
		outcomes = append(outcomes, result.Outcome)
		if result.Index.SHA256 != "" {
			r.test.Logs = append(r.test.Logs, result.Index)
		}
	}
	round.Outcomes = outcomes
	return nil
}

func (r *testRun) end(ctx workflow.Context, step steps.PlanCommTestResult) incident.CommTest {
	verdict := *step.Verdict
	r.test.Verdict, r.test.Suspects, r.test.Cleared = verdict, step.Suspects, step.Cleared
	r.test.Rounds, r.test.Tests, r.test.EndedAt = verdict.Rounds, verdict.Tests, workflow.Now(ctx).UTC()
	r.test.History = kept(r.test.History)
	return r.test
}

func couldNotRun(ctx workflow.Context, group incident.Group, err error) incident.Outcome {
	now := workflow.Now(ctx).UTC()
	return incident.Outcome{
		ID: group.ID, Nodes: group.Nodes, Result: incident.TestError,
		Why: "the test could not be run: " + plain(err), StartedAt: now, EndedAt: now,
	}
}

func cleanUp(ctx workflow.Context, in CommTestInput, names []string) {
	last, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	params := steps.CleanCommTestParams{Incident: in.Incident, Namespace: in.Namespace, Names: names}
	if _, err := call[steps.CleanCommTestResult](last, steps.CleanCommTest, params); err != nil {
		workflow.GetLogger(last).Error("test jobs were not removed; the cluster removes them after their time to live", "jobs", names, "error", plain(err))
	}
}

func testJobName(prefix, purpose string, round, group int) string {
	return fmt.Sprintf("%s-%c%d-%d", prefix, purpose[0], round, group)
}
