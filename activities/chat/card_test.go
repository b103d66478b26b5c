package chat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"

	"gpumedic/incident"
	"gpumedic/steps"
)

func askingCard() steps.Card {
	return steps.Card{
		Incident: "incident/lab/training/job/llama-70b",
		Target:   incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"},
		State:    "asking", Headline: "Approval needed: let the ranks talk to each other",
		Cause: incident.Cause{FailureCase: "nccl-failure", RootCause: "network-policy", Confidence: 0.95,
			Blamed: incident.Blamed{Kind: "policy", Names: []string{"training/default-deny"}}},
		Evidence: []string{"NetworkPolicy default-deny blocks 56 of 56 directions"},
		Plan: &incident.Plan{Remedy: "allow-job-traffic", Risk: incident.RiskMedium, Summary: "Allow traffic between the job's own pods",
			Diff: "+kind: NetworkPolicy\n+name: x", PodsRestarted: 8, GPUHoursLost: 12.34, Hash: "abc123"},
		Asking: true, Deadline: "15:04 UTC", Simulated: []string{"GPU nodes", "NCCL"},
	}
}

// hostile fills every text of a card with what must not get through.
func hostile(text string) steps.Card {
	card := askingCard()
	card.Incident, card.Headline, card.Next, card.Deadline, card.State = text[:min(200, len(text))], text, text, text, text
	card.Target.Name, card.Progress = text, text
	card.Cause = incident.Cause{FailureCase: text, RootCause: text, Blamed: incident.Blamed{Kind: text, Names: []string{text, text, text, text, text, text, text}}}
	card.Evidence = []string{text, text, text, text, text, text, text}
	card.Plan.Summary, card.Plan.Diff, card.Plan.Hash = text, strings.Repeat(text+"\n", 50), text[:min(100, len(text))]
	card.Plan.Risk = incident.Risk(text)
	for range 30 {
		card.Votes = append(card.Votes, incident.Vote{By: text, Via: text, Verdict: text, Reason: text})
	}
	card.Simulated = []string{text, text}
	return card
}

// walk calls fn for every string in a JSON tree with its path.
func walk(path string, v any, fn func(path, s string, parent map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			if s, ok := child.(string); ok {
				fn(path+"/"+key, s, v)
			}
			walk(path+"/"+key, child, fn)
		}
	case []any:
		for i, child := range v {
			walk(fmt.Sprintf("%s/%d", path, i), child, fn)
		}
	}
}

func tree(t *testing.T, blocks []slack.Block) any {
	t.Helper()
	data, err := json.Marshal(blocks)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCardNeverExceedsLimits(t *testing.T) {
	texts := map[string]string{
		"nothing": "", "plain": "x", "long": strings.Repeat("long words ", 2000), "entities": strings.Repeat("<&>", 3000),
		"one word": strings.Repeat("w", 20000), "astral": strings.Repeat("😀", 5000), "broken": strings.Repeat("\xff\x00\x1b[31m", 900),
		"code": strings.Repeat("```\n<!channel> <@U123456> ", 500),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			card := hostile(text)
			blocks, err := Blocks(card)
			if err != nil {
				t.Fatal(err)
			}
			if len(blocks) > 50 {
				t.Errorf("%d blocks, Slack takes 50", len(blocks))
			}
			ids, total := map[string]bool{}, 0
			walk("", tree(t, blocks), func(path, s string, parent map[string]any) {
				if strings.HasSuffix(path, "/text") {
					total += units(s)
				}
				checkString(t, path, s, parent, ids)
			})
			if total > 13000 {
				t.Errorf("%d characters in all blocks", total)
			}
			if n := units(Fallback(card)); n > maxFallback {
				t.Errorf("fallback has %d characters", n)
			}
		})
	}
}

func checkString(t *testing.T, path, s string, parent map[string]any, ids map[string]bool) {
	t.Helper()
	limits := []struct {
		under string
		max   int
	}{{"/confirm/title/", 100}, {"/confirm/text/", 300}, {"/elements/0/text/text", 3000}, {"/fields/", 2000}, {"/block_id", 255}, {"/value", 2000}}
	limit := 3000
	for _, l := range limits {
		if strings.Contains(path, l.under) {
			limit = l.max
			break
		}
	}
	if path == "/0/text/text" {
		limit = maxHeader
	}
	if units(s) > limit {
		t.Errorf("%s has %d characters, Slack takes %d", path, units(s), limit)
	}
	if strings.HasSuffix(path, "/text") && strings.TrimSpace(s) == "" {
		t.Errorf("%s is empty", path)
	}
	if strings.HasSuffix(path, "/block_id") {
		if ids[s] {
			t.Errorf("block id %q twice", s)
		}
		ids[s] = true
	}
	if parent["type"] == "mrkdwn" && (strings.Contains(s, "<!channel>") || strings.Contains(s, "<@U123456>") || strings.Contains(s, "```")) {
		t.Errorf("%s lets log text ping or break out: %q", path, s)
	}
}

func TestFallbackEscapes(t *testing.T) {
	card := askingCard()
	card.Headline = "line <!here> & ```"
	want := "Approval needed: job training/llama-70b in lab. line &lt;!here&gt; &amp; '''"
	if got := Fallback(card); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func actions(blocks []slack.Block) *slack.ActionBlock {
	for _, block := range blocks {
		if a, ok := block.(*slack.ActionBlock); ok {
			return a
		}
	}
	return nil
}

func TestButtonsCarryOnlyIds(t *testing.T) {
	blocks, err := Blocks(askingCard())
	if err != nil {
		t.Fatal(err)
	}
	row := actions(blocks)
	if row == nil {
		t.Fatal("an asking card has no buttons")
	}
	var got []string
	for _, element := range row.Elements.ElementSet {
		b := element.(*slack.ButtonBlockElement)
		value, err := steps.ParseButtonValue(b.Value)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(b.ActionID, " ", b.Style, " ", b.Confirm != nil, " ", value))
	}
	want := []string{
		"gpumedic-approve primary true {incident/lab/training/job/llama-70b abc123}",
		"gpumedic-deny danger false {incident/lab/training/job/llama-70b abc123}",
		"gpumedic-evidence  false {incident/lab/training/job/llama-70b abc123}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoButtonsUnlessAsking(t *testing.T) {
	card := askingCard()
	card.Asking = false
	blocks, err := Blocks(card)
	if err != nil {
		t.Fatal(err)
	}
	if actions(blocks) != nil {
		t.Error("a card that does not ask has buttons")
	}
}

func TestButtonTooLongIsRefused(t *testing.T) {
	card := askingCard()
	card.Incident = strings.Repeat("i", 3000)
	_, err := Blocks(card)
	if incident.KindOf(err) != incident.Invalid || err == nil {
		t.Errorf("got %v, want an invalid fault", err)
	}
}

func TestBlockIdsChangeWithContent(t *testing.T) {
	first, _ := Blocks(askingCard())
	card := askingCard()
	card.Votes = []incident.Vote{{By: "U0ONCALL", Via: "slack", Verdict: "approve", At: time.Unix(0, 0)}}
	second, _ := Blocks(card)
	if first[0].ID() == second[0].ID() {
		t.Errorf("block id %q stays although the card changed", first[0].ID())
	}
}

func TestVoterBecomesMentionOnlyFromSlack(t *testing.T) {
	tests := []struct{ by, via, want string }{
		{"U0ONCALL", "slack", "<@U0ONCALL>"}, {"U0ONCALL", "cli", "U0ONCALL"}, {"!channel", "slack", "!channel"},
		{"<@U1>", "slack", "&lt;@U1&gt;"}, {"", "", "-"},
	}
	for _, test := range tests {
		if got := voter(incident.Vote{By: test.by, Via: test.via}); got != test.want {
			t.Errorf("voter %q via %q: got %q, want %q", test.by, test.via, got, test.want)
		}
	}
}

func TestDeadlineInReadersZone(t *testing.T) {
	got := deadline("2026-11-24T00:05:00Z").Text
	if want := "<!date^1795478700^{date_short_pretty} {time}|2026-11-24 00:05 UTC>"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end in %q", got, want)
	}
}

func TestCutDiffSaysSo(t *testing.T) {
	card := askingCard()
	card.Plan.Diff = strings.Repeat("+ a line of a diff\n", 400)
	blocks, err := Blocks(card)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := json.Marshal(blocks)
	if !strings.Contains(string(data), "The diff is cut here") {
		t.Error("a cut diff does not say that it is cut")
	}
	var whole strings.Builder
	for _, part := range diffParts(card.Plan.Diff, "k") {
		element := part.blocks[1].(*slack.RichTextBlock).Elements[0].(*slack.RichTextPreformatted)
		whole.WriteString(element.Elements[0].(*slack.RichTextSectionTextElement).Text + "\n")
	}
	if whole.String() != card.Plan.Diff {
		t.Errorf("the parts in the thread hold %d bytes, the diff %d", whole.Len(), len(card.Plan.Diff))
	}
}

func TestSplitLines(t *testing.T) {
	tests := []struct {
		in         string
		limit      int
		head, rest string
	}{
		{"a\nb\nc\n", 100, "a\nb\nc", ""}, {"aa\nbb\ncc", 5, "aa", "bb\ncc"}, {"aaaaaa", 4, "aaaa", "aa"},
		{"😀😀", 3, "😀", "😀"}, {"", 3, "", ""},
	}
	for _, test := range tests {
		head, rest := splitLines(test.in, test.limit)
		if head != test.head || rest != test.rest {
			t.Errorf("splitLines(%q, %d) = %q, %q, want %q, %q", test.in, test.limit, head, rest, test.head, test.rest)
		}
	}
}

// TestCardTellsProgress: a running test has a line of its own, which nobody can
// turn into a mention.
func TestCardTellsProgress(t *testing.T) {
	card := askingCard()
	card.State, card.Plan, card.Asking = "testing", nil, false
	card.Progress = "Round 3: 6 groups over 64 nodes; still suspected: gpu-17 (62 %), gpu-18 (31 %); 57 nodes cleared"
	blocks, err := Blocks(card)
	if err != nil {
		t.Fatal(err)
	}
	section, ok := blocks[2].(*slack.SectionBlock)
	if !ok || section.Text.Type != slack.PlainTextType || section.Text.Text != card.Progress {
		t.Errorf("the third block is %+v", blocks[2])
	}
}
