package slack_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"gpumedic/lab/slack"
	"gpumedic/starter/clicks"
)

// ballot is a Sink that lets the on-call engineer vote.
type ballot struct {
	mu     sync.Mutex
	clicks []clicks.Click
	slow   time.Duration
}

func (b *ballot) Vote(_ context.Context, click clicks.Click) (string, error) {
	time.Sleep(b.slow)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clicks = append(b.clicks, click)
	if click.UserID != "U0ONCALL" {
		return "You are not an approver of this plan.", nil
	}
	return "Your vote counts: " + string(click.Action) + ".", nil
}

func (b *ballot) Evidence(context.Context, clicks.Click) (string, error) {
	return "policy-blocks-ranks: yes\n<!channel> is only text", nil
}

func (b *ballot) all() []clicks.Click {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]clicks.Click(nil), b.clicks...)
}

// receive runs a receiver against the stand-in until the test ends.
func receive(t *testing.T, s *slack.Server, sink clicks.Sink, socket bool, log hclog.Logger) *clicks.Receiver {
	t.Helper()
	r, err := clicks.New(clicks.Options{Client: client(s), Sink: sink, Log: log, Socket: socket, SigningSecret: s.Options().SigningSecret, AppID: s.Options().AppID})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain until " + what)
		}
	}
}

func note(t *testing.T, s *slack.Server, user, says string) {
	t.Helper()
	if _, err := s.Wait(within(t), func(m slack.Message) bool {
		return m.EphemeralTo == user && strings.Contains(m.AllText(), says)
	}); err != nil {
		t.Errorf("%s was not told %q: %v", user, says, err)
	}
}

func TestClickThroughSocketMode(t *testing.T) {
	s := start(t, slack.Options{})
	sink := &ballot{}
	r := receive(t, s, sink, true, hclog.NewNullLogger())
	ref := post(t, s, question())
	until(t, "two connections listen", func() bool { return s.Connections() == 2 && r.Connections() == 2 })
	asked, err := s.WaitForButtons(within(t))
	if err != nil || asked.TS != ref.TS {
		t.Fatalf("the question is %v, %v", asked.TS, err)
	}
	for _, press := range []struct{ user, action string }{{"U0GUEST", "gpumedic-approve"}, {"U0ONCALL", "gpumedic-deny"}, {"U0ONCALL", "gpumedic-evidence"}} {
		if err := s.Click(within(t), press.user, asked.TS, press.action); err != nil {
			t.Fatal(err)
		}
	}
	note(t, s, "U0GUEST", "not an approver")
	note(t, s, "U0ONCALL", "Your vote counts: deny.")
	note(t, s, "U0ONCALL", "policy-blocks-ranks: yes")
	got := sink.all()
	if len(got) != 2 {
		t.Fatalf("%d votes arrived, want 2", len(got))
	}
	for _, click := range got {
		if click.Incident != question().Incident || click.PlanHash != question().Plan.Hash || click.Channel != channel || click.MessageTS != ref.TS || click.TeamID != "T0LAB" {
			t.Errorf("the click is %+v", click)
		}
	}
	if s.Strays() != 0 {
		t.Errorf("%d acknowledgements belong to nothing", s.Strays())
	}
}

// Slack waits three seconds for the acknowledgement; the work may take longer.
func TestSlowSinkIsAcknowledgedAtOnce(t *testing.T) {
	s := start(t, slack.Options{AckWithin: 300 * time.Millisecond})
	receive(t, s, &ballot{slow: 600 * time.Millisecond}, true, hclog.NewNullLogger())
	post(t, s, question())
	until(t, "it listens", func() bool { return s.Connections() == 2 })
	if err := s.Click(within(t), "U0ONCALL", s.Messages()[0].TS, "gpumedic-approve"); err != nil {
		t.Fatal(err)
	}
	note(t, s, "U0ONCALL", "Your vote counts: approve.")
}

func TestRefreshLosesNoClick(t *testing.T) {
	s := start(t, slack.Options{})
	sink := &ballot{}
	receive(t, s, sink, true, hclog.NewNullLogger())
	ref := post(t, s, question())
	until(t, "it listens", func() bool { return s.Connections() == 2 })
	for i := range 5 {
		s.Refresh()
		time.Sleep(50 * time.Millisecond)
		until(t, "it listens again", func() bool { return s.Connections() == 2 })
		if err := s.Click(within(t), "U0ONCALL", ref.TS, "gpumedic-approve"); err != nil {
			t.Errorf("click %d: %v", i, err)
		}
	}
	until(t, "all votes arrived", func() bool { return len(sink.all()) == 5 })
}

// book keeps what was logged.
type book struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestOutageIsSurvivedAndSaid(t *testing.T) {
	s := start(t, slack.Options{})
	if err := s.SetOutage(slack.Refused); err != nil { // away at the start
		t.Fatal(err)
	}
	said := &book{}
	sink := &ballot{}
	receive(t, s, sink, true, hclog.New(&hclog.LoggerOptions{Output: said, Level: hclog.Info}))
	until(t, "it says that Slack is away", func() bool { return strings.Contains(said.String(), "slack cannot be reached") })
	for round, outage := range []slack.Outage{slack.Refused, slack.Failing} { // and in the middle
		if err := s.SetOutage(slack.Well); err != nil {
			t.Fatal(err)
		}
		until(t, "it is back", func() bool { return s.Connections() == 2 })
		until(t, "it says so", func() bool { return strings.Count(said.String(), "can be reached again") > round })
		if err := s.SetOutage(outage); err != nil {
			t.Fatal(err)
		}
		until(t, "it notices", func() bool { return strings.Count(said.String(), "slack cannot be reached") > round+1 })
	}
	if err := s.SetOutage(slack.Well); err != nil {
		t.Fatal(err)
	}
	ref := post(t, s, question())
	until(t, "it is back for good", func() bool { return s.Connections() == 2 })
	if err := s.Click(within(t), "U0ONCALL", ref.TS, "gpumedic-approve"); err != nil {
		t.Fatal(err)
	}
	note(t, s, "U0ONCALL", "Your vote counts")
	if text := said.String(); strings.Contains(text, "xapp-") || strings.Contains(text, "xoxb-") || strings.Contains(text, "ticket=") {
		t.Errorf("the log tells a secret:\n%s", text)
	}
}

// serve runs the receiver's HTTP side and gives its address.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "http://" + listener.Addr().String() + "/slack/interactions"
}

// late lets the stand-in know an address that is only known after it started.
type late struct {
	mu      sync.Mutex
	handler http.Handler
}

func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	handler := l.handler
	l.mu.Unlock()
	handler.ServeHTTP(w, r)
}

func TestClickThroughSignedHTTP(t *testing.T) {
	door := &late{}
	s := start(t, slack.Options{InteractionsURL: serve(t, door)})
	sink := &ballot{}
	r := receive(t, s, sink, false, hclog.NewNullLogger())
	door.mu.Lock()
	door.handler = r
	door.mu.Unlock()
	ref := post(t, s, question())
	until(t, "the click is taken", func() bool { return s.Click(within(t), "U0ONCALL", ref.TS, "gpumedic-approve") == nil })
	note(t, s, "U0ONCALL", "Your vote counts: approve.")
	if got := sink.all(); len(got) == 0 || got[0].Action != clicks.Approve {
		t.Errorf("the sink got %+v", got)
	}
}

func TestWrongSecretAndOldClicksAreRefused(t *testing.T) {
	tests := map[string]slack.Options{
		"signed with another secret": {SigningSecret: "another"},
		"signed ten minutes ago":     {SigningSecret: "right", Now: func() time.Time { return time.Now().Add(-10 * time.Minute) }},
	}
	for name, opts := range tests {
		t.Run(name, func(t *testing.T) {
			door := &late{}
			opts.InteractionsURL = serve(t, door)
			s := start(t, opts)
			sink := &ballot{}
			r, err := clicks.New(clicks.Options{Client: client(s), Sink: sink, Log: hclog.NewNullLogger(), SigningSecret: "right"})
			if err != nil {
				t.Fatal(err)
			}
			door.handler = r
			ref := post(t, s, question())
			if err := s.Click(within(t), "U0ONCALL", ref.TS, "gpumedic-approve"); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("got %v, want 401", err)
			}
			note(t, s, "U0ONCALL", "did not respond")
			if len(sink.all()) != 0 {
				t.Error("the vote arrived all the same")
			}
		})
	}
}

func TestClickWithoutApp(t *testing.T) {
	s := start(t, slack.Options{})
	ref := post(t, s, question())
	for _, press := range []struct{ user, ts, action, says string }{
		{"U0ONCALL", ref.TS, "gpumedic-approve", "no Socket Mode connection"}, {"U0NOBODY", ref.TS, "gpumedic-approve", "no user"},
		{"U0ONCALL", "1.000001", "gpumedic-approve", "no message"}, {"U0ONCALL", ref.TS, "other", "no such button"},
	} {
		if err := s.Click(within(t), press.user, press.ts, press.action); err == nil || !strings.Contains(err.Error(), press.says) {
			t.Errorf("%+v: got %v", press, err)
		}
	}
	if deliveries := s.Deliveries(); len(deliveries) != 1 || deliveries[0].Error == "" {
		t.Errorf("deliveries are %+v", deliveries)
	}
}

// A response_url works five times, for the person, for all, or on the message.
func TestResponseURL(t *testing.T) {
	taken := make(chan string, 1)
	door := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var payload struct {
			ResponseURL string `json:"response_url"`
		}
		_ = json.Unmarshal([]byte(r.PostFormValue("payload")), &payload)
		taken <- payload.ResponseURL
	})
	s := start(t, slack.Options{InteractionsURL: serve(t, door)})
	ref := post(t, s, question())
	if err := s.Click(within(t), "U0ONCALL", ref.TS, "gpumedic-approve"); err != nil {
		t.Fatal(err)
	}
	url := <-taken
	answer := func(body string) int {
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for i, test := range []struct {
		body string
		want int
	}{
		{`{"text":"for you"}`, 200}, {`{"text":"for all","response_type":"in_channel"}`, 200}, {`{"text":"new look","replace_original":true}`, 200},
		{`{}`, 400}, {`{"text":"again"}`, 200}, {`{"text":"once too often"}`, 404},
	} {
		if got := answer(test.body); got != test.want {
			t.Errorf("use %d: status %d, want %d", i+1, got, test.want)
		}
	}
	messages := s.Messages()
	if len(messages) != 4 || messages[0].Text != "new look" || messages[1].EphemeralTo != "U0ONCALL" || messages[2].EphemeralTo != "" {
		t.Errorf("the channel holds %+v", messages)
	}
}
