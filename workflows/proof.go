package workflows

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

// Some changes cannot be seen to help at once: a job that died of memory has to get
// past the step at which it died. Until then the change is unproved, and the incident
// waits, which costs nothing.

const (
	// mostRecurrences bounds how many times the distance to the step of a death
	// must be passed, however often the job died there.
	mostRecurrences = 3
	// proofTime is how long a change may be unproved where no setting says so.
	proofTime = 24 * time.Hour
	// Between two looks the incident waits at first for shortPause, then twice as
	// long each time up to longPause; a look takes as long as aLook.
	shortPause, longPause = 10 * time.Second, 10 * time.Minute
	aLook                 = 2 * time.Minute
	// enoughInput is the share of a step that waiting for input may take after a
	// change, where nothing tells how much it was before.
	enoughInput = 0.3
)

// proof is what must be seen for a change of the pod template to count.
func (s *story) proof() incident.Wanted {
	var wanted incident.Wanted
	wanted.PastStep, wanted.Recurrences = s.death()
	if s.cause().RootCause == inputCause {
		wanted.InputWaitBelow = s.lessInput()
	}
	return wanted
}

const inputCause = "input-pipeline-too-slow"

// deadly are the causes that end a rank, at a step that the job has to get past.
var deadly = []string{"memory-fragmentation", "true-capacity-oom", "host-oomkilled", "shm-too-small", "mig-or-sharing-config", "memory-leak-growth"}

// death is where and how often the ranks died, as their logs tell. Both are 0 where
// nothing tells. Who is killed from outside says no more than its last step.
func (s *story) death() (step, times int) {
	cause := s.cause().RootCause
	if !slices.Contains(deadly, cause) {
		return 0, 0
	}
	for _, o := range s.record.Observed {
		own := o.Role == diagnosis.RoleOrigin && slices.Contains(o.Causes, cause)
		if own || o.Signature == diagnosis.SignatureProgress && cause == "host-oomkilled" {
			step, times = max(step, o.AfterStep), max(times, o.Times)
		}
	}
	if step == 0 {
		return 0, 0
	}
	return step, min(max(times, 1), mostRecurrences)
}

// lessInput is half of what the steps waited for input before.
func (s *story) lessInput() float64 {
	for _, f := range s.record.Findings {
		share, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(f.Value, "%")), 64)
		if f.ID == incident.InputWaits && f.State == incident.Yes && err == nil && share > 0 {
			return share / 200
		}
	}
	return enoughInput
}

// awaitProof looks at the restarted ranks until they show what the plan wants, or
// that it does not help, or the time for a proof is over.
func (s *story) awaitProof(ctx workflow.Context, params steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
	limit := s.in.Settings.Verify.Proof
	if limit <= 0 {
		limit = proofTime
	}
	started := workflow.Now(ctx)
	for pause := shortPause; ; pause = min(2*pause, longPause) {
		result, err := call[steps.AwaitRanksResult](ctx, steps.AwaitRanks, params)
		if err != nil || !result.Unproved || workflow.Now(ctx).Sub(started) >= limit {
			return result, err
		}
		if pause == shortPause {
			s.note(ctx, "note", "unproved so far: %s", result.Why)
			s.speaker.card(ctx, s.card("Changed, and not yet proved: "+result.Why))
		}
		if err := workflow.Sleep(ctx, pause); err != nil {
			return result, err
		}
		params.Deadline = min(params.Deadline, aLook)
	}
}

// unproved ends the search: the ranks train, so that taking the change back would
// stop a job that works; whether it helped, a person will see.
func (g *saga) unproved(ctx workflow.Context, why string) bool {
	s := g.story
	g.record().Verified, g.record().Note = false, "unproved: "+why
	s.note(ctx, "finding", "the change is unproved: %s", why)
	s.end(incident.Escalated, "Cause: "+s.record.RootCause+". "+g.plan.Remedy+" was applied and all ranks train; that it helps is not proved: "+why+".",
		"Watch whether the job gets past the step at which it died. The change stays; the report holds what it replaced.")
	return true
}
