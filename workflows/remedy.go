package workflows

import (
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"gpumedic/diagnosis"
	"gpumedic/guard"
	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// remedy tries what the runbook names for the cause, in order, until one
// holds, a person says no, or none is left.
func (s *story) remedy(ctx workflow.Context) {
	if ctx.Err() != nil || s.nothingWrong(ctx) {
		return
	}
	entry, _ := s.book.For(s.cause().RootCause)
	if len(entry.Remedies) == 0 {
		s.advise(ctx, "the runbook names no remedy for this cause")
		return
	}
	for _, remedy := range entry.Remedies {
		if done := s.try(ctx, remedy); done || ctx.Err() != nil {
			return
		}
	}
	s.noneLeft(entry.Advice)
}

// try plans, asks and carries out one remedy. True ends the search.
func (s *story) try(ctx workflow.Context, remedy runbooks.Remedy) bool {
	plan, ok := s.plan(ctx, remedy)
	if !ok {
		return false
	}
	verdict := s.judge(ctx, plan)
	if verdict == incident.Ask {
		verdict = s.approval(ctx, plan)
	}
	if verdict != incident.Allow {
		return true
	}
	return s.change(ctx, plan)
}

// plan makes the remedy concrete, without changing anything.
func (s *story) plan(ctx workflow.Context, remedy runbooks.Remedy) (incident.Plan, bool) {
	defer s.stage(ctx, "plan")()
	result, err := call[steps.PlanRemedyResult](ctx, steps.PlanRemedy, s.planParams(remedy))
	if err != nil {
		s.trouble(ctx, "planning "+remedy.Name, err)
		s.decide(ctx, remedy.Name, incident.Refuse, "no plan could be made: "+plain(err))
		return incident.Plan{}, false
	}
	if !result.Possible {
		s.decide(ctx, remedy.Name, incident.Refuse, result.WhyNot)
		if result.Plan.Diff != "" && s.record.Plan == nil {
			s.record.Plan = &result.Plan // proposed only; the report shows its diff
		}
		return incident.Plan{}, false
	}
	s.record.Plan = &result.Plan
	s.note(ctx, "note", "plan %s: %s", result.Plan.Hash, result.Plan.Summary)
	return result.Plan, true
}

// planParams says whom the cause blames only to the remedies that act on them.
func (s *story) planParams(remedy runbooks.Remedy) steps.PlanRemedyParams {
	params := steps.PlanRemedyParams{
		Incident: s.record.IncidentID, Remedy: remedy.Name, Risk: remedy.Risk, Workload: s.workload,
		Fabric: s.in.Settings.Fabric, TestJobs: s.verificationJobs(),
	}
	if slices.Contains(steps.TemplateRemedies(), remedy.Name) {
		s.tellTemplate(&params)
	}
	if remedy.Name == steps.IsolateNode || remedy.Name == steps.ReplaceRank {
		params.Blamed = s.cause().Blamed
	}
	return params
}

// tellTemplate adds what the planners of the pod template take amounts from, and the
// proof that people agree to with the plan.
func (s *story) tellTemplate(params *steps.PlanRemedyParams) {
	params.Cause, params.Wanted, params.Framework = s.cause().RootCause, s.proof(), s.framework()
	if params.Remedy == steps.CacheDataset || params.Remedy == steps.FasterStorage {
		params.Storage = s.in.Settings.Storage
	}
	if params.Cause == inputCause {
		params.Roles = []string{incident.KnobWorkers, incident.KnobPrefetch}
	}
	amounts := []string{incident.LargerGPUFree, incident.HostMemoryKilled, incident.ShmSmall}
	for _, f := range s.record.Findings {
		if slices.Contains(amounts, f.ID) {
			params.Findings = append(params.Findings, f)
		}
	}
}

// framework is whose allocator ran out of memory, "" when no line tells.
func (s *story) framework() string {
	for _, o := range s.record.Observed {
		for _, of := range []struct{ mark, framework string }{{"torch", "pytorch"}, {"bfc", "tensorflow"}, {"tensorflow", "tensorflow"}, {"xla", "jax"}, {"jax", "jax"}} {
			if o.Role == diagnosis.RoleOrigin && slices.Contains(o.Causes, s.cause().RootCause) && strings.Contains(o.Signature, of.mark) {
				return of.framework
			}
		}
	}
	return ""
}

// judge asks the guard, and the governor where nodes are isolated.
func (s *story) judge(ctx workflow.Context, plan incident.Plan) string {
	decision := guard.Judge(guard.Input{
		Plan: plan, Cause: s.cause(), Findings: s.record.Findings, Approval: s.in.Settings.Approval,
		MinConfidence: s.book.MinConfidence, Workload: s.record.Workload,
		CommTest: s.record.CommTest, Budget: s.budget(ctx, plan),
	})
	decision.At = workflow.Now(ctx).UTC()
	s.record.Decisions = append(s.record.Decisions, decision)
	s.note(ctx, "decision", "%s: %s", decision.What, decision.Verdict)
	if decision.Verdict == incident.Refuse {
		entry, _ := s.book.For(s.cause().RootCause)
		s.end(incident.Refused, "The guard refused "+plan.Remedy+"; nothing was changed"+s.told(plan, decision)+".", entry.Advice)
	}
	return decision.Verdict
}

// told repeats the reasons where nodes were to be isolated: who is called at
// night must not have to look for them.
func (s *story) told(plan incident.Plan, decision incident.Decision) string {
	if plan.Isolation == nil {
		return ""
	}
	return ": " + strings.Join(decision.Reasons, "; ")
}

// noneLeft ends the search with what happened on the way.
func (s *story) noneLeft(advice string) {
	for _, change := range s.record.Changes {
		if change.Undone {
			s.end(incident.RolledBack, change.Remedy+" "+becameOf(change), advice)
			return
		}
	}
	s.end(incident.Escalated, fmt.Sprintf("Cause: %s, but no remedy could be carried out; nothing was changed.", s.record.RootCause), advice)
}

// becameOf says how far a change came that was undone.
func becameOf(change incident.Change) string {
	if change.AppliedAt.IsZero() && change.Note != "" {
		return change.Note + ". What had been done was undone."
	}
	return "was applied, did not help and was undone."
}
