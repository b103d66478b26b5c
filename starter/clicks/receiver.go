package clicks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/slack-go/slack"
	"golang.org/x/sync/errgroup"
)

// Sink does what a click asks for. Its answers are told to the person who
// clicked; an error means that the click had no effect.
type Sink interface {
	// Vote takes an approval or a denial. A vote that does not count, because
	// the person may not or the plan changed, is an answer, not an error.
	Vote(ctx context.Context, click Click) (answer string, err error)
	// Evidence gives what the incident found, as plain text.
	Evidence(ctx context.Context, click Click) (text string, err error)
}

// Options configure a Receiver. Client, Sink and Log are required, and Socket
// or SigningSecret.
type Options struct {
	// Client speaks as the bot; for Socket Mode it also has the app-level
	// token (slack.OptionAppLevelToken).
	Client *slack.Client
	Sink   Sink
	Log    hclog.Logger
	// Socket opens Socket Mode connections.
	Socket bool
	// Connections is how many, so that one can be renewed while another
	// listens; 0 means 2.
	Connections int
	// SigningSecret lets ServeHTTP accept requests; without it, it refuses all.
	SigningSecret string
	// AppID, when set, is the only app whose clicks are taken.
	AppID string
}

const (
	// workers is how many clicks are worked on at once, queued how many wait.
	workers = 8
	queued  = 256
	// handleWithin bounds one click's work, also while shutting down.
	handleWithin = 15 * time.Second
	// maxPayload bounds one delivery. A message has at most 50 blocks of 3000
	// characters, so a true one stays far below.
	maxPayload = 1 << 20
)

// Receiver takes clicks while Run runs.
type Receiver struct {
	opts Options

	gate  sync.RWMutex // guards open and the closing of queue
	open  bool
	queue chan Click

	link link
}

// New checks the options.
func New(opts Options) (*Receiver, error) {
	switch {
	case opts.Client == nil || opts.Sink == nil || opts.Log == nil:
		return nil, errors.New("receiving clicks: a client, a sink and a logger are needed")
	case !opts.Socket && opts.SigningSecret == "":
		return nil, errors.New("receiving clicks: neither Socket Mode nor a signing secret is configured (set slack app_token, or signing_secret for HTTP)")
	}
	if opts.Connections == 0 {
		opts.Connections = 2
	}
	return &Receiver{opts: opts, queue: make(chan Click, queued), link: link{log: opts.Log}}, nil
}

// Connections is how many Socket Mode connections listen right now.
func (r *Receiver) Connections() int { return r.link.count() }

// Run takes clicks until ctx ends; it may be called once. Clicks that were
// already acknowledged are finished first. Slack being unreachable is no
// error: Run goes on trying. It returns an *incident.Fault when Slack refuses
// our token, and nil when ctx ended.
func (r *Receiver) Run(ctx context.Context) error {
	r.setOpen()
	var work sync.WaitGroup
	for range workers {
		work.Go(func() { r.work(ctx) })
	}
	group, groupCtx := errgroup.WithContext(ctx)
	if r.opts.Socket {
		for n := range r.opts.Connections {
			group.Go(func() error { return r.listen(groupCtx, n+1) })
		}
	} else {
		group.Go(func() error { <-groupCtx.Done(); return nil })
	}
	err := group.Wait()
	r.shut()
	work.Wait()
	return err
}

func (r *Receiver) setOpen() {
	r.gate.Lock()
	defer r.gate.Unlock()
	r.open = true
}

// shut refuses new clicks and lets the workers finish the queue.
func (r *Receiver) shut() {
	r.gate.Lock()
	defer r.gate.Unlock()
	r.open = false
	close(r.queue)
}

// offer queues a click; false means it must not be acknowledged.
func (r *Receiver) offer(click Click) bool {
	r.gate.RLock()
	defer r.gate.RUnlock()
	if !r.open {
		return false
	}
	select {
	case r.queue <- click:
		return true
	default:
		r.opts.Log.Error("too many clicks wait, one was refused", "user", click.UserID, "incident", click.Incident)
		return false
	}
}

// take decides about one interaction; the answer is whether to acknowledge.
func (r *Receiver) take(in slack.InteractionCallback) bool {
	click, err := parse(in)
	if errors.Is(err, errNotOurs) {
		r.opts.Log.Debug("ignored an interaction that is no button of a card", "type", string(in.Type))
		return true
	}
	if err != nil {
		r.opts.Log.Warn("refused a click", "error", err)
		return true
	}
	if r.opts.AppID != "" && click.AppID != r.opts.AppID {
		r.opts.Log.Warn("refused a click for another app", "app", click.AppID, "user", click.UserID)
		return true
	}
	return r.offer(click)
}

func (r *Receiver) work(ctx context.Context) {
	for click := range r.queue {
		r.handle(context.WithoutCancel(ctx), click)
	}
}
