package slack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// User is a person of the workspace.
type User struct {
	ID       string
	Name     string // the handle, "oncall"
	RealName string
	// TeamID is empty for members of this workspace; another one makes the
	// user an outsider of a shared channel.
	TeamID          string
	Deleted         bool
	Restricted      bool
	UltraRestricted bool
	// Approver is a hint for the page. Who may approve is for the app to know.
	Approver bool
}

// Channel is a place for messages.
type Channel struct {
	ID   string
	Name string // without "#"
	// BotAway means that nobody invited the bot.
	BotAway  bool
	Archived bool
}

// Options describe the workspace. The zero value of every field has a default
// that works.
type Options struct {
	// Addr is where it listens, loopback only; "" is 127.0.0.1 on any free port.
	Addr          string
	BotToken      string
	AppToken      string
	SigningSecret string
	// Scopes of the bot token; nil means all that are needed.
	Scopes   []string
	TeamID   string
	AppID    string
	BotUser  string
	BotName  string
	Users    []User
	Channels []Channel
	// InteractionsURL receives clicks as signed HTTP requests while no Socket
	// Mode connection is open; "" means there is none.
	InteractionsURL string
	// AckWithin is how long an app may take to acknowledge; 0 is Slack's 3 s.
	AckWithin time.Duration
	Log       hclog.Logger
	Now       func() time.Time
}

// Server is the stand-in. Its methods may be called from several goroutines.
type Server struct {
	opts Options
	room *room
	hub  *hub

	clicks deliveries

	mu     sync.Mutex
	addr   string
	http   *http.Server // nil while nobody listens
	outage Outage
	limit  limit
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// New checks the options and fills in what they leave open.
func New(opts Options) (*Server, error) {
	opts = opts.withDefaults()
	host, _, err := net.SplitHostPort(opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("reading the address %q of the Slack stand-in: %w", opts.Addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("reading the address %q of the Slack stand-in: it listens on loopback only", opts.Addr)
	}
	room := newRoom(opts.Now)
	s := &Server{opts: opts, addr: opts.Addr, room: room}
	s.hub = newHub(opts, room.poke, s.away)
	return s, nil
}

func (o Options) withDefaults() Options {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.Addr, "127.0.0.1:0")
	set(&o.BotToken, "xoxb-stand-in-bot")
	set(&o.AppToken, "xapp-stand-in-app")
	set(&o.SigningSecret, "stand-in-signing-secret")
	set(&o.TeamID, "T0LAB")
	set(&o.AppID, "A0GPUMEDIC")
	set(&o.BotUser, "U0GPUMEDIC")
	set(&o.BotName, "gpumedic")
	if o.Users == nil {
		o.Users = []User{
			{ID: "U0ONCALL", Name: "oncall", RealName: "On-call engineer", Approver: true},
			{ID: "U0PLATFORM", Name: "platform", RealName: "Platform lead", Approver: true},
			{ID: "U0GUEST", Name: "guest", RealName: "Guest"},
		}
	}
	if o.Channels == nil {
		o.Channels = []Channel{{ID: "C0GPU", Name: "gpu-alerts"}}
	}
	if o.AckWithin == 0 {
		o.AckWithin = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Start listens and returns. It serves until ctx ends or Stop is called.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx != nil {
		return errors.New("starting the Slack stand-in: it was started before")
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := s.listen(); err != nil {
		s.cancel()
		return err
	}
	s.work.Go(s.untilDone)
	return nil
}

func (s *Server) untilDone() {
	<-s.ctx.Done()
	s.hub.close()
	s.mu.Lock()
	server := s.http
	s.http = nil
	s.mu.Unlock()
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.opts.Log.Debug("closing the slack stand-in", "error", err)
		_ = server.Close() // a call that hangs is cut off
	}
}

// Stop ends everything and waits for it. It may be called again.
func (s *Server) Stop() {
	s.mu.Lock()
	cancel := s.cancel
	s.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	s.work.Wait()
}

// listen opens the port; the next time it takes the same one. Callers hold mu.
func (s *Server) listen() error {
	listener, err := (&net.ListenConfig{}).Listen(s.ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("starting the Slack stand-in: %w", err)
	}
	s.addr = listener.Addr().String()
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return s.ctx }}
	s.http = server
	s.work.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.opts.Log.Error("the slack stand-in stopped serving", "error", err)
		}
	})
	return nil
}

// hangUp closes the port and every connection. Callers hold mu.
func (s *Server) hangUp() {
	if s.http == nil {
		return
	}
	if err := s.http.Close(); err != nil {
		s.opts.Log.Debug("closing the slack stand-in", "error", err)
	}
	s.http = nil
	s.hub.closeAll()
}

// URL is where the page is; the Web API is at URL()+"/api/". It is known after
// Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.addr
}

// Options are the options with their defaults, for the tokens above all.
func (s *Server) Options() Options { return s.opts }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveAPI)
	mux.HandleFunc("GET /link/", s.serveSocket)
	mux.HandleFunc("POST /actions/{id}", s.serveResponse)
	s.pageRoutes(mux)
	return mux
}

func (s *Server) user(id string) (User, bool) {
	for _, u := range s.opts.Users {
		if u.ID == id {
			return u, true
		}
	}
	return User{}, false
}

func (s *Server) channel(id string) (Channel, bool) {
	for _, c := range s.opts.Channels {
		if c.ID == id {
			return c, true
		}
	}
	return Channel{}, false
}
