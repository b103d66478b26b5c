package clicks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/slack-go/slack"

	"gpumedic/incident"
)

const signingSecret = "shhh"

// scribe is a Sink that writes down the clicks, and waits when it has a hold.
type scribe struct {
	hold chan struct{}
	err  error

	mu     sync.Mutex
	clicks []Click
}

func (s *scribe) Vote(_ context.Context, click Click) (string, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clicks = append(s.clicks, click)
	return "counted", s.err
}

func (s *scribe) Evidence(ctx context.Context, click Click) (string, error) {
	return s.Vote(ctx, click)
}

func (s *scribe) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clicks)
}

// notes is the part of Slack's Web API that whispers.
type notes struct {
	*httptest.Server
	mu   sync.Mutex
	text []string
}

func newNotes(t *testing.T) *notes {
	n := &notes{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.text = append(n.text, r.PostFormValue("user")+": "+r.PostFormValue("text"))
		_, _ = io.WriteString(w, `{"ok":true,"message_ts":"1.2"}`)
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *notes) all() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.text, "\n")
}

// running starts a receiver for HTTP; stop ends it and waits.
func running(t *testing.T, sink Sink, api string) (r *Receiver, stop func()) {
	t.Helper()
	r, err := New(Options{Client: slack.New("xoxb-1", slack.OptionAPIURL(api+"/")), Sink: sink, Log: hclog.NewNullLogger(), SigningSecret: signingSecret, AppID: "A0GPUMEDIC"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	until(t, func() bool { r.gate.RLock(); defer r.gate.RUnlock(); return r.open })
	return r, stop
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func sign(secret string, at time.Time, body string) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	header := http.Header{}
	header.Set("X-Slack-Request-Timestamp", stamp)
	header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	return header
}

func deliver(r *Receiver, method, body string, header http.Header) int {
	req := httptest.NewRequest(method, "/slack/interactions", strings.NewReader(body))
	req.Header = header
	recorder := httptest.NewRecorder()
	r.ServeHTTP(recorder, req)
	return recorder.Code
}

func form(payload string) string { return url.Values{"payload": {payload}}.Encode() }

func TestHTTPTakesOnlySignedInteractions(t *testing.T) {
	now := time.Now()
	good := form(press())
	tests := []struct {
		name   string
		method string
		body   string
		header http.Header
		want   int
		clicks int
	}{
		{"signed", "POST", good, sign(signingSecret, now, good), 200, 1},
		{"deny", "POST", form(press("gpumedic-approve", "gpumedic-deny")), sign(signingSecret, now, form(press("gpumedic-approve", "gpumedic-deny"))), 200, 1},
		{"another secret", "POST", good, sign("guess", now, good), 401, 0},
		{"another body", "POST", good + "&x=1", sign(signingSecret, now, good), 401, 0},
		{"ten minutes old", "POST", good, sign(signingSecret, now.Add(-10*time.Minute), good), 401, 0},
		{"from the future", "POST", good, sign(signingSecret, now.Add(10*time.Minute), good), 401, 0},
		{"unsigned", "POST", good, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 401, 0},
		{"GET", "GET", "", http.Header{}, 405, 0},
		{"too large", "POST", strings.Repeat("x", maxPayload+1), sign(signingSecret, now, "x"), 413, 0},
		{"no payload", "POST", "a=b", sign(signingSecret, now, "a=b"), 400, 0},
		{"no form", "POST", "%zz", sign(signingSecret, now, "%zz"), 400, 0},
		{"unknown button is acknowledged", "POST", form(press("gpumedic-approve", "x")), sign(signingSecret, now, form(press("gpumedic-approve", "x"))), 200, 0},
		{"another app is acknowledged", "POST", form(press("A0GPUMEDIC", "A0OTHER")), sign(signingSecret, now, form(press("A0GPUMEDIC", "A0OTHER"))), 200, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sink := &scribe{}
			r, stop := running(t, sink, newNotes(t).URL)
			if got := deliver(r, test.method, test.body, test.header); got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
			stop()
			if sink.count() != test.clicks {
				t.Errorf("%d clicks reached the sink, want %d", sink.count(), test.clicks)
			}
		})
	}
}

func TestAnswerGoesToTheClicker(t *testing.T) {
	api := newNotes(t)
	r, stop := running(t, &scribe{}, api.URL)
	body := form(press())
	deliver(r, "POST", body, sign(signingSecret, time.Now(), body))
	stop()
	if got := api.all(); got != "U0ONCALL: counted" {
		t.Errorf("whispered %q", got)
	}
}

func TestErrorIsToldToTheClicker(t *testing.T) {
	api := newNotes(t)
	r, stop := running(t, &scribe{err: errors.New("temporal is away")}, api.URL)
	body := form(press())
	deliver(r, "POST", body, sign(signingSecret, time.Now(), body))
	stop()
	if got := api.all(); !strings.Contains(got, "temporal is away") || !strings.Contains(got, "gpumedic show") {
		t.Errorf("whispered %q", got)
	}
}

// A click that cannot wait any more must not be acknowledged, and one that was
// acknowledged must be worked on even while stopping.
func TestFullQueueIsNotAcknowledged(t *testing.T) {
	sink := &scribe{hold: make(chan struct{})}
	r, stop := running(t, sink, newNotes(t).URL)
	body := form(press())
	header := sign(signingSecret, time.Now(), body)
	acknowledged := 0
	until(t, func() bool {
		code := deliver(r, "POST", body, header)
		if code == http.StatusOK {
			acknowledged++
		}
		return code == http.StatusServiceUnavailable
	})
	close(sink.hold)
	stop()
	if sink.count() != acknowledged {
		t.Errorf("%d clicks were acknowledged, %d were worked on", acknowledged, sink.count())
	}
	if got := deliver(r, "POST", body, header); got != http.StatusServiceUnavailable {
		t.Errorf("a stopped receiver answers %d", got)
	}
}

func TestNewRefusesHalfConfigurations(t *testing.T) {
	client, log := slack.New("xoxb-1"), hclog.NewNullLogger()
	for name, opts := range map[string]Options{
		"nothing": {}, "no way in": {Client: client, Sink: &scribe{}, Log: log}, "no sink": {Client: client, Log: log, Socket: true},
	} {
		if _, err := New(opts); err == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
}

func TestRunEndsWhenSlackRefusesTheToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ok":false,"error":"invalid_auth"}`)
	}))
	defer server.Close()
	r, err := New(Options{Client: slack.New("xoxb-1", slack.OptionAppLevelToken("xapp-1"), slack.OptionAPIURL(server.URL+"/")), Sink: &scribe{}, Log: hclog.NewNullLogger(), Socket: true})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context())
	if incident.KindOf(err) != incident.Forbidden || !strings.Contains(err.Error(), "xapp-") {
		t.Errorf("got %v, want forbidden with what to do", err)
	}
}
