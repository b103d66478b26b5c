package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/localize"
	"gpumedic/steps"
)

const (
	abandon = enums.PARENT_CLOSE_POLICY_ABANDON

	// The two purposes of a communication test; they are part of Job names.
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
}

// CommTest plans rounds, runs their groups at the same time and reads the
// outcomes until there is a verdict. It always cleans up.
func CommTest(ctx workflow.Context, in CommTestInput) (incident.CommTest, error) {
	test := incident.CommTest{Purpose: in.Purpose, StartedAt: workflow.Now(ctx).UTC()}
	err := workflow.SetQueryHandler(ctx, ViewQuery, func() (incident.CommTest, error) { return test, nil })
	if err != nil {
		return test, err
	}
	plan := localize.Input{Nodes: in.Nodes, ExpectedGBps: in.Settings.ExpectedBusBWGBps, MaxRounds: in.Settings.MaxRounds}
	for {
		step := localize.Next(plan, test.History)
		if step.Verdict != nil {
			test.Verdict = *step.Verdict
			break
		}
		round, err := runRound(ctx, in, len(test.History)+1, step.Groups)
		if err != nil {
			return test, err
		}
		test.History = append(test.History, round)
	}
	test.Rounds, test.Tests, test.EndedAt = test.Verdict.Rounds, test.Verdict.Tests, workflow.Now(ctx).UTC()
	return test, nil
}

// runRound runs a round's groups side by side. The clean-up is registered
// before the first Job exists and runs on a context that no cancellation
// reaches.
func runRound(ctx workflow.Context, in CommTestInput, number int, groups []incident.Group) (incident.Round, error) {
	round := incident.Round{Number: number, Groups: groups}
	names := make([]string, len(groups))
	for i := range groups {
		names[i] = testJobName(in.Prefix, in.Purpose, number, i)
	}
	defer cleanUp(ctx, in, names)
	running := make([]workflow.Future, len(groups))
	for i, group := range groups {
		running[i] = begin(ctx, steps.RunCommTest, steps.RunCommTestParams{
			Incident: in.Incident, Name: names[i], Namespace: in.Namespace, Group: group,
			Settings: in.Settings, PodLabels: in.PodLabels,
		})
	}
	for i, group := range groups {
		var result steps.RunCommTestResult
		if err := running[i].Get(ctx, &result); err != nil {
			if cancelled(err) {
				return round, err
			}
			result.Outcome = couldNotRun(ctx, group, err)
		}
		round.Outcomes = append(round.Outcomes, result.Outcome)
	}
	return round, nil
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

// testTheNetwork runs the test that looks for who is to blame.
func (s *story) testTheNetwork(ctx workflow.Context) {
	if !s.in.Settings.CommTest.Enabled {
		s.note(ctx, "test", "no communication test: it is switched off in the configuration")
		return
	}
	s.state = "testing"
	s.speaker.card(ctx, s.card("Testing the network between the nodes."))
	defer s.stage(ctx, "comm test")()
	test, err := s.commTest(ctx, diagnoseTest, s.in.Settings.CommTest.MaxRounds)
	if err != nil {
		s.trouble(ctx, "testing the network", err)
		return
	}
	s.record.CommTest = test
}

// commTest runs a communication test as a child, so that its rounds have a
// history and a view of their own.
func (s *story) commTest(ctx workflow.Context, purpose string, maxRounds int) (*incident.CommTest, error) {
	settings := s.in.Settings.CommTest
	settings.MaxRounds = maxRounds
	in := CommTestInput{
		Incident: s.record.IncidentID, Purpose: purpose, Prefix: s.testPrefix(), Namespace: s.record.Target.Namespace,
		Nodes: s.nodesToTest(purpose), Settings: settings, PodLabels: s.record.Workload.PodLabels,
	}
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:          s.record.IncidentID + "/comm-test/" + purpose,
		ParentClosePolicy:   enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation: true,
	})
	var test incident.CommTest
	if err := workflow.ExecuteChildWorkflow(child, CommTestType, in).Get(ctx, &test); err != nil {
		return nil, fmt.Errorf("communication test to %s: %w", purpose, err)
	}
	s.note(ctx, "test", "communication test to %s: %s", purpose, test.Verdict.Why)
	return &test, nil
}

// testPrefix is short and the same over restarts; Job names carry it.
func (s *story) testPrefix() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s@%d", s.record.IncidentID, s.record.OpenedAt.Unix()))
	return "gpumedic-ct-" + hex.EncodeToString(sum[:4])
}

// verificationJobs are the Jobs that the test after a change will have; a
// remedy that opens a way for the ranks opens it for them too.
func (s *story) verificationJobs() []string {
	return []string{testJobName(s.testPrefix(), verifyTest, 1, 0)}
}

func testJobName(prefix, purpose string, round, group int) string {
	return fmt.Sprintf("%s-%c%d-%d", prefix, purpose[0], round, group)
}

// anyFailed says whether any group gave positive evidence of a fault.
func anyFailed(test incident.CommTest) bool {
	for _, round := range test.History {
		for _, outcome := range round.Outcomes {
			if outcome.Result == incident.TestFail {
				return true
			}
		}
	}
	return false
}
