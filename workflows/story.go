package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// story is the state of one incident. Only the incident's own coroutines
// touch it, one at a time.
type story struct {
	in     IncidentInput
	book   runbooks.Runbook
	record incident.Record
	state  string

	// seen counts deliveries per alert episode; open are episodes that fire;
	// heard is how many of the record's alerts the outcome is about.
	seen  map[string]int
	open  map[string]bool
	heard int

	workload incident.EvidenceRef
	index    incident.EvidenceRef

	// asking is the plan that waits for votes.
	asking   *incident.Plan
	votes    []incident.Vote
	deadline time.Time
	// cancel stops the story; cancelledBy is set when a person did.
	cancel      workflow.CancelFunc
	cancelledBy string

	// asked are the checks that were carried out; handedFrom is the runbook that
	// handed the incident to the one at hand, "" when none did.
	asked      []string
	handedFrom string

	// testing is the communication test that runs now; nil when none does.
	testing *incident.CommTest
	// heardTest is what the last one told while it ran.
	heardTest *incident.CommTest
	// stops are the times the ranks were stopped for a test.
	stops []incident.Change

	// plansToRead: see versions.go.
	plansToRead bool

	speaker *speaker
	report  steps.WriteReportResult
}

func newStory(ctx workflow.Context, in IncidentInput) *story {
	s := &story{in: in, state: "investigating", seen: map[string]int{}, open: map[string]bool{}, plansToRead: knows(ctx, plansToRead)}
	s.record = incident.Record{
		IncidentID: workflow.GetInfo(ctx).WorkflowExecution.ID,
		Target:     in.Hint,
		OpenedAt:   workflow.Now(ctx).UTC(),
		Build:      in.Settings.Build,
		// Empty lists, not null, in the published JSON.
		Alerts: []incident.Alert{}, Findings: []incident.Finding{}, Decisions: []incident.Decision{},
		Approvals: []incident.Vote{}, Changes: []incident.Change{}, Stages: []incident.Stage{},
		Story: []incident.Event{}, Evidence: []incident.EvidenceRef{},
	}
	s.speaker = newSpeaker(s)
	return s
}

// view answers the query "view".
func (s *story) view() (View, error) {
	return View{
		Record: s.record, State: s.state, Testing: s.testing, Asking: s.asking, Deadline: s.deadline,
		Message: s.speaker.ref, Report: s.report,
	}, nil
}

// operationID is the idempotency key of what this incident does to a target.
// It is the same over attempts, restarts and resets, and differs between two
// incidents of one target.
func (s *story) operationID(remedy string) string {
	return fmt.Sprintf("%s@%d/%s", s.record.IncidentID, s.record.OpenedAt.Unix(), remedy)
}

// note adds a line to the timeline.
func (s *story) note(ctx workflow.Context, kind, format string, args ...any) {
	s.record.Story = append(s.record.Story, incident.Event{
		At: workflow.Now(ctx).UTC(), Kind: kind, Text: fmt.Sprintf(format, args...),
	})
}

// trouble records an error without stopping the story.
func (s *story) trouble(ctx workflow.Context, doing string, err error) {
	text := doing + ": " + plain(err)
	s.record.Errors = append(s.record.Errors, text)
	s.note(ctx, "error", "%s", text)
	workflow.GetLogger(ctx).Warn("step did not succeed", "doing", doing, "error", plain(err))
}

// decide records a verdict with its reasons.
func (s *story) decide(ctx workflow.Context, what, verdict string, reasons ...string) {
	s.record.Decisions = append(s.record.Decisions, incident.Decision{
		At: workflow.Now(ctx).UTC(), What: what, Verdict: verdict, Reasons: reasons,
	})
	s.note(ctx, "decision", "%s: %s", what, verdict)
}

// stage opens a stage and returns the function that closes it.
func (s *story) stage(ctx workflow.Context, name string) func() {
	s.record.Stages = append(s.record.Stages, incident.Stage{Name: name, StartedAt: workflow.Now(ctx).UTC()})
	at := len(s.record.Stages) - 1
	return func() { s.record.Stages[at].EndedAt = workflow.Now(ctx).UTC() }
}

// end sets the outcome once; the first word holds.
func (s *story) end(outcome, summary, next string) {
	if s.record.Outcome == "" {
		s.record.Outcome, s.record.Summary, s.record.Next = outcome, summary, next
	}
}

// keep lists evidence in the record, once by name and content.
func (s *story) keep(refs ...incident.EvidenceRef) {
	for _, ref := range refs {
		if ref.SHA256 != "" && !s.has(ref) {
			s.record.Evidence = append(s.record.Evidence, ref)
		}
	}
}

func (s *story) has(ref incident.EvidenceRef) bool {
	for _, known := range s.record.Evidence {
		if known.Name == ref.Name && known.SHA256 == ref.SHA256 {
			return true
		}
	}
	return false
}

// found says whether a question was answered with yes.
func (s *story) found(question string) bool {
	return slices.ContainsFunc(s.record.Findings, func(f incident.Finding) bool {
		return f.ID == question && f.State == incident.Yes
	})
}
