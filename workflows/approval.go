package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/guard"
	"gpumedic/incident"
)

// approval asks people about exactly this plan and waits, with a reminder and
// a deadline. Silence, expiry and doubt mean no.
func (s *story) approval(ctx workflow.Context, plan incident.Plan) string {
	defer s.stage(ctx, "approval")()
	asked := workflow.Now(ctx)
	defer func() { s.record.HumanWaitSeconds += workflow.Now(ctx).Sub(asked).Seconds() }()
	s.open4votes(ctx, plan)
	defer s.closeVotes()

	decided := func() bool { return s.tally(plan) != incident.Ask || !s.firing() }
	if !s.awaitVotes(ctx, decided) {
		return s.unanswered(ctx, plan)
	}
	if s.tally(plan) == incident.Ask {
		s.decide(ctx, plan.Remedy, incident.Refuse, "the alert was resolved while we were asking")
		s.end(incident.SelfResolved, "The alert was resolved before anybody answered; nothing was changed.", "")
		return incident.Refuse
	}
	return s.answered(ctx, plan)
}

func (s *story) open4votes(ctx workflow.Context, plan incident.Plan) {
	s.state, s.asking, s.votes = "asking", &plan, nil
	s.deadline = workflow.Now(ctx).Add(s.in.Settings.Approval.Deadline).UTC()
	s.note(ctx, "human", "asked for approval of plan %s until %s", plan.Hash, s.deadline.Format(time.RFC3339))
	s.speaker.card(ctx, s.card("Approval needed: "+plan.Summary))
	s.speaker.callApprovers(ctx, plan)
}

func (s *story) closeVotes() { s.asking, s.deadline = nil, time.Time{} }

// awaitVotes waits until decided, reminding once. False means nobody decided
// in time, or that the story was stopped.
func (s *story) awaitVotes(ctx workflow.Context, decided func() bool) bool {
	settings := s.in.Settings.Approval
	first := settings.Deadline
	if settings.Reminder > 0 && settings.Reminder < settings.Deadline {
		first = settings.Reminder
	}
	ok, err := workflow.AwaitWithTimeout(ctx, first, decided)
	if ok || err != nil || first == settings.Deadline {
		return ok
	}
	s.note(ctx, "human", "reminded the approvers")
	s.speaker.remind(ctx)
	ok, _ = workflow.AwaitWithTimeout(ctx, settings.Deadline-first, decided) // a cancelled wait is no decision
	return ok
}

func (s *story) unanswered(ctx workflow.Context, plan incident.Plan) string {
	if ctx.Err() != nil {
		return incident.Refuse
	}
	s.record.Approvals = append(s.record.Approvals, incident.Vote{PlanHash: plan.Hash, Verdict: incident.Expired, At: workflow.Now(ctx).UTC()})
	s.decide(ctx, plan.Remedy, incident.Refuse, "nobody answered until the deadline; silence is taken for no")
	s.end(incident.Refused, "Nobody answered in time, so nothing was changed.", "If the plan is right, open the incident again: gpumedic start.")
	return incident.Refuse
}

func (s *story) answered(ctx workflow.Context, plan incident.Plan) string {
	verdict := s.tally(plan)
	last := s.votes[len(s.votes)-1]
	if verdict == incident.Allow {
		s.decide(ctx, plan.Remedy, incident.Allow, fmt.Sprintf("plan %s was approved by %s via %s", plan.Hash, last.By, last.Via))
		return verdict
	}
	reason := fmt.Sprintf("plan %s was denied by %s via %s", plan.Hash, last.By, last.Via)
	if last.Reason != "" {
		reason += ": " + last.Reason
	}
	s.decide(ctx, plan.Remedy, incident.Refuse, reason)
	entry, _ := s.book.For(s.cause().RootCause)
	s.end(incident.Refused, "The plan was denied by "+last.By+"; nothing was changed.", entry.Advice)
	return verdict
}

func (s *story) tally(plan incident.Plan) string {
	return guard.Tally(s.in.Settings.Approval, plan, s.votes)
}

// mayVote refuses a vote that must not count, with the reason. It runs before
// anything is recorded and changes nothing.
func (s *story) mayVote(ctx workflow.Context, vote incident.Vote) error {
	if s.asking == nil {
		return fmt.Errorf("voting on %s: no plan waits for an approval", s.record.IncidentID)
	}
	if vote.PlanHash != s.asking.Hash {
		return fmt.Errorf("voting on plan %s: the plan that waits is %s; look at it again (gpumedic show) before you vote", vote.PlanHash, s.asking.Hash)
	}
	if ok, reason := guard.Authorised(s.in.Settings.Approval, vote); !ok {
		return fmt.Errorf("voting on plan %s: %s", vote.PlanHash, reason)
	}
	if s.tally(*s.asking) != incident.Ask {
		return fmt.Errorf("voting on plan %s: it is already decided", vote.PlanHash)
	}
	return nil
}

// vote counts an admitted vote. The time is the workflow's, not the voter's.
func (s *story) vote(ctx workflow.Context, vote incident.Vote) (VoteResult, error) {
	vote.At = workflow.Now(ctx).UTC()
	s.votes = append(s.votes, vote)
	s.record.Approvals = append(s.record.Approvals, vote)
	s.note(ctx, "human", "%s says %s via %s", vote.By, vote.Verdict, vote.Via)
	result := VoteResult{Decided: s.tally(*s.asking) != incident.Ask, Needed: guard.Quorum(s.in.Settings.Approval, s.asking.Risk)}
	for _, v := range s.votes {
		if v.Verdict == incident.Approve {
			result.Approvals++
		}
	}
	return result, nil
}

// mayStop refuses to cancel what is already over.
func (s *story) mayStop(_ workflow.Context, in CancelInput) error {
	if s.record.Outcome != "" {
		return fmt.Errorf("cancelling %s: it already ended as %s", s.record.IncidentID, s.record.Outcome)
	}
	if in.By == "" {
		return fmt.Errorf("cancelling %s: say who cancels", s.record.IncidentID)
	}
	return nil
}

// stop cancels the story; what was changed and not yet verified is undone.
func (s *story) stop(ctx workflow.Context, in CancelInput) error {
	s.cancelledBy = " by " + in.By
	if in.Reason != "" {
		s.cancelledBy += ": " + in.Reason
	}
	s.note(ctx, "human", "cancelled%s", s.cancelledBy)
	s.cancel()
	return nil
}
