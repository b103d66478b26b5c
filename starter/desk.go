package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/starter/frontdoor"
	"gpumedic/workflows"
)

// desk turns what people and Alertmanager want into calls to Temporal.
type desk struct {
	cfg      config.Config
	temporal client.Client
	books    []runbooks.Runbook
}

func newDesk(cfg config.Config, temporal client.Client) (*desk, error) {
	books, err := runbooks.Load(cfg.Runbooks)
	if err != nil {
		temporal.Close()
		return nil, &exit{wrongUse, err}
	}
	return &desk{cfg: cfg, temporal: temporal, books: books}, nil
}

func (d *desk) close() { d.temporal.Close() }

// Deliver signals the incident of hint and opens it where there is none. What
// it pins into a new incident is the configuration and runbooks of now.
func (d *desk) Deliver(ctx context.Context, hint incident.Target, alerts []incident.Alert) (string, error) {
	settings := d.cfg.Incident
	settings.Cluster, settings.Build = hint.Cluster, config.Version
	in := workflows.IncidentInput{Hint: hint, Settings: settings, Runbooks: d.books}
	options := client.StartWorkflowOptions{
		ID: hint.ID(), TaskQueue: workflows.TaskQueue(hint.Cluster),
		StaticSummary: hint.String(),
	}
	_, err := d.temporal.SignalWithStartWorkflow(ctx, hint.ID(), workflows.AlertSignal,
		workflows.AlertSignalInput{Alerts: alerts}, options, workflows.IncidentType, in)
	var never *serviceerror.InvalidArgument
	switch {
	case errors.As(err, &never): // an id that is too long, say
		return "", incident.Faultf(incident.Invalid, err, "handing %d alerts to %.200s", len(alerts), hint.ID())
	case err != nil:
		return "", fmt.Errorf("handing %d alerts to %s: %w", len(alerts), hint.ID(), err)
	}
	return hint.ID(), nil
}

// Ready says whether Temporal answers.
func (d *desk) Ready(ctx context.Context) error {
	if _, err := d.temporal.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		return fmt.Errorf("asking Temporal for its health: %w", err)
	}
	return nil
}

// List gives the newest incidents first.
func (d *desk) List(ctx context.Context, limit int) ([]frontdoor.Entry, error) {
	answer, err := d.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: d.cfg.Temporal.Namespace, PageSize: int32(min(limit, 1000)),
		Query: fmt.Sprintf("WorkflowType = '%s'", workflows.IncidentType),
	})
	if err != nil {
		return nil, fmt.Errorf("listing incidents: %w", err)
	}
	entries := []frontdoor.Entry{}
	for _, run := range answer.Executions {
		entry := frontdoor.Entry{ID: run.Execution.WorkflowId, Status: status(run.Status), OpenedAt: run.StartTime.AsTime()}
		if run.CloseTime != nil {
			entry.ClosedAt = run.CloseTime.AsTime()
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func status(s enums.WorkflowExecutionStatus) string {
	switch s {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return "open"
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return "closed"
	default: // failed, terminated, timed out: not an ending of ours
		return "broken: " + s.String()
	}
}

// View shows one incident as it is now.
func (d *desk) View(ctx context.Context, id string) (workflows.View, error) {
	var view workflows.View
	value, err := d.temporal.QueryWorkflow(ctx, id, "", workflows.ViewQuery)
	if err != nil {
		return view, d.lookup(id, err)
	}
	if err := value.Get(&view); err != nil {
		return view, fmt.Errorf("reading incident %s: %w", id, err)
	}
	return view, nil
}

// Vote casts a vote. A vote that does not count comes back as a *rejected.
func (d *desk) Vote(ctx context.Context, id, delivery string, vote incident.Vote) (workflows.VoteResult, error) {
	var result workflows.VoteResult
	return result, d.update(ctx, id, delivery, workflows.VoteUpdate, vote, &result)
}

// Cancel stops an incident.
func (d *desk) Cancel(ctx context.Context, id string, in workflows.CancelInput) error {
	return d.update(ctx, id, "", workflows.CancelUpdate, in, nil)
}

// rejected is an answer of the incident itself, not a failure to ask it.
type rejected struct{ err error }

func (r *rejected) Error() string { return r.err.Error() }
func (r *rejected) Unwrap() error { return r.err }

// update asks the incident and waits for its answer, but not for ever.
func (d *desk) update(ctx context.Context, id, delivery, name string, arg, result any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	handle, err := d.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateID: delivery, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, result)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("asking %s to %s: no answer; is a worker of its cluster running? %w", id, name, err)
	case isConnection(err):
		return d.lookup(id, err)
	default:
		return &rejected{err}
	}
}

func isConnection(err error) bool {
	var missing *serviceerror.NotFound
	var away *serviceerror.Unavailable
	return errors.As(err, &missing) || errors.As(err, &away)
}

// lookup says what to do about an incident that cannot be asked.
func (d *desk) lookup(id string, err error) error {
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return fmt.Errorf("looking for incident %s: it is not open (gpumedic list shows what is): %w", id, err)
	}
	return fmt.Errorf("asking incident %s: %w", id, err)
}

// ending is how an incident ended; open says that it has not.
type ending struct {
	open bool
	// broken is how Temporal closed it when its own story did not: failed,
	// terminated, timed out.
	broken string
	// joined is the incident that took over, "" when none did.
	joined string
}

// Ending asks whether an incident has ended, and how.
func (d *desk) Ending(ctx context.Context, id string) (ending, error) {
	answer, err := d.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return ending{}, d.lookup(id, err)
	}
	switch now := answer.GetWorkflowExecutionInfo().GetStatus(); now {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return ending{open: true}, nil
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		var result workflows.Result
		if err := d.temporal.GetWorkflow(ctx, id, "").Get(ctx, &result); err != nil {
			return ending{}, fmt.Errorf("reading how %s ended: %w", id, err)
		}
		return ending{joined: result.JoinedTo}, nil
	default:
		return ending{broken: now.String()}, nil
	}
}

// waiting lists steps that are being tried again, with their last error.
func (d *desk) waiting(ctx context.Context, id string) ([]string, error) {
	answer, err := d.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, d.lookup(id, err)
	}
	var lines []string
	for _, pending := range answer.PendingActivities {
		if pending.LastFailure != nil {
			lines = append(lines, fmt.Sprintf("%s, attempt %d: %s", name(pending.ActivityType), pending.Attempt, pending.LastFailure.Message))
		}
	}
	return lines, nil
}

func name(t *commonpb.ActivityType) string { return t.GetName() }
