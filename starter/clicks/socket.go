package clicks

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"gpumedic/incident"
)

// Waits between attempts to connect, doubling. A person waits at the other
// end, so the longest is short.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 20 * time.Second
)

// listen keeps one Socket Mode connection open until ctx ends.
func (r *Receiver) listen(ctx context.Context, n int) error {
	wait := firstWait
	for {
		greeted, err := r.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if refused(err) {
			return &incident.Fault{Kind: incident.Forbidden, Doing: "connecting to Slack's Socket Mode", Err: err,
				Next: "put a valid app-level token (xapp-) with the scope connections:write into the configuration"}
		}
		if greeted {
			wait = firstWait
		}
		pause := max(wait, retryAfter(err))
		r.opts.Log.Debug("a connection to Slack ended, trying again", "connection", n, "wait", pause.String(), "error", err)
		if !sleep(ctx, pause+rand.N(pause/4)) {
			return nil
		}
		wait = min(2*wait, lastWait)
	}
}

// connect opens one connection and stays with it, over the renewals that
// Slack asks for, until it cannot be opened again. greeted tells whether Slack
// ever said hello.
func (r *Receiver) connect(ctx context.Context) (greeted bool, err error) {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := socketmode.New(r.opts.Client, socketmode.OptionReadLimit(maxPayload))
	ended := make(chan error, 1)
	go func() { ended <- client.RunContext(ctx) }()
	alive := false
	for {
		select {
		case runErr := <-ended:
			if err == nil {
				err = runErr
			}
			r.link.set(&alive, false)
			r.link.failed(outer, err)
			return greeted, err
		case event := <-client.Events:
			switch event.Type {
			case socketmode.EventTypeHello:
				greeted = true
				r.link.set(&alive, true)
			case socketmode.EventTypeConnecting:
				r.link.set(&alive, false)
			case socketmode.EventTypeConnectionError:
				// The client would wait on its own, up to five minutes; listen does it better.
				err = connectionError(event)
				cancel()
			default:
				r.event(ctx, client, event)
			}
		}
	}
}

// event takes what Slack sent. Whatever it is, it wants to be acknowledged,
// unless it is a click that could not be queued.
func (r *Receiver) event(ctx context.Context, client *socketmode.Client, event socketmode.Event) {
	switch event.Type {
	case socketmode.EventTypeInteractive:
		in, ok := event.Data.(slack.InteractionCallback)
		if !ok || !r.take(in) {
			return
		}
	case socketmode.EventTypeErrorBadMessage, socketmode.EventTypeIncomingError, socketmode.EventTypeErrorWriteFailed:
		r.opts.Log.Debug("trouble on a connection to Slack", "event", string(event.Type))
		return
	}
	if event.Request == nil || event.Request.EnvelopeID == "" {
		return
	}
	if err := client.AckCtx(ctx, event.Request.EnvelopeID, nil); err != nil {
		r.opts.Log.Warn("a click could not be acknowledged", "error", err)
	}
}

func connectionError(event socketmode.Event) error {
	if failure, ok := event.Data.(*slack.ConnectionErrorEvent); ok && failure.ErrorObj != nil {
		return failure.ErrorObj
	}
	return errors.New("the connection could not be opened")
}

// refused tells a token that Slack will not take from trouble that passes.
func refused(err error) bool {
	var response slack.SlackErrorResponse
	if !errors.As(err, &response) {
		return false
	}
	switch response.Err {
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type", "missing_scope", "no_permission":
		return true
	}
	return false
}

func retryAfter(err error) time.Duration {
	var limited *slack.RateLimitedError
	if errors.As(err, &limited) {
		return limited.RetryAfter
	}
	return 0
}

// sleep waits; false means ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
