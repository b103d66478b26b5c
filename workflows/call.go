package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// call carries out one step and waits for its result.
func call[R any](ctx workflow.Context, name string, params any) (R, error) {
	var result R
	err := begin(ctx, name, params).Get(ctx, &result)
	return result, err
}

// begin starts a step; its options follow from its intent.
func begin(ctx workflow.Context, name string, params any) workflow.Future {
	step, ok := steps.ByName(name)
	if !ok { // a runbook's names were validated; this is our own slip
		return failed(ctx, fmt.Errorf("starting step %q: it is not in the vocabulary", name))
	}
	options := optionsFor(step.Intent)
	options.Summary = name
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), name, params)
}

func failed(ctx workflow.Context, err error) workflow.Future {
	future, settable := workflow.NewFuture(ctx)
	settable.SetError(err)
	return future
}

// cancelled says whether err only means that the story was stopped.
func cancelled(err error) bool {
	var stop *temporal.CanceledError
	return errors.As(err, &stop)
}

// plain is the error's own text without Temporal's wrapping, for people.
func plain(err error) string {
	var application *temporal.ApplicationError
	if errors.As(err, &application) {
		return application.Message()
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		if last := timeout.Unwrap(); last != nil {
			return "gave up after repeated tries: " + plain(last)
		}
		return "gave up: no answer in time"
	}
	return err.Error()
}

// kindOf is the error's kind as the worker classified it.
func kindOf(err error) incident.Kind {
	var application *temporal.ApplicationError
	if errors.As(err, &application) && application.Type() != "" {
		return incident.Kind(application.Type())
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return incident.TimedOut
	}
	return incident.Internal
}
