package workflows

import (
	"strings"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// budget asks whether the governor would let a plan isolate its nodes, so that
// nobody is asked to approve what will be refused. Doubt is a reason against.
func (s *story) budget(ctx workflow.Context, plan incident.Plan) []string {
	if plan.Isolation == nil {
		return nil
	}
	params := s.leaseParams(plan)
	params.Ask = true
	return s.askGovernor(ctx, params)
}

// askGovernor gives the reasons against a lease; none means that it is given.
func (s *story) askGovernor(ctx workflow.Context, params steps.LeaseParams) []string {
	result, err := call[steps.LeaseResult](ctx, steps.AcquireLease, params)
	switch {
	case err != nil:
		return []string{"the governor could not be asked whether the budget allows it: " + plain(err)}
	case !result.Granted && len(result.Reasons) == 0:
		return []string{"the governor gives no lease and does not say why"}
	}
	return result.Reasons
}

func (s *story) leaseParams(plan incident.Plan) steps.LeaseParams {
	lease := incident.Lease{
		OperationID: s.operationID(plan.Remedy), Incident: s.record.IncidentID, Target: plan.Target, Remedy: plan.Remedy, Nodes: plan.Nodes,
	}
	if plan.Isolation != nil {
		lease.Domains = plan.Isolation.Domains
	}
	return steps.LeaseParams{Incident: s.record.IncidentID, Cluster: plan.Target.Cluster, Lease: lease, Settings: s.in.Settings.Governor}
}

// lease gets leave to make the change. False ends the story: between the plan
// and the approval somebody else has used the budget, or works on the target.
func (g *saga) lease(ctx workflow.Context) bool {
	s := g.story
	if !knows(ctx, leaseBeforeChange) {
		return true
	}
	g.leased = true // before it is asked for: an answer may get lost on its way
	reasons := s.askGovernor(ctx, s.leaseParams(g.plan))
	if len(reasons) == 0 {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	s.decide(ctx, g.plan.Remedy, incident.Refuse, reasons...)
	s.end(incident.Refused, "The governor gives no leave for "+g.plan.Remedy+" now, so nothing was changed: "+strings.Join(reasons, "; ")+".",
		"When the reason is gone and the target is still ill, open the incident again: gpumedic start.")
	return false
}

// release gives the lease back in every ending. Nodes that may still be isolated
// go on counting.
func (g *saga) release(ctx workflow.Context) {
	if !g.leased {
		return
	}
	g.story.giveBack(ctx, g.plan, g.applied, g.applied && !g.undoneWholly())
}

// giveBack returns the lease of a plan, on a context that no cancellation reaches.
func (s *story) giveBack(ctx workflow.Context, plan incident.Plan, applied, isolated bool) {
	last, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	params := steps.ReleaseParams{
		Incident: s.record.IncidentID, Cluster: plan.Target.Cluster, OperationID: s.operationID(plan.Remedy),
		Applied: applied, Isolated: isolated,
	}
	if _, err := call[steps.ReleaseResult](last, steps.ReleaseLease, params); err != nil {
		s.trouble(last, "giving the lease back; the governor frees it when it finds the incident closed", err)
	}
}
