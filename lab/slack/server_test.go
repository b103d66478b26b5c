package slack_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	slackgo "github.com/slack-go/slack"

	"gpumedic/activities/chat"
	"gpumedic/incident"
	"gpumedic/lab/slack"
	"gpumedic/steps"
)

const channel = "C0GPU"

func start(t *testing.T, opts slack.Options) *slack.Server {
	t.Helper()
	s, err := slack.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func client(s *slack.Server) *slackgo.Client {
	o := s.Options()
	return slackgo.New(o.BotToken, slackgo.OptionAPIURL(s.URL()+"/api/"), slackgo.OptionAppLevelToken(o.AppToken))
}

func hands(s *slack.Server) *chat.Hands {
	return &chat.Hands{Client: client(s), Log: hclog.NewNullLogger()}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// question is a card as an incident asks with it.
func question() steps.Card {
	return steps.Card{
		Incident: "incident/lab/training/job/llama-70b",
		Target:   incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"},
		State:    "asking", Headline: "Approval needed: allow the ranks of llama-70b to talk to each other",
		Cause: incident.Cause{FailureCase: "nccl-failure", RootCause: "network-policy-blocks-ranks", Confidence: 0.96,
			Blamed: incident.Blamed{Kind: "policy", Names: []string{"training/default-deny"}}},
		Evidence: []string{
			"NetworkPolicy training/default-deny blocks 56 of 56 directions between the ranks",
			"all 8 ranks: NCCL WARN socketProgressOpt: Call to recv from 10.0.4.7<41973> failed : Connection timed out",
			"the communication test failed in the same way: ranks 1-7 never arrived at the rendezvous",
		},
		Plan: &incident.Plan{Remedy: "allow-job-traffic", Risk: incident.RiskMedium, Summary: "Create a NetworkPolicy that lets only the pods of job llama-70b reach each other, and restart the ranks",
			Diff:          "--- live: networkpolicy training/gpumedic-llama-70b (does not exist)\n+++ planned\n@@ -0,0 +1,14 @@\n+apiVersion: networking.k8s.io/v1\n+kind: NetworkPolicy\n+metadata:\n+  name: gpumedic-llama-70b\n+  namespace: training\n+spec:\n+  podSelector:\n+    matchLabels:\n+      app: llama-70b\n+  ingress:\n+  - from:\n+    - podSelector:\n+        matchLabels:\n+          app: llama-70b\n+  policyTypes: [Ingress]",
			PodsRestarted: 8, GPUHoursLost: 12.8, Hash: "5f2c9a01d3e4b6a7"},
		Asking: true, Deadline: "2026-11-24T00:35:00Z", Simulated: []string{"GPU nodes", "NCCL", "pod logs"},
	}
}

func post(t *testing.T, s *slack.Server, card steps.Card) steps.MessageRef {
	t.Helper()
	result, err := hands(s).PostCard(within(t), steps.PostCardParams{Channel: channel, Key: "card", Card: card})
	if err != nil {
		t.Fatal(err)
	}
	return result.Ref
}

func TestCardIsPostedRewrittenAndThreaded(t *testing.T) {
	s := start(t, slack.Options{})
	ref := post(t, s, question())
	asked := s.Messages()[0]
	if got := len(asked.Buttons()); got != 3 || !strings.Contains(asked.AllText(), "silence means no") {
		t.Errorf("the question has %d buttons and says %s", got, asked.AllText())
	}
	card := question()
	card.State, card.Asking, card.Headline = "changing", false, "Approved, applying the plan"
	again, err := hands(s).PostCard(within(t), steps.PostCardParams{Ref: ref, Key: "card", Card: card})
	if err != nil || again.Ref != ref {
		t.Fatalf("rewriting %v gave %v, %v", ref, again.Ref, err)
	}
	story, err := hands(s).PostStory(within(t), steps.PostStoryParams{Ref: ref, Key: "story/1", Lines: []string{"rank 3 says <!channel>"}, Mention: []string{"U0ONCALL"}})
	if err != nil {
		t.Fatal(err)
	}
	messages := s.Messages()
	if len(messages) != 2 || len(messages[0].Buttons()) != 0 || !messages[0].Edited || messages[1].ThreadTS != ref.TS || messages[1].TS != story.Ref.TS {
		t.Errorf("the channel holds %+v", messages)
	}
}

// A worker that died after Slack took the message repeats the call without
// knowing.
func TestRepeatedCallsPostOnce(t *testing.T) {
	s := start(t, slack.Options{})
	first := post(t, s, question())
	card := question()
	card.Headline = "a newer look under the same key"
	if second := post(t, s, card); second != first {
		t.Errorf("the repeated call posted %v, the first %v", second, first)
	}
	story := steps.PostStoryParams{Ref: first, Key: "story/1", Lines: []string{"once"}}
	a, errA := hands(s).PostStory(within(t), story)
	b, errB := hands(s).PostStory(within(t), story)
	if errA != nil || errB != nil || a != b {
		t.Errorf("the story came as %v, %v and %v, %v", a, errA, b, errB)
	}
	if messages := s.Messages(); len(messages) != 2 || !strings.Contains(messages[0].AllText(), "a newer look") {
		t.Errorf("the channel holds %d messages: %s", len(messages), messages[0].AllText())
	}
}

// The key is found behind many later messages, over several pages.
func TestKeyIsFoundPagesBack(t *testing.T) {
	s := start(t, slack.Options{})
	first := post(t, s, question())
	for i := range 450 {
		if _, _, err := client(s).PostMessageContext(within(t), channel, slackgo.MsgOptionText(fmt.Sprint("chatter ", i), true)); err != nil {
			t.Fatal(err)
		}
	}
	if second := post(t, s, question()); second != first {
		t.Errorf("the card was posted again as %v", second)
	}
}

func TestLongDiffGoesToTheThreadOnce(t *testing.T) {
	s := start(t, slack.Options{})
	card := question()
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("+  line %03d of a diff <&> ```", i))
	}
	card.Plan.Diff = strings.Join(lines, "\n")
	ref := post(t, s, card)
	card.Votes = []incident.Vote{{By: "U0ONCALL", Via: "slack", Verdict: incident.Approve, At: time.Now()}}
	if _, err := hands(s).PostCard(within(t), steps.PostCardParams{Ref: ref, Key: "card", Card: card}); err != nil {
		t.Fatal(err)
	}
	var thread string
	for _, m := range s.Messages() {
		if m.ThreadTS == ref.TS {
			thread += m.AllText() + "\n"
		}
	}
	for _, line := range lines {
		if strings.Count(thread, line) != 1 {
			t.Fatalf("line %q is in the thread %d times, want once", line, strings.Count(thread, line))
		}
	}
}

func TestDeletedMessageIsPostedAnew(t *testing.T) {
	s := start(t, slack.Options{})
	gone := steps.PostCardParams{Channel: channel, Ref: steps.MessageRef{Channel: channel, TS: "1.000001"}, Key: "card", Card: question()}
	first, err := hands(s).PostCard(within(t), gone)
	if err != nil {
		t.Fatal(err)
	}
	second, err := hands(s).PostCard(within(t), gone)
	if err != nil || first != second {
		t.Errorf("the second attempt gave %v, %v, the first %v", second, err, first)
	}
}

// Cards full of hostile text must be taken by the stand-in's Block Kit check,
// which knows nothing of how they were built.
func TestHostileCardsAreTaken(t *testing.T) {
	for name, text := range map[string]string{
		"long": strings.Repeat("long words ", 1000), "entities": strings.Repeat("<&>", 2000), "code": strings.Repeat("```\n<!channel>", 500),
		"astral": strings.Repeat("😀", 3000), "control": "\x00\x1b[31m\xff", "blank": "   ",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, slack.Options{})
			card := question()
			card.Headline, card.Next, card.Deadline, card.Evidence = text, text, text, []string{text, text, text, text, text, text}
			card.Target.Name, card.Cause.RootCause, card.Cause.Blamed.Names = text, text, []string{text, text, text, text, text, text}
			card.Plan.Summary, card.Plan.Diff, card.Simulated = text, text+"\n"+text, []string{text}
			for range 9 {
				card.Votes = append(card.Votes, incident.Vote{By: text, Via: text, Verdict: text, Reason: text})
			}
			ref := post(t, s, card)
			if _, err := hands(s).PostCard(within(t), steps.PostCardParams{Ref: ref, Key: "card", Card: card}); err != nil {
				t.Errorf("rewriting: %v", err)
			}
			if _, err := hands(s).PostStory(within(t), steps.PostStoryParams{Ref: ref, Key: "s", Lines: []string{text, text}}); err != nil {
				t.Errorf("telling: %v", err)
			}
		})
	}
}

func TestTroubleIsClassified(t *testing.T) {
	tests := []struct {
		name string
		opts slack.Options
		with func(*slack.Server, *chat.Hands)
		kind incident.Kind
		says string
	}{
		{"not invited", slack.Options{Channels: []slack.Channel{{ID: channel, BotAway: true}}}, nil, incident.Forbidden, "/invite"},
		{"archived", slack.Options{Channels: []slack.Channel{{ID: channel, Archived: true}}}, nil, incident.Conflict, "archived"},
		{"another channel", slack.Options{Channels: []slack.Channel{{ID: "C0OTHER"}}}, nil, incident.Missing, "channel id"},
		{"may not write", slack.Options{Scopes: []string{"channels:history"}}, nil, incident.Forbidden, "chat:write"},
		{"token of another app", slack.Options{BotToken: "xoxb-a"}, func(s *slack.Server, h *chat.Hands) {
			h.Client = slackgo.New("xoxb-b", slackgo.OptionAPIURL(s.URL()+"/api/"))
		}, incident.Forbidden, "xoxb-"},
		{"app token as bot token", slack.Options{}, func(s *slack.Server, h *chat.Hands) {
			h.Client = slackgo.New(s.Options().AppToken, slackgo.OptionAPIURL(s.URL()+"/api/"))
		}, incident.Forbidden, "not_allowed_token_type"},
		{"rate limit", slack.Options{}, func(s *slack.Server, _ *chat.Hands) { s.RateLimit(1, 3*time.Second) }, incident.Unreachable, "3s"},
		{"503", slack.Options{}, func(s *slack.Server, _ *chat.Hands) { _ = s.SetOutage(slack.Failing) }, incident.Unreachable, "503"},
		{"internal error", slack.Options{}, func(s *slack.Server, _ *chat.Hands) { _ = s.SetOutage(slack.Erring) }, incident.Unreachable, "internal_error"},
		{"no connection", slack.Options{}, func(s *slack.Server, _ *chat.Hands) { _ = s.SetOutage(slack.Refused) }, incident.Unreachable, "connect"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, test.opts)
			h := hands(s)
			if test.with != nil {
				test.with(s, h)
			}
			_, err := h.PostCard(within(t), steps.PostCardParams{Channel: channel, Key: "card", Card: question()})
			if incident.KindOf(err) != test.kind || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("got %s: %v, want %s saying %q", incident.KindOf(err), err, test.kind, test.says)
			}
		})
	}
}

func TestOutageEnds(t *testing.T) {
	s := start(t, slack.Options{})
	for _, outage := range []slack.Outage{slack.Refused, slack.Failing, slack.Erring} {
		if err := s.SetOutage(outage); err != nil {
			t.Fatal(err)
		}
		if _, err := client(s).AuthTestContext(within(t)); err == nil {
			t.Errorf("%s: a call went through", outage)
		}
		if err := s.SetOutage(slack.Well); err != nil {
			t.Fatal(err)
		}
		if _, err := client(s).AuthTestContext(within(t)); err != nil {
			t.Errorf("after %s: %v", outage, err)
		}
	}
}

func TestBotReadsNothingWithoutScopeButStillPosts(t *testing.T) {
	s := start(t, slack.Options{Scopes: []string{"chat:write"}})
	post(t, s, question())
	if n := len(s.Messages()); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// raw posts blocks as they are and gives Slack's code.
func raw(t *testing.T, s *slack.Server, method string, values map[string]string) (string, slackgo.SlackErrorResponse) {
	t.Helper()
	options := []slackgo.MsgOption{}
	var blocks slackgo.Blocks
	if text := values["blocks"]; text != "" {
		if err := blocks.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		options = append(options, slackgo.MsgOptionBlocks(blocks.BlockSet...))
	}
	options = append(options, slackgo.MsgOptionText(values["text"], false))
	if ts := values["ts"]; method == "chat.update" {
		options = append(options, slackgo.MsgOptionUpdate(ts))
	}
	if ts := values["thread_ts"]; ts != "" {
		options = append(options, slackgo.MsgOptionTS(ts))
	}
	_, ts, _, err := client(s).SendMessageContext(within(t), channel, options...)
	var response slackgo.SlackErrorResponse
	errors.As(err, &response)
	return ts, response
}

func TestLimitsAndShapesAreRefused(t *testing.T) {
	plain := func(n int) string { return `{"type":"plain_text","text":"` + strings.Repeat("x", n) + `"}` }
	button := func(id string, n int) string {
		return `{"type":"button","action_id":"` + id + `","value":"` + strings.Repeat("v", n) + `","text":` + plain(5) + `}`
	}
	many := func(n int, block string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(block+",", n), ",") + "]"
	}
	tests := []struct {
		name, blocks, where string
	}{
		{"header of 151", `[{"type":"header","text":` + plain(151) + `}]`, "/blocks/0/text/text"},
		{"header in mrkdwn", `[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`, "/blocks/0/text/type"},
		{"section of 3001", `[{"type":"section","text":` + plain(3001) + `}]`, "/blocks/0/text/text"},
		{"field of 2001", `[{"type":"section","fields":[` + plain(2001) + `]}]`, "/blocks/0/fields/0/text"},
		{"11 fields", `[{"type":"section","fields":` + many(11, plain(1)) + `}]`, "/blocks/0/fields"},
		{"empty section", `[{"type":"section"}]`, "text or fields"},
		{"51 blocks", many(51, `{"type":"divider"}`), "no more than 50"},
		{"26 buttons", `[{"type":"actions","elements":` + many(26, `{"type":"button","text":`+plain(1)+`}`) + `}]`, "/blocks/0/elements"},
		{"same action twice", `[{"type":"actions","elements":[` + button("a", 1) + `,` + button("a", 1) + `]}]`, "/blocks/0/elements/1/action_id"},
		{"value of 2001", `[{"type":"actions","elements":[` + button("a", 2001) + `]}]`, "/blocks/0/elements/0/value"},
		{"same block id twice", `[{"type":"divider","block_id":"d"},{"type":"divider","block_id":"d"}]`, "/blocks/1/block_id"},
		{"block id of 256", `[{"type":"divider","block_id":"` + strings.Repeat("d", 256) + `"}]`, "/blocks/0/block_id"},
		{"11 context elements", `[{"type":"context","elements":` + many(11, plain(1)) + `}]`, "/blocks/0/elements"},
		{"unknown style", `[{"type":"actions","elements":[{"type":"button","style":"loud","text":` + plain(1) + `}]}]`, "/blocks/0/elements/0/style"},
		{"unknown block", `[{"type":"video"}]`, "unsupported type: video"},
		{"empty text", `[{"type":"section","text":{"type":"plain_text","text":""}}]`, "more than 0 characters"},
		{"empty rich text", `[{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":""}]}]}]`, "more than 0 characters"},
		{"confirm title of 101", `[{"type":"actions","elements":[{"type":"button","text":` + plain(1) + `,"confirm":{"title":` + plain(101) + `,"text":` + plain(1) + `,"confirm":` + plain(1) + `,"deny":` + plain(1) + `}}]}]`, "/confirm/title/text"},
	}
	s := start(t, slack.Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, response := raw(t, s, "", map[string]string{"text": "x", "blocks": test.blocks})
			if response.Err != "invalid_blocks" || !strings.Contains(strings.Join(response.ResponseMetadata.Messages, "\n"), test.where) {
				t.Errorf("got %q with %q, want invalid_blocks naming %s", response.Err, response.ResponseMetadata.Messages, test.where)
			}
		})
	}
	if n := len(s.Messages()); n != 0 {
		t.Errorf("%d refused messages are in the channel", n)
	}
}

func TestSizesOwnersAndThreads(t *testing.T) {
	s := start(t, slack.Options{})
	ts, _ := raw(t, s, "", map[string]string{"text": "mine"})
	tests := []struct {
		name, method string
		values       map[string]string
		want         string
	}{
		{"no text", "", map[string]string{}, "no_text"},
		{"update too long", "chat.update", map[string]string{"ts": ts, "text": strings.Repeat("x", 4001)}, "msg_too_long"},
		{"update of nothing", "chat.update", map[string]string{"ts": "1.000001", "text": "x"}, "message_not_found"},
		{"update of mine", "chat.update", map[string]string{"ts": ts, "text": "still mine"}, ""},
		{"thread of nothing", "", map[string]string{"thread_ts": "1.000001", "text": "x"}, "thread_not_found"},
		{"thread of nonsense", "", map[string]string{"thread_ts": "x", "text": "x"}, "invalid_thread_ts"},
	}
	for _, test := range tests {
		if _, response := raw(t, s, test.method, test.values); response.Err != test.want {
			t.Errorf("%s: got %q, want %q", test.name, response.Err, test.want)
		}
	}
	long, _ := raw(t, s, "", map[string]string{"text": strings.Repeat("x", 50000)})
	if m, err := s.Wait(within(t), func(m slack.Message) bool { return m.TS == long }); err != nil || len(m.Text) != 40000 {
		t.Errorf("a text of 50000 was kept as %d, %v", len(m.Text), err)
	}
}

func TestAddressMustBeLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "10.1.2.3:80", "nonsense"} {
		if _, err := slack.New(slack.Options{Addr: addr}); err == nil {
			t.Errorf("%s was taken", addr)
		}
	}
}

func TestSecondStartTakesAnotherPortAndStopIsFinal(t *testing.T) {
	a, b := start(t, slack.Options{}), start(t, slack.Options{})
	if a.URL() == b.URL() {
		t.Error("two stand-ins share an address")
	}
	taken, err := slack.New(slack.Options{Addr: strings.TrimPrefix(a.URL(), "http://")})
	if err != nil {
		t.Fatal(err)
	}
	if err := taken.Start(t.Context()); err == nil {
		t.Error("a port in use was taken")
	}
	a.Stop()
	a.Stop()
	if _, err := client(a).AuthTestContext(within(t)); err == nil {
		t.Error("a stopped stand-in answers")
	}
}
