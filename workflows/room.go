package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/guard"
	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// lookForRoom asks whether the nodes have GPUs free for test pods. Where nobody
// could look, the answer is unknown, which stops nothing.
func (s *story) lookForRoom(ctx workflow.Context) steps.CheckTestRoomResult {
	params := steps.CheckTestRoomParams{
		Incident: s.record.IncidentID, Namespace: s.record.Target.Namespace, Nodes: nodeNames(s.record.Workload.Nodes),
		Settings: s.in.Settings.CommTest, Workload: s.workload,
	}
	room, err := call[steps.CheckTestRoomResult](ctx, steps.CheckTestRoom, params)
	if err != nil {
		s.trouble(ctx, "looking for room for a communication test", err)
		return steps.CheckTestRoomResult{Room: incident.Unknown, Freed: incident.Unknown, Why: plain(err)}
	}
	if room.Room == incident.No {
		s.record.Findings = append(s.record.Findings, incident.Finding{
			ID: incident.RanksHoldGPUs, Check: steps.CheckTestRoom, State: room.Freed,
			Subject: s.record.Target.Kind + "/" + s.record.Target.Name, Value: fmt.Sprintf("%d nodes are short of GPUs", len(room.Short)), Why: room.Why,
		})
	}
	return room
}

// noRoom says who holds the GPUs: that is all that can be done about others.
func (s *story) noRoom(ctx workflow.Context, room steps.CheckTestRoomResult) {
	s.decide(ctx, "communication test", incident.Refuse, append([]string{"there is no room for it: " + room.Why}, held(room)...)...)
}

// held tells of each node that is short who holds its GPUs, of at most so many
// that people still read it.
func held(room steps.CheckTestRoomResult) []string {
	const shown = 16
	var lines []string
	for _, n := range room.Short[:min(shown, len(room.Short))] {
		lines = append(lines, fmt.Sprintf("%s: a test pod needs %d GPUs, %d are free, this job holds %d, others hold %d", n.Node, n.Wanted, n.Free, n.ByTarget, n.ByOthers))
	}
	if more := len(room.Short) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more nodes", more))
	}
	return lines
}

// testStopped asks people whether the ranks may be stopped for the test, since
// they hold the GPUs that it needs. Without a yes there is no test, and the
// story goes on with what is known.
func (s *story) testStopped(ctx workflow.Context, room steps.CheckTestRoomResult) {
	s.note(ctx, "test", "no room for a communication test while the ranks run: %s", room.Why)
	plan, ok := s.planStop(ctx, room)
	if !ok || !s.mayStopRanks(ctx, plan) {
		s.goOnUntested(ctx)
		return
	}
	p := &pause{story: s, plan: plan}
	defer p.release(ctx)
	if !p.lease(ctx) {
		s.goOnUntested(ctx)
		return
	}
	if !p.snapshot(ctx) {
		return
	}
	defer p.end(ctx)
	if p.begin(ctx) {
		s.testNow(ctx)
	}
}

// goOnUntested tells that there is no test, unless the incident is over anyway.
func (s *story) goOnUntested(ctx workflow.Context) {
	if ctx.Err() != nil || s.record.Outcome != "" {
		return
	}
	s.state = "investigating"
	s.note(ctx, "test", "no communication test: the ranks hold the GPUs that it needs and were not stopped")
	s.speaker.card(ctx, s.card("Going on without a communication test."))
}

// planStop makes the plan and says in it for how long.
func (s *story) planStop(ctx workflow.Context, room steps.CheckTestRoomResult) (incident.Plan, bool) {
	plan, ok := s.plan(ctx, runbooks.Remedy{Name: steps.StopForTest, Risk: incident.RiskMedium})
	if !ok {
		return plan, false
	}
	settings, gpus := s.in.Settings.CommTest, 0
	for _, n := range room.Short {
		gpus += n.ByTarget
	}
	plan.Summary = fmt.Sprintf("%s They hold %d GPUs on %d nodes. %s", plan.Summary, gpus, len(room.Short), howLong(settings))
	plan = plan.Seal()
	s.record.Plan = &plan
	return plan, true
}

func howLong(settings incident.CommTestSettings) string {
	round := (settings.StartDeadline + settings.Deadline).Round(time.Second)
	if round <= 0 || settings.MaxRounds <= 0 {
		return "How long the test takes is not known."
	}
	return fmt.Sprintf("The test takes at most %d rounds of up to %s each, usually far less.", settings.MaxRounds, round)
}

// mayStopRanks asks the guard, then people. Their no is an answer about the
// test, not the end of the incident.
func (s *story) mayStopRanks(ctx workflow.Context, plan incident.Plan) bool {
	decision := guard.Judge(guard.Input{
		// What the plan rests on is not a cause but the count of GPUs, which the cluster told.
		Plan: plan, Cause: incident.Cause{RootCause: incident.RanksHoldGPUs, Confidence: 1},
		Findings: s.record.Findings, Approval: s.in.Settings.Approval, Workload: s.record.Workload,
	})
	decision.At = workflow.Now(ctx).UTC()
	s.record.Decisions = append(s.record.Decisions, decision)
	s.note(ctx, "decision", "%s: %s", decision.What, decision.Verdict)
	verdict := decision.Verdict
	if verdict == incident.Ask {
		verdict = s.approval(ctx, plan)
	}
	if verdict != incident.Allow && s.record.Outcome == incident.Refused {
		s.record.Outcome, s.record.Summary, s.record.Next = "", "", ""
	}
	return verdict == incident.Allow
}

func nodeNames(nodes []incident.Node) []string {
	names := make([]string, len(nodes))
	for i, node := range nodes {
		names[i] = node.Name
	}
	return names
}
