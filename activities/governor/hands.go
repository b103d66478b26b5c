package governor

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Hands speak with governors through Temporal. All fields but Log are needed.
type Hands struct {
	Client client.Client
	// Queue is where a governor that is not there yet is started.
	Queue string
	// Log is silent when nil.
	Log hclog.Logger
}

// AcquireLease asks the cluster's governor for a lease, and starts the governor
// where there is none. It may be repeated. A lease that is not given is an
// answer with its reasons.
func (h *Hands) AcquireLease(ctx context.Context, params steps.LeaseParams) (steps.LeaseResult, error) {
	var result steps.LeaseResult
	return result, h.ask(ctx, params.Cluster, steps.LeaseUpdate, params, &result)
}

// ReleaseLease gives a lease back; one that the governor does not have is
// nothing to give back. It may be repeated.
func (h *Hands) ReleaseLease(ctx context.Context, params steps.ReleaseParams) (steps.ReleaseResult, error) {
	var result steps.ReleaseResult
	return result, h.ask(ctx, params.Cluster, steps.ReleaseUpdate, params, &result)
}

func (h *Hands) ask(ctx context.Context, cluster, update string, params, result any) error {
	start := h.Client.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID: steps.GovernorID(cluster), TaskQueue: h.Queue, WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
	}, steps.GovernorType, steps.GovernorInput{Cluster: cluster})
	handle, err := h.Client.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions:          client.UpdateWorkflowOptions{UpdateName: update, Args: []any{params}, WaitForStage: client.WorkflowUpdateStageCompleted},
	})
	if err == nil {
		err = handle.Get(ctx, result)
	}
	return faultOf(err, "asking the governor of cluster %s", cluster)
}

// FindHolder says whether an incident's workflow is open. One that Temporal
// does not know is not: it ended and its retention is over.
func (h *Hands) FindHolder(ctx context.Context, params steps.FindHolderParams) (steps.FindHolderResult, error) {
	found, err := h.Client.DescribeWorkflowExecution(ctx, params.Incident, "")
	var unknown *serviceerror.NotFound
	if errors.As(err, &unknown) {
		return steps.FindHolderResult{}, nil
	}
	if err != nil {
		return steps.FindHolderResult{}, faultOf(err, "looking for %s", params.Incident)
	}
	return steps.FindHolderResult{Open: found.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING}, nil
}

// faultOf classifies what Temporal answered; nil stays nil.
func faultOf(err error, format string, args ...any) error {
	var denied *serviceerror.PermissionDenied
	var invalid *serviceerror.InvalidArgument
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return incident.Faultf(incident.TimedOut, err, format, args...)
	case errors.As(err, &denied):
		return incident.Faultf(incident.Forbidden, err, format, args...)
	case errors.As(err, &invalid):
		return incident.Faultf(incident.Invalid, err, format, args...)
	}
	return incident.Faultf(incident.Unreachable, err, format, args...)
}
