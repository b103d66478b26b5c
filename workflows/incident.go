package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// Result is what remains of an incident in its history; the report has the rest.
type Result struct {
	Outcome string                  `json:"outcome"`
	Report  steps.WriteReportResult `json:"report"`
	// JoinedTo is the incident that took over, when the alert turned out to be
	// about another target (a pod's job, a job's owner).
	JoinedTo string `json:"joined_to,omitempty"`
}

// Incident is one durable run for one target. Its workflow id is
// incident.Target.ID(), which makes it the only one.
func Incident(ctx workflow.Context, in IncidentInput) (Result, error) {
	s := newStory(ctx, in)
	if err := s.setup(ctx); err != nil {
		return Result{}, err
	}
	work, stop := workflow.WithCancel(ctx)
	s.cancel = stop
	s.listen(ctx)

	joined := s.run(work)
	return s.close(ctx, joined)
}

// setup registers how the outside talks to the incident.
func (s *story) setup(ctx workflow.Context) error {
	return errors.Join(
		workflow.SetQueryHandler(ctx, ViewQuery, s.view),
		workflow.SetUpdateHandlerWithOptions(ctx, VoteUpdate, s.vote,
			workflow.UpdateHandlerOptions{Validator: s.mayVote}),
		workflow.SetUpdateHandlerWithOptions(ctx, CancelUpdate, s.stop,
			workflow.UpdateHandlerOptions{Validator: s.mayStop}),
	)
}

// run is the way of an alert. It returns the id of the incident that took
// over, if one did.
func (s *story) run(ctx workflow.Context) (joined string) {
	if !s.mayAct(ctx) {
		return ""
	}
	if found, other := s.resolve(ctx); !found {
		return other
	}
	s.speaker.card(ctx, s.card("Looking at it: keeping the evidence, then asking the cluster."))
	if !s.collect(ctx) || !s.chooseRunbook(ctx) {
		return ""
	}
	s.tell(ctx)
	return ""
}

// resolve finds the canonical target. An alert about a pod joins the incident
// of the workload that owns it.
func (s *story) resolve(ctx workflow.Context) (found bool, joined string) {
	defer s.stage(ctx, "resolve target")()
	params := steps.ResolveTargetParams{Incident: s.record.IncidentID, Hint: s.in.Hint, Fabric: s.in.Settings.Fabric}
	result, err := patiently[steps.ResolveTargetResult](ctx, s, steps.ResolveTarget, params)
	if err != nil {
		s.giveUp(ctx, "finding the target", err)
		return false, ""
	}
	if !result.Found {
		s.decide(ctx, "act on the alert", incident.Refuse, "the target is gone: "+s.in.Hint.String())
		s.end(incident.SelfResolved, "The target of the alert no longer exists; nothing was changed.", "")
		return false, ""
	}
	s.record.Target, s.record.Workload, s.record.Simulated = result.Target, result.Summary, result.Simulated
	s.workload = result.Workload
	s.keep(result.Workload)
	if id := result.Target.ID(); id != s.record.IncidentID {
		return false, s.join(ctx, id, result.Target)
	}
	if !result.Supported {
		s.decide(ctx, "diagnose the target", incident.Refuse, result.Why)
		s.end(incident.Escalated, "gpumedic cannot look into this kind of target: "+result.Why, "Look at the target by hand.")
		return false, ""
	}
	s.note(ctx, "note", "target is %s with %d ranks on %d nodes", result.Target, result.Summary.Ranks, len(result.Summary.Nodes))
	return true, ""
}

// collect keeps volatile evidence before anything else may happen.
func (s *story) collect(ctx workflow.Context) bool {
	defer s.stage(ctx, "collect evidence")()
	params := steps.CollectEvidenceParams{Incident: s.record.IncidentID, Workload: s.workload, Logs: s.in.Settings.Logs}
	result, err := patiently[steps.CollectEvidenceResult](ctx, s, steps.CollectEvidence, params)
	if err != nil {
		s.giveUp(ctx, "collecting evidence", err)
		return false
	}
	s.index = result.Index
	s.keep(result.Index)
	s.note(ctx, "evidence", "kept %d files, %d bytes", result.Files, result.Bytes)
	for _, gap := range result.Gaps {
		s.note(ctx, "evidence", "could not keep %s", gap)
	}
	return true
}

// chooseRunbook picks the runbook of the first firing alert that has one.
func (s *story) chooseRunbook(ctx workflow.Context) bool {
	for _, alert := range s.record.Alerts {
		book, matcher, ok := runbooks.Match(s.in.Runbooks, alert)
		if !s.open[alert.Episode()] || !ok {
			continue
		}
		s.follow(book)
		s.note(ctx, "decision", "runbook %s, because the alert matches %s", book.Name, matcher)
		return true
	}
	s.decide(ctx, "choose a runbook", incident.Refuse, "no runbook matches the alert's labels")
	s.end(incident.Escalated, "No runbook matches this alert; the evidence was kept.", "Look at the target by hand, or add a runbook for this alert.")
	return false
}

// tell runs the story of the failure case.
func (s *story) tell(ctx workflow.Context) {
	s.storyOf(s.book.Name)(ctx)
	if len(s.stops) > 0 { // a stop for a test is no remedy; remedies do not see it, the record does
		s.record.Changes = append(s.stops, s.record.Changes...)
	}
}

// storyOf is a failure case's own story; all cases without one follow the standard
// one.
func (s *story) storyOf(name string) func(workflow.Context) {
	switch name {
	case "nccl-failure":
		return s.ncclFailure
	case "cuda-oom":
		return s.cudaOOM
	case "dataset-slow":
		return s.datasetSlow
	}
	return s.standard
}

// join hands the alerts to the incident of the canonical target: it is
// started, or signalled when it is already open.
func (s *story) join(ctx workflow.Context, id string, target incident.Target) string {
	in := s.in
	in.Hint, in.Alerts = target, slices.Clone(s.record.Alerts)
	s.heard = len(in.Alerts)
	for try := 0; try < 5; try++ {
		child := workflow.WithChildOptions(ctx, handOver(id))
		err := workflow.ExecuteChildWorkflow(child, IncidentType, in).GetChildWorkflowExecution().Get(ctx, nil)
		if err == nil {
			break
		}
		var open *temporal.ChildWorkflowExecutionAlreadyStartedError
		if !errors.As(err, &open) {
			s.trouble(ctx, "handing the alert to "+id, err)
			continue
		}
		if err = workflow.SignalExternalWorkflow(ctx, id, "", AlertSignal, AlertSignalInput{Alerts: in.Alerts}).Get(ctx, nil); err == nil {
			break
		} // it closed in between: start it after all
	}
	s.note(ctx, "decision", "the alert is about %s; its incident is %s", target, id)
	s.end(incident.SelfResolved, fmt.Sprintf("The alert belongs to %s; incident %s has it.", target, id), "")
	return id
}

// giveUp ends the story when a step that everything else needs did not work.
func (s *story) giveUp(ctx workflow.Context, doing string, err error) {
	if cancelled(err) {
		return
	}
	s.trouble(ctx, doing, err)
	s.end(incident.Escalated, fmt.Sprintf("gpumedic could not go on: %s: %s", doing, plain(err)), "Look at the target by hand; nothing was changed by gpumedic.")
}

// close writes the report in every ending, says goodbye, and reopens when
// alerts came in the meantime.
func (s *story) close(ctx workflow.Context, joined string) (Result, error) {
	last, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	if s.cancelledBy != "" || ctx.Err() != nil {
		s.end(incident.Cancelled, "The incident was cancelled"+s.cancelledBy+".", "")
	}
	s.end(incident.Escalated, "The story ended without an outcome; this is a defect of gpumedic.", "Read the timeline and report the defect.")
	if joined == "" {
		s.writeReport(last)
		s.farewell(last)
	}
	if err := workflow.Await(last, func() bool { return workflow.AllHandlersFinished(last) }); err != nil {
		return Result{}, err
	}
	if alerts := s.unheard(last); len(alerts) > 0 {
		in := s.in
		in.Alerts = alerts
		return Result{}, workflow.NewContinueAsNewError(last, IncidentType, in)
	}
	s.state = "closed"
	return Result{Outcome: s.record.Outcome, Report: s.report, JoinedTo: joined}, nil
}

// unheard are firing alerts of new episodes that arrived after the incident
// had made up its mind.
func (s *story) unheard(ctx workflow.Context) []incident.Alert {
	s.drain(ctx)
	var alerts []incident.Alert
	for _, alert := range s.record.Alerts[s.heard:] {
		if s.open[alert.Episode()] {
			alerts = append(alerts, alert)
		}
	}
	return alerts
}

func (s *story) writeReport(ctx workflow.Context) {
	s.state = "reporting"
	finish := s.stage(ctx, "write report")
	s.record.ClosedAt, s.heard = workflow.Now(ctx).UTC(), len(s.record.Alerts)
	finish() // the record must be whole before it is rendered
	params := steps.WriteReportParams{Record: s.record, Workload: s.workload, Index: s.index}
	result, err := call[steps.WriteReportResult](ctx, steps.WriteReport, params)
	if err != nil {
		s.trouble(ctx, "writing the report", err)
		return
	}
	s.report = result
}

// abandon lets a child outlive its parent.
const abandon = enums.PARENT_CLOSE_POLICY_ABANDON

// handOver starts an incident that outlives the one that found it.
func handOver(id string) workflow.ChildWorkflowOptions {
	return workflow.ChildWorkflowOptions{WorkflowID: id, ParentClosePolicy: abandon, WorkflowTaskTimeout: 10 * time.Second}
}
