package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// saga is one change on its way: what was done so far, and how to take it
// back. Every undo is registered before the step it takes back, because a step
// that failed may still have happened.
type saga struct {
	story    *story
	plan     incident.Plan
	snapshot incident.EvidenceRef
	// at is the change's place in the record.
	at int
	// prepared, stopped and applied are set before their steps are begun.
	prepared, stopped, applied bool
	// leased is set before the lease is asked for.
	leased bool
}

// change carries out an approved plan: snapshot, stop the ranks, apply, ask
// the network, start the ranks, look whether the symptom is gone. What does
// not help is undone. True ends the search for a remedy.
func (s *story) change(ctx workflow.Context, plan incident.Plan) bool {
	finish := s.stage(ctx, "change")
	s.state = "changing"
	s.speaker.card(ctx, s.card("Changing: "+plan.Summary))
	g := &saga{story: s, plan: plan}
	defer g.release(ctx)
	if !g.lease(ctx) {
		finish()
		return true
	}
	ok, void := g.snapshotFirst(ctx)
	if !ok {
		finish()
		return void
	}
	err := g.apply(ctx)
	finish()
	if err == nil && g.verify(ctx) {
		return true
	}
	if err != nil && !cancelled(err) {
		s.trouble(ctx, "changing "+plan.Remedy, err)
	}
	g.undo(ctx)
	return ctx.Err() != nil || !g.undoneWholly()
}

// snapshotFirst keeps the touched fields as they are. void says that the
// target is no longer the one people agreed about.
func (g *saga) snapshotFirst(ctx workflow.Context) (ok, void bool) {
	s := g.story
	result, err := call[steps.TakeSnapshotResult](ctx, steps.TakeSnapshot, steps.TakeSnapshotParams{Incident: s.record.IncidentID, Plan: g.plan})
	if err != nil {
		s.giveUp(ctx, "taking a snapshot before "+g.plan.Remedy, err)
		return false, true
	}
	if result.Changed {
		s.decide(ctx, g.plan.Remedy, incident.Refuse, "the target changed since the plan was shown: "+result.Why)
		s.end(incident.Refused, "The target changed since the plan was shown, so nothing was changed: "+result.Why,
			"If the target is still ill, open the incident again: gpumedic start.")
		return false, true
	}
	g.snapshot = result.Snapshot
	s.keep(result.Snapshot)
	s.record.Changes = append(s.record.Changes, incident.Change{
		Remedy: g.plan.Remedy, Risk: g.plan.Risk, PlanHash: g.plan.Hash, Diff: g.plan.Diff,
		OperationID: s.operationID(g.plan.Remedy),
	})
	g.at = len(s.record.Changes) - 1
	return true, false
}

// prepare does what the change needs while the ranks still run; it may take hours.
func (g *saga) prepare(ctx workflow.Context) error {
	if len(g.plan.Prepare) == 0 {
		return nil
	}
	s := g.story
	g.prepared = true
	s.speaker.card(ctx, s.card("Preparing while the ranks run: "+g.plan.Summary))
	result, err := call[steps.ApplyChangeResult](ctx, steps.PrepareChange, g.params())
	if err != nil {
		g.record().Note = "could not be prepared: " + plain(err)
		return fmt.Errorf("preparing the change: %w", err)
	}
	s.note(ctx, "change", "prepared %s while the ranks run (%d objects, %d of an earlier attempt)", g.plan.Remedy, result.Applied, result.Already)
	return nil
}

func (g *saga) params() steps.ApplyChangeParams {
	s := g.story
	return steps.ApplyChangeParams{
		Incident: s.record.IncidentID, OperationID: s.operationID(g.plan.Remedy), Plan: g.plan, Snapshot: g.snapshot,
	}
}

// apply stops the ranks where the plan asks for it and applies the change.
func (g *saga) apply(ctx workflow.Context) error {
	s := g.story
	if err := g.prepare(ctx); err != nil {
		return err
	}
	if g.plan.Restart {
		g.stopped = true
		if _, err := call[steps.WorkloadResult](ctx, steps.SuspendWorkload, g.workload()); err != nil {
			return fmt.Errorf("stopping the ranks: %w", err)
		}
		s.note(ctx, "change", "stopped %d ranks", g.plan.PodsRestarted)
		s.record.GPUHoursLost += g.plan.GPUHoursLost
	}
	g.applied = true
	result, err := call[steps.ApplyChangeResult](ctx, steps.ApplyChange, g.params())
	if err != nil {
		return fmt.Errorf("applying the change: %w", err)
	}
	g.record().AppliedAt = result.At
	s.note(ctx, "change", "applied %s (%d objects, %d had been applied by an earlier attempt)", g.plan.Remedy, result.Applied, result.Already)
	return nil
}

// verify asks again the question that raised the alert. The network is asked
// while the ranks are stopped, because their GPUs are free then.
func (g *saga) verify(ctx workflow.Context) bool {
	s := g.story
	s.state = "verifying"
	s.speaker.card(ctx, s.card("Verifying that it helped."))
	defer s.stage(ctx, "verify")()
	network := g.networkAgrees(ctx)
	since := g.settled(workflow.Now(ctx))
	if g.stopped {
		result, err := call[steps.WorkloadResult](ctx, steps.ResumeWorkload, g.workload())
		if err != nil {
			s.trouble(ctx, "starting the ranks again", err)
			return false
		}
		g.stopped, since = false, result.At
		s.note(ctx, "change", "started the ranks again")
	}
	if network == incident.No {
		return g.judged(ctx, false, "the communication test still fails")
	}
	ranks, err := s.awaitProof(ctx, steps.AwaitRanksParams{
		Incident: s.record.IncidentID, Target: s.record.Target, Fabric: s.in.Settings.Fabric, Logs: s.in.Settings.Logs,
		Since: since, Wanted: g.plan.Wanted, Deadline: s.in.Settings.Verify.Deadline, Regrouping: !g.plan.Restart,
	})
	if err != nil {
		s.trouble(ctx, "waiting for the ranks", err)
		return g.judged(ctx, false, "could not see whether the ranks work: "+plain(err))
	}
	s.keep(ranks.Workload)
	if back := g.ranksOn(ranks.Summary.Nodes); back != "" {
		return g.judged(ctx, false, back)
	}
	if ranks.Unproved {
		return g.unproved(ctx, ranks.Why)
	}
	return g.judged(ctx, ranks.Good == incident.Yes, ranks.Why)
}

// networkAgrees runs the second communication test. Unknown means that it
// could not be run, or is not wanted; the job's own logs then have to prove it.
func (g *saga) networkAgrees(ctx workflow.Context) incident.State {
	s := g.story
	if !g.plan.Wanted.CommTest || !s.in.Settings.CommTest.Enabled {
		return incident.Unknown
	}
	test, err := s.commTest(ctx, verifyTest, 1)
	if err != nil {
		s.trouble(ctx, "testing the network after the change", err)
		return incident.Unknown
	}
	s.record.Verification = test
	switch {
	case test.Verdict.Clean:
		return incident.Yes
	case test.Verdict.Inconclusive && !anyFailed(*test):
		return incident.Unknown
	default:
		return incident.No
	}
}

// judged writes down whether the change helped.
func (g *saga) judged(ctx workflow.Context, good bool, why string) bool {
	s := g.story
	g.record().Verified, g.record().Note = good, why
	if !good {
		s.note(ctx, "finding", "the change did not help: %s", why)
		return false
	}
	s.note(ctx, "finding", "the change helped: %s", why)
	s.end(incident.Resolved, fmt.Sprintf("Cause: %s. %s was applied and verified: %s.", s.record.RootCause, g.plan.Remedy, why), g.toRelease())
	return true
}

// undo puts the snapshot back and lets the ranks run, on a context that no
// cancellation reaches.
func (g *saga) undo(ctx workflow.Context) {
	s := g.story
	last, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	s.state = "undoing"
	s.speaker.card(last, s.card("Undoing: the change did not help."))
	defer s.stage(last, "undo")()
	if g.applied || g.prepared {
		g.putBack(last)
	}
	if g.stopped || g.applied && g.needsStop() {
		if _, err := call[steps.WorkloadResult](last, steps.ResumeWorkload, g.workload()); err != nil {
			s.trouble(last, "starting the ranks after the undo", err)
			g.notUndone("the ranks could not be started again: " + plain(err))
		}
	}
	s.speaker.storyLines(last, "undone", nil, "Undone: "+g.record().Remedy+". "+g.record().Note)
}

// putBack undoes the applied change, and what prepared it. Fields of a pod template can be put back
// only while the ranks are stopped.
func (g *saga) putBack(ctx workflow.Context) {
	s := g.story
	if g.applied && g.needsStop() {
		if _, err := call[steps.WorkloadResult](ctx, steps.SuspendWorkload, g.workload()); err != nil {
			s.trouble(ctx, "stopping the ranks for the undo", err)
		}
	}
	result, err := call[steps.UndoChangeResult](ctx, steps.UndoChange, steps.UndoChangeParams{
		Incident: s.record.IncidentID, OperationID: s.operationID(g.plan.Remedy), Plan: g.plan, Snapshot: g.snapshot,
	})
	if err != nil {
		s.trouble(ctx, "undoing "+g.plan.Remedy, err)
		g.notUndone("the undo did not succeed: " + plain(err))
		return
	}
	record := g.record()
	record.Undone, record.UndoComplete = true, &result.Complete
	s.note(ctx, "undo", "put back %d objects", result.Restored)
	if !result.Complete {
		for _, found := range result.Found {
			s.note(ctx, "undo", "left alone: %s", found)
		}
		g.notUndone("somebody else edited what was changed; it was left alone")
	}
}

// notUndone ends the incident with a person: the target is not as it was.
func (g *saga) notUndone(why string) {
	no := false
	record := g.record()
	record.Undone, record.UndoComplete = true, &no
	g.story.end(incident.Escalated, "A change did not help and could not be undone wholly: "+why+".",
		"Compare the target with the snapshot in the evidence bundle and put the rest back by hand.")
}

// needsStop says whether the plan alters the workload itself, and the ranks stop for
// that: a Deployment rolls by itself.
func (g *saga) needsStop() bool {
	if !g.plan.Restart {
		return false
	}
	for _, change := range g.plan.Changes {
		if change.Kind == g.plan.Target.Kind && change.Name == g.plan.Target.Name {
			return true
		}
	}
	return false
}

func (g *saga) workload() steps.WorkloadParams {
	params := g.story.ranksOf(g.plan)
	params.Unheard = g.unheard()
	return params
}

// ranksOf names the workload of a plan, for the steps that stop and start its
// ranks.
func (s *story) ranksOf(plan incident.Plan) steps.WorkloadParams {
	return steps.WorkloadParams{
		Incident: s.record.IncidentID, OperationID: s.operationID(plan.Remedy) + "/ranks",
		Target: plan.Target, TargetUID: plan.TargetUID,
	}
}

// record is this change's entry in the incident's record.
func (g *saga) record() *incident.Change { return &g.story.record.Changes[g.at] }

// undoneWholly says whether the target is as it was before.
func (g *saga) undoneWholly() bool {
	record := g.record()
	return record.Undone && record.UndoComplete != nil && *record.UndoComplete
}
