package replay

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/workflows"
)

// File replays the history in a JSON file, as `gpumedic-lab demo` and
// `temporal workflow show --output json` write it. A *Different says that this
// build would have done otherwise; an incident.Fault that the file is no
// history and nothing was replayed.
func File(ctx context.Context, files fs.FS, name string) error {
	file, err := files.Open(name)
	if err != nil {
		fault := incident.Faultf(incident.Missing, err, "opening a history")
		fault.Next = "check the path and that it may be read"
		return fault
	}
	defer file.Close()
	return Read(ctx, file)
}

// Read is File on an open reader.
func Read(ctx context.Context, in io.Reader) error {
	history, err := client.HistoryFromJSON(in, client.HistoryJSONOptions{})
	if err != nil {
		fault := incident.Faultf(incident.Invalid, err, "reading a history")
		fault.Next = "it must be the JSON of one workflow's whole history"
		return fault
	}
	return History(ctx, history)
}

// History replays one history. Its workflow keeps the id it had: ids of
// children are made from it.
func History(ctx context.Context, history *historypb.History) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("replaying a history: %w", err)
	}
	opening, err := openingOf(history)
	if err != nil {
		return err
	}
	gate := &gate{}
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		Interceptors: []interceptor.WorkerInterceptor{gate}, DisableRegistrationAliasing: true,
	})
	if err != nil {
		return incident.Faultf(incident.Internal, err, "making a replayer")
	}
	workflows.Register(replayer)
	quiet := log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	refused := replayer.ReplayWorkflowHistoryWithOptions(quiet, history, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: opening.GetWorkflowId(), RunID: opening.GetOriginalExecutionRunId()},
	})
	found := compare(recorded(history), gate.calls, refused == nil)
	if refused != nil {
		found = append(found, Difference{What: "order of the workflow's commands", Why: refused.Error()})
	}
	if len(found) == 0 {
		return nil
	}
	return &Different{Workflow: opening.GetWorkflowId(), Type: opening.GetWorkflowType().GetName(), Differences: found}
}

// openingOf returns the first event, which every history starts with.
func openingOf(history *historypb.History) (*historypb.WorkflowExecutionStartedEventAttributes, error) {
	if len(history.GetEvents()) > 0 {
		if opening := history.Events[0].GetWorkflowExecutionStartedEventAttributes(); opening != nil {
			return opening, nil
		}
	}
	fault := incident.Faultf(incident.Invalid, nil, "reading a history: it does not begin with the start of a workflow")
	fault.Next = "export the whole history, from event 1"
	return nil, fault
}
