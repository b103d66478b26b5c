package slack_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/hashicorp/go-hclog"

	"gpumedic/incident"
	"gpumedic/lab/slack"
	"gpumedic/steps"
)

// browser opens the page in a headless Chromium. Without one the test is
// skipped, unless GPUMEDIC_REQUIRE_BROWSER=1 says that there must be one.
func browser(t *testing.T, s *slack.Server) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("GPUMEDIC_REQUIRE_BROWSER") == "1" {
			t.Fatal("no chromium on this machine (apt-get install chromium)")
		}
		t.Skip("no chromium on this machine")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1400, 1500), chromedp.WSURLReadTimeout(60*time.Second))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() }) // it may be gone already
	ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL()+"/"), chromedp.WaitVisible("#title")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// shoot keeps a picture when GPUMEDIC_SHOTS names a folder.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("GPUMEDIC_SHOTS")
	if folder == "" {
		return
	}
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder+"/"+name+".png", picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// see waits until the page's text holds what it should.
func see(t *testing.T, ctx context.Context, says string) {
	t.Helper()
	holds(t, ctx, "document.body.innerText.includes("+quote(says)+")")
}

// holds waits until an expression is true. The page's policy forbids eval, so
// it is asked again and again from here.
func holds(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	until(t, expression, func() bool {
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err != nil {
			t.Fatalf("asking the page %s: %v", expression, err)
		}
		return yes
	})
}

// press clicks with the mouse. The page may draw the element anew between
// finding and clicking it; then it is clicked again.
func press(t *testing.T, ctx context.Context, selector string) {
	t.Helper()
	until(t, "a click on "+selector, func() bool { return chromedp.Do(ctx, chromedp.Click(selector)) == nil })
}

// become picks who the person at the page is.
func become(t *testing.T, ctx context.Context, user string) {
	t.Helper()
	do(t, ctx, chromedp.SetValue("#me", user))
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`$("me").dispatchEvent(new Event("change"))`)); err != nil {
		t.Fatal(err)
	}
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func TestPersonVotesOnThePage(t *testing.T) {
	s := start(t, slack.Options{})
	sink := &ballot{}
	receive(t, s, sink, true, hclog.NewNullLogger())
	until(t, "it listens", func() bool { return s.Connections() == 2 })
	page := browser(t, s)
	see(t, page, "Nothing was said yet")
	ref := post(t, s, question())
	if _, err := hands(s).PostStory(within(t), steps.PostStoryParams{Ref: ref, Key: "ask", Mention: []string{"U0ONCALL"},
		Lines: []string{"Please look at plan 5f2c9a01d3e4b6a7", "log text stays text: <script>alert(1)</script> *not bold*"}}); err != nil {
		t.Fatal(err)
	}
	see(t, page, "Approval needed: job training/llama-70b in lab")
	see(t, page, "<script>alert(1)</script> *not bold*")
	see(t, page, "Stand-in for Slack")
	shoot(t, page, "1-question")

	const approve, confirm = `[data-action="gpumedic-approve"]`, `#confirm button[value="yes"]`
	become(t, page, "U0GUEST")
	press(t, page, approve)
	do(t, page, chromedp.WaitVisible("#confirm"))
	shoot(t, page, "2-confirm")
	press(t, page, `#confirm button[value="no"]`)
	do(t, page, chromedp.WaitNotVisible("#confirm"))
	if n := len(sink.all()); n != 0 {
		t.Fatalf("a click that was not confirmed gave %d votes", n)
	}
	press(t, page, approve)
	press(t, page, confirm)
	see(t, page, "You are not an approver of this plan.")

	become(t, page, "U0ONCALL")
	holds(t, page, `!document.body.innerText.includes("You are not an approver")`) // a note for the guest only
	press(t, page, approve)
	press(t, page, confirm)
	see(t, page, "Your vote counts: approve.")
	press(t, page, `[data-action="gpumedic-evidence"]`)
	see(t, page, "policy-blocks-ranks: yes")
	shoot(t, page, "3-answered")

	card := question()
	card.State, card.Asking, card.Headline = incident.Resolved, false, "All 8 ranks talk over IB again; the communication test passed."
	card.Votes = []incident.Vote{{By: "U0ONCALL", Via: "slack", Verdict: incident.Approve, At: time.Now()}}
	if _, err := hands(s).PostCard(within(t), steps.PostCardParams{Ref: ref, Key: "card", Card: card}); err != nil {
		t.Fatal(err)
	}
	see(t, page, "Resolved: job training/llama-70b in lab")
	see(t, page, "approved by @On-call engineer via slack")
	do(t, page, chromedp.WaitNotPresent(approve))
	shoot(t, page, "4-resolved")
}

func TestPageSaysWhenTheAppIsAway(t *testing.T) {
	s := start(t, slack.Options{})
	post(t, s, question())
	page := browser(t, s)
	see(t, page, "gpumedic is not connected")
	press(t, page, `[data-action="gpumedic-deny"]`)
	see(t, page, "The app did not take this click.")
	see(t, page, "This app did not respond.")
	shoot(t, page, "5-away")
}

func TestPageIsForThisMachineOnly(t *testing.T) {
	s := start(t, slack.Options{})
	get := func(path, host string) int {
		req, err := http.NewRequestWithContext(within(t), http.MethodGet, s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for _, path := range []string{"/", "/state"} {
		if got := get(path, ""); got != http.StatusOK {
			t.Errorf("%s: %d", path, got)
		}
		if got := get(path, "evil.example"); got != http.StatusForbidden {
			t.Errorf("%s under another name: %d, want 403", path, got)
		}
	}
	resp, err := http.Post(s.URL()+"/click", "text/plain", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a click as text: %d, want 415", resp.StatusCode)
	}
}
