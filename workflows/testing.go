package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

// testTheNetwork runs the test that looks for who is to blame, where there is
// room for it.
func (s *story) testTheNetwork(ctx workflow.Context) {
	if !s.in.Settings.CommTest.Enabled {
		s.note(ctx, "test", "no communication test: it is switched off in the configuration")
		return
	}
	if !knows(ctx, testInTheStory) {
		s.testNow(ctx)
		return
	}
	room := s.lookForRoom(ctx)
	switch {
	case room.Room != incident.No: // where nobody could look, the test itself will tell
		s.testNow(ctx)
	case room.Freed == incident.Yes:
		s.testStopped(ctx, room)
	default:
		s.noRoom(ctx, room)
	}
}

// testNow runs the test on the GPUs that are free.
func (s *story) testNow(ctx workflow.Context) {
	s.state = "testing"
	s.speaker.card(ctx, s.card("Testing the network between the nodes."))
	defer s.stage(ctx, "comm test")()
	test, err := s.commTest(ctx, diagnoseTest, s.in.Settings.CommTest.MaxRounds)
	if err != nil {
		s.trouble(ctx, "testing the network", err)
		test = s.halfTest(ctx, err)
	}
	if test == nil {
		return
	}
	s.record.CommTest = test
	if knows(ctx, testInTheStory) {
		s.record.Findings = append(s.record.Findings, diagnosis.TestFindings(*test)...)
	}
}

// halfTest is what was heard of a test that did not come to its end, without
// the round that was running; nil when nothing was.
func (s *story) halfTest(ctx workflow.Context, err error) *incident.CommTest {
	half := s.heardTest
	if half == nil || len(half.History) < 2 {
		return nil
	}
	half.History = half.History[:len(half.History)-1]
	half.EndedAt, half.Rounds = workflow.Now(ctx).UTC(), len(half.History)
	for _, round := range half.History {
		half.Tests += len(round.Groups)
	}
	why := plain(err)
	if cancelled(err) {
		why = "it was cancelled"
	}
	half.Verdict = incident.Verdict{
		Bad: []incident.BadPart{}, Inconclusive: true, Rounds: half.Rounds, Tests: half.Tests,
		Why: fmt.Sprintf("the test ended after %d rounds: %s", half.Rounds, why),
	}
	return named(half)
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
	if knows(ctx, testInTheStory) {
		in.Settings.ExpectedBusBWGBps, in.Settings.LocalBusBWGBps, _ = incident.ExpectedBusBW(in.Nodes, settings)
		if purpose == diagnoseTest {
			in.Prior = s.prior(ctx)
		}
	}
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:          s.record.IncidentID + "/comm-test/" + purpose,
		ParentClosePolicy:   enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WaitForCancellation: true,
	})
	test, err := s.followTest(ctx, purpose, workflow.ExecuteChildWorkflow(child, CommTestType, in))
	if err != nil {
		return nil, fmt.Errorf("communication test to %s: %w", purpose, err)
	}
	s.note(ctx, "test", "communication test to %s: %s", purpose, test.Verdict.Why)
	s.keep(test.Logs...)
	test.Logs = nil
	return named(&test), nil
}

// followTest waits for a test and hears of its rounds meanwhile.
func (s *story) followTest(ctx workflow.Context, purpose string, running workflow.ChildWorkflowFuture) (incident.CommTest, error) {
	s.testing = &incident.CommTest{Purpose: purpose, StartedAt: workflow.Now(ctx).UTC()}
	defer func() { s.heardTest, s.testing = s.testing, nil }()
	var test incident.CommTest
	var err error
	done := false
	selector := workflow.NewSelector(ctx)
	selector.AddFuture(running, func(f workflow.Future) { err, done = f.Get(ctx, &test), true })
	selector.AddReceive(workflow.GetSignalChannel(ctx, ProgressSignal), func(c workflow.ReceiveChannel, _ bool) {
		var progress CommTestProgress
		c.Receive(ctx, &progress)
		s.heardOfRound(ctx, progress)
	})
	for !done { // a cancelled test ends, too
		selector.Select(ctx)
	}
	return test, err
}

// heardOfRound takes what a test told into the view and tells people. What an
// earlier test left behind is not about this one.
func (s *story) heardOfRound(ctx workflow.Context, progress CommTestProgress) {
	rounds := s.testing.History
	groups, err := steps.UnpackGroups(progress.Groups, s.nodesToTest(s.testing.Purpose))
	if err != nil || progress.Purpose != s.testing.Purpose || progress.Round != len(rounds)+1 {
		return
	}
	if len(rounds) > 0 {
		last := &rounds[len(rounds)-1]
		for i, done := range progress.Done[:min(len(progress.Done), len(last.Groups))] {
			last.Outcomes = append(last.Outcomes, incident.Outcome{
				ID: last.Groups[i].ID, Result: done.Result, BusBWGBps: done.BusBWGBps, ExpectedGBps: done.ExpectedGBps,
			})
		}
	}
	s.testing.History = append(rounds, incident.Round{Number: progress.Round, Groups: groups})
	s.testing.Suspects, s.testing.Cleared = progress.Suspects, progress.Cleared
	s.note(ctx, "test", "%s", s.testing.Progress())
	s.speaker.card(ctx, s.card("Testing the network between the nodes."))
}

// prior is who is suspected before the first test, by what was found.
func (s *story) prior(ctx workflow.Context) map[string]float64 {
	likely := diagnosis.Prior(diagnosis.Input{
		FailureCase: s.book.Name, Ranks: s.record.Workload.Ranks, Findings: s.record.Findings, Observations: s.record.Observed,
	}, s.record.Workload.Placed)
	for _, node := range s.record.Workload.Nodes { // in an order that does not change
		if p := likely[node.Name]; p > 0 {
			s.note(ctx, "test", "%s is suspected before the test (%.0f %%): what was found points at it", node.Name, 100*p)
		}
	}
	return likely
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
