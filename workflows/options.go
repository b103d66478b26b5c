package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"gpumedic/steps"
)

const (
	// pulse is how long a step may be silent before its worker counts as dead.
	// The worker beats for every running step; a killed worker costs this much.
	pulse = 5 * time.Second
	// farewellBound ends the wait for a chat that never answers.
	farewellBound = 10 * time.Minute
)

// optionsFor returns fresh activity options for a step's intent. Every wait is
// bounded. Which errors are worth a retry is told by the error's kind, set
// where the error is classified, not here.
func optionsFor(intent steps.Intent) workflow.ActivityOptions {
	switch intent {
	case steps.Bulk:
		return bounded(10*time.Minute, 30*time.Minute, 10*time.Second)
	case steps.Await:
		return bounded(time.Hour, 2*time.Hour, 10*time.Second)
	case steps.Carry: // a day for the copy itself, and time to notice its end
		return bounded(25*time.Hour, 26*time.Hour, time.Minute)
	case steps.Mutate:
		return bounded(5*time.Minute, 20*time.Minute, 5*time.Second)
	case steps.Revert:
		return bounded(5*time.Minute, 24*time.Hour, time.Minute)
	case steps.Tell:
		return bounded(10*time.Second, 2*time.Minute, 5*time.Second)
	default: // steps.Quick
		return bounded(30*time.Second, 2*time.Minute, 5*time.Second)
	}
}

// bounded gives one attempt oneTry, all attempts together inAll, and at most
// pause between two. Cancellation waits for the step to end, so that an undo
// never races with the step it takes back.
func bounded(oneTry, inAll, pause time.Duration) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		StartToCloseTimeout:    oneTry,
		ScheduleToCloseTimeout: inAll,
		HeartbeatTimeout:       pulse,
		WaitForCancellation:    true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: pause,
		},
	}
}
