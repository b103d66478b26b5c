package chat

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/slack-go/slack"

	"gpumedic/incident"
	"gpumedic/steps"
)

const secret = "xoxb-123-very-secret"

// answering makes hands whose every call gets the same answer.
func answering(t *testing.T, status int, header map[string]string, body string) *Hands {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for key, value := range header {
			w.Header().Set(key, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return &Hands{Client: slack.New(secret, slack.OptionAPIURL(server.URL+"/")), Log: hclog.NewNullLogger(),
		Repeat: func(context.Context) bool { return false }}
}

func TestFaultsOfSlack(t *testing.T) {
	tests := []struct {
		name   string
		status int
		header map[string]string
		body   string
		kind   incident.Kind
		says   string
		after  time.Duration
	}{
		{name: "rate limit", status: 429, header: map[string]string{"Retry-After": "7"}, kind: incident.Unreachable, says: "7s", after: 7 * time.Second},
		{name: "server error", status: 503, kind: incident.Unreachable, says: "503"},
		{name: "internal error", status: 200, body: `{"ok":false,"error":"internal_error"}`, kind: incident.Unreachable},
		{name: "bad token", status: 200, body: `{"ok":false,"error":"invalid_auth"}`, kind: incident.Forbidden, says: "xoxb-"},
		{name: "not invited", status: 200, body: `{"ok":false,"error":"not_in_channel"}`, kind: incident.Forbidden, says: "/invite"},
		{name: "scope", status: 200, body: `{"ok":false,"error":"missing_scope","needed":"chat:write"}`, kind: incident.Forbidden, says: "chat:write"},
		{name: "no channel", status: 200, body: `{"ok":false,"error":"channel_not_found"}`, kind: incident.Missing},
		{name: "blocks", status: 200, body: `{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["[ERROR] at /blocks/0"]}}`, kind: incident.Invalid, says: "/blocks/0"},
		{name: "no JSON", status: 200, body: "<html>", kind: incident.Unreachable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hands := answering(t, test.status, test.header, test.body)
			_, err := hands.PostStory(t.Context(), steps.PostStoryParams{Ref: steps.MessageRef{Channel: "C0GPU", TS: "1.2"}, Key: "k", Lines: []string{"x"}})
			if incident.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.says) || RetryAfter(err) != test.after {
				t.Errorf("got %s %q after %s, want %s saying %q after %s", incident.KindOf(err), err, RetryAfter(err), test.kind, test.says, test.after)
			}
		})
	}
}

func TestNoToolsNoNetwork(t *testing.T) {
	hands := answering(t, 200, nil, "")
	hands.Client = slack.New(secret, slack.OptionAPIURL("http://127.0.0.1:1/"))
	_, err := hands.PostCard(t.Context(), steps.PostCardParams{Channel: "C0GPU", Key: "k", Card: askingCard()})
	if incident.KindOf(err) != incident.Unreachable {
		t.Errorf("got %v, want unreachable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = hands.PostCard(ctx, steps.PostCardParams{Channel: "C0GPU", Key: "k", Card: askingCard()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to tell that the call was cancelled", err)
	}
}

type leaky struct{}

func (leaky) Do(r *http.Request) (*http.Response, error) {
	_ = r.ParseForm()
	return nil, errors.New("proxy refuses token=" + r.PostForm.Get("token"))
}

func TestTokenStaysOutOfErrors(t *testing.T) {
	hands := &Hands{Client: slack.New(secret, slack.OptionHTTPClient(leaky{})), Log: hclog.NewNullLogger()}
	_, err := hands.PostCard(t.Context(), steps.PostCardParams{Channel: "C0GPU", Key: "k", Card: askingCard()})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "[token]") {
		t.Errorf("got %v, want an error without the token", err)
	}
}

func TestBadReferencesAreRefused(t *testing.T) {
	hands := answering(t, 200, nil, `{"ok":true}`)
	_, err := hands.PostCard(t.Context(), steps.PostCardParams{Channel: "#gpu-alerts", Key: "k", Card: askingCard()})
	if incident.KindOf(err) != incident.Invalid || !strings.Contains(err.Error(), "starts with C") {
		t.Errorf("a channel's name: got %v", err)
	}
	if _, err = hands.PostStory(t.Context(), steps.PostStoryParams{Lines: []string{"x"}}); incident.KindOf(err) != incident.Invalid {
		t.Errorf("a thread of no message: got %v", err)
	}
}

func TestStoryMentionsOnlyIds(t *testing.T) {
	hands := answering(t, 200, nil, "")
	story := hands.storyPart(steps.PostStoryParams{Key: "k", Lines: []string{"rank 3 says <!channel> <@U0EVIL1>"}, Mention: []string{"U0ONCALL", "!here", "bob"}})
	first := story.blocks[0].(*slack.SectionBlock).Text
	if first.Type != "mrkdwn" || first.Text != "<@U0ONCALL>" {
		t.Errorf("mentions %q as %s, want only U0ONCALL", first.Text, first.Type)
	}
	if second := story.blocks[1].(*slack.SectionBlock).Text; second.Type != "plain_text" {
		t.Errorf("a line of the story is %s, want plain_text", second.Type)
	}
	if want := "<@U0ONCALL> rank 3 says &lt;!channel&gt; &lt;@U0EVIL1&gt;"; story.fallback != want {
		t.Errorf("fallback %q, want %q", story.fallback, want)
	}
}
