package clicks

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"
)

// press is a block_actions payload as Slack sends it, with parts replaced.
func press(replace ...string) string {
	payload := `{"type":"block_actions","user":{"id":"U0ONCALL","username":"oncall","name":"oncall","team_id":"T0LAB"},
		"api_app_id":"A0GPUMEDIC","token":"legacy","container":{"type":"message","message_ts":"1795478400.000100","channel_id":"C0GPU","is_ephemeral":false},
		"trigger_id":"1.2.abc","team":{"id":"T0LAB","domain":"lab"},"enterprise":null,"is_enterprise_install":false,
		"channel":{"id":"C0GPU","name":"gpu-alerts"},"message":{"type":"message","ts":"1795478400.000100","text":"x"},"state":{"values":{}},
		"response_url":"https://hooks.slack.com/actions/x","actions":[{"action_id":"gpumedic-approve","block_id":"vote-1","type":"button",
		"text":{"type":"plain_text","text":"Approve","emoji":true},"value":"{\"incident\":\"incident/lab/training/job/llama-70b\",\"plan_hash\":\"abc123\"}","style":"primary","action_ts":"1795478460.000200"}]}`
	return strings.NewReplacer(replace...).Replace(payload)
}

func callback(t *testing.T, payload string) slack.InteractionCallback {
	t.Helper()
	var in slack.InteractionCallback
	if err := json.Unmarshal([]byte(payload), &in); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestParse(t *testing.T) {
	got, err := parse(callback(t, press()))
	if err != nil {
		t.Fatal(err)
	}
	want := Click{ID: got.ID, UserID: "U0ONCALL", TeamID: "T0LAB", AppID: "A0GPUMEDIC", Channel: "C0GPU", MessageTS: "1795478400.000100",
		Action: Approve, Incident: "incident/lab/training/job/llama-70b", PlanHash: "abc123"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeliveryID(t *testing.T) {
	first, _ := parse(callback(t, press()))
	again, _ := parse(callback(t, press("1.2.abc", "3.4.def")))
	later, _ := parse(callback(t, press("1795478460.000200", "1795478461.000200")))
	if first.ID != again.ID {
		t.Error("the same press has two ids")
	}
	if first.ID == later.ID {
		t.Error("two presses have one id")
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name    string
		replace []string
		ours    bool
	}{
		{"another interaction", []string{"block_actions", "view_submission"}, false},
		{"another button", []string{"gpumedic-approve", "other"}, false},
		{"not a button", []string{`"type":"button"`, `"type":"static_select"`}, false},
		{"value of another kind", []string{`"value":"{\"incident\"`, `"value":"{\"x\"`}, true},
		{"value too long", []string{"abc123", strings.Repeat("a", 3000)}, true},
		{"user id", []string{"U0ONCALL", "oncall"}, true},
		{"no team", []string{`"team":{"id":"T0LAB"`, `"team":{"id":""`}, true},
		{"outsider", []string{`"team_id":"T0LAB"`, `"team_id":"T0OTHER"`}, true},
		{"message id", []string{`"message_ts":"1795478400.000100"`, `"message_ts":"now"`}, true},
		{"channel id", []string{`"channel_id":"C0GPU"`, fmt.Sprintf(`"channel_id":"C%s"`, strings.Repeat("0", 500))}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			click, err := parse(callback(t, press(test.replace...)))
			if err == nil {
				t.Fatalf("got %+v, want it refused", click)
			}
			if ours := !errors.Is(err, errNotOurs); ours != test.ours {
				t.Errorf("got %v, ours = %v", err, ours)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error repeats %d bytes of what came in", len(err.Error()))
			}
		})
	}
}

func TestCutAt(t *testing.T) {
	tests := []struct {
		in         string
		limit      int
		head, rest string
	}{
		{"abc", 3, "abc", ""}, {"abcd", 3, "abc", "d"}, {"ab\ncd", 4, "ab", "cd"}, {"äöü", 3, "ä", "öü"}, {"a\xffb", 10, "a?b", ""},
	}
	for _, test := range tests {
		if head, rest := cutAt(test.in, test.limit); head != test.head || rest != test.rest {
			t.Errorf("cutAt(%q, %d) = %q, %q, want %q, %q", test.in, test.limit, head, rest, test.head, test.rest)
		}
	}
}

func TestListingIsBounded(t *testing.T) {
	if n := len(listing(strings.Repeat("line\n", 10000))); n != maxParts+1 {
		t.Errorf("%d blocks, want %d", n, maxParts+1)
	}
}
