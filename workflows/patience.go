package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// patience is how long an incident waits for something it cannot do without,
// an API server that does not answer above all.
const patience = time.Hour

// patiently calls a step until it succeeds, fails for a reason that waiting
// cannot mend, or patience is spent. It says once that it waits and once that
// it goes on.
func patiently[R any](ctx workflow.Context, s *story, name string, params any) (R, error) {
	started := workflow.Now(ctx)
	for try := 0; ; try++ {
		result, err := call[R](ctx, name, params)
		if err == nil {
			if try > 0 {
				s.note(ctx, "note", "%s works again", name)
			}
			return result, nil
		}
		spent := workflow.Now(ctx).Sub(started) > patience
		if cancelled(err) || !kindOf(err).Retryable() || spent {
			return result, err
		}
		if try == 0 {
			s.waitingFor(ctx, name, err)
		}
		if err := workflow.Sleep(ctx, 10*time.Second); err != nil {
			return result, err
		}
	}
}

// waitingFor tells people why nothing happens.
func (s *story) waitingFor(ctx workflow.Context, name string, err error) {
	s.trouble(ctx, "waiting to "+name, err)
	s.speaker.card(ctx, s.card("Waiting: "+plain(err)))
}
