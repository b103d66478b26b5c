package workflows

import (
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// pause is a stop of the ranks for a test.
type pause struct {
	story *story
	plan  incident.Plan
	// done is the entry for the record.
	done incident.Change
	// stopped is set before the ranks are.
	stopped bool
}

// lease gets the governor's leave; without it there is no test, and the
// incident goes on.
func (p *pause) lease(ctx workflow.Context) bool {
	s := p.story
	reasons := s.askGovernor(ctx, s.leaseParams(p.plan))
	if len(reasons) == 0 {
		return true
	}
	s.decide(ctx, p.plan.Remedy, incident.Refuse, reasons...)
	return false
}

// release gives the lease back. An answer may have got lost on its way, so it is
// also given back when none came.
func (p *pause) release(ctx workflow.Context) { p.story.giveBack(ctx, p.plan, p.stopped, false) }

// snapshot keeps what the stop will touch. False ends it: the target is not
// the one that people agreed about, or nothing could be kept.
func (p *pause) snapshot(ctx workflow.Context) bool {
	s := p.story
	result, err := call[steps.TakeSnapshotResult](ctx, steps.TakeSnapshot, steps.TakeSnapshotParams{Incident: s.record.IncidentID, Plan: p.plan})
	switch {
	case err != nil:
		s.trouble(ctx, "taking a snapshot before stopping the ranks", err)
		return false
	case result.Changed:
		s.decide(ctx, p.plan.Remedy, incident.Refuse, "the target changed since the plan was shown: "+result.Why)
		return false
	}
	s.keep(result.Snapshot)
	p.done = incident.Change{
		Remedy: p.plan.Remedy, Risk: p.plan.Risk, PlanHash: p.plan.Hash, Diff: p.plan.Diff, OperationID: s.operationID(p.plan.Remedy),
	}
	return true
}

// begin stops the ranks; end must have been deferred before.
func (p *pause) begin(ctx workflow.Context) bool {
	s := p.story
	s.state = "changing"
	s.speaker.card(ctx, s.card("Stopping the ranks for a communication test."))
	p.stopped = true
	result, err := call[steps.WorkloadResult](ctx, steps.SuspendWorkload, p.workload())
	if err != nil {
		s.trouble(ctx, "stopping the ranks for a communication test", err)
		return false
	}
	p.done.AppliedAt = result.At
	s.record.GPUHoursLost += p.plan.GPUHoursLost
	s.note(ctx, "change", "stopped %d ranks for a communication test", p.plan.PodsRestarted)
	return true
}

// end starts the ranks again, whatever happened, on a context that no
// cancellation reaches. A stop that failed may still have happened.
func (p *pause) end(ctx workflow.Context) {
	s := p.story
	last, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	_, err := call[steps.WorkloadResult](last, steps.ResumeWorkload, p.workload())
	complete := err == nil
	p.done.Undone, p.done.UndoComplete = true, &complete
	if err == nil {
		p.done.Note = "the ranks were stopped for a communication test and started again"
		s.note(last, "undo", "started the ranks again")
	} else {
		p.done.Note = "the ranks could not be started again: " + plain(err)
		s.trouble(last, "starting the ranks after the communication test", err)
		s.end(incident.Escalated, "The ranks were stopped for a communication test and could not be started again: "+plain(err)+".",
			"Start them by hand; the snapshot in the evidence bundle has the field as it was.")
	}
	s.stops = append(s.stops, p.done)
}

func (p *pause) workload() steps.WorkloadParams { return p.story.ranksOf(p.plan) }
