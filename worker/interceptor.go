package main

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// stepInterceptor stands around every step. It beats while the step runs, so
// that a killed worker is noticed in seconds, and it turns every error into
// one of a closed set of kinds, which decides about retries.
type stepInterceptor struct {
	interceptor.WorkerInterceptorBase
	log hclog.Logger
}

// InterceptActivity wraps the activities.
func (i *stepInterceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	inbound := &stepInbound{log: i.log}
	inbound.Next = next
	return inbound
}

type stepInbound struct {
	interceptor.ActivityInboundInterceptorBase
	log hclog.Logger
}

// ExecuteActivity carries out one attempt of a step.
func (s *stepInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	stop := beat(ctx)
	result, err := s.Next.ExecuteActivity(ctx, in)
	stop()
	if err == nil {
		return result, nil
	}
	info := activity.GetInfo(ctx)
	s.log.Warn("step did not succeed", "step", info.ActivityType.Name, "incident", info.WorkflowExecution.ID,
		"attempt", info.Attempt, "kind", incident.KindOf(err), "error", redact.String(err.Error()))
	return result, classified(ctx, err)
}

// beat records heartbeats until the returned function is called; it waits
// for its goroutine.
func beat(ctx context.Context) (stop func()) {
	timeout := activity.GetInfo(ctx).HeartbeatTimeout
	if timeout == 0 {
		return func() {}
	}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(timeout / 4)
		defer ticker.Stop()
		for {
			activity.RecordHeartbeat(ctx)
			select {
			case <-end:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() { close(end); <-done }
}

// retryAfter is implemented by errors that know when to try again.
type retryAfter interface{ RetryAfter() time.Duration }

// classified is the one place where a step's error becomes Temporal's. Kinds
// that time cannot mend are not retried.
func classified(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return temporal.NewCanceledError()
	}
	kind := incident.KindOf(err)
	// No Cause: histories get one redacted sentence, not a chain of raw texts.
	options := temporal.ApplicationErrorOptions{NonRetryable: !kind.Retryable()}
	var patient retryAfter
	if errors.As(err, &patient) {
		options.NextRetryDelay = patient.RetryAfter()
	}
	return temporal.NewApplicationErrorWithOptions(redact.String(err.Error()), string(kind), options)
}
