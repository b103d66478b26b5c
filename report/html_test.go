package report_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"gpumedic/incident"
	"gpumedic/report"
)

func page(t *testing.T, rec incident.Record, w incident.Workload) string {
	t.Helper()
	data, err := report.HTML(rec, w)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// nodes walks a parsed page.
func nodes(t *testing.T, text string) []*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var all []*html.Node
	for node := range root.Descendants() {
		all = append(all, node)
	}
	return all
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// count finds elements by tag whose class has every given word.
func count(t *testing.T, text, tag string, classes ...string) int {
	t.Helper()
	found := 0
next:
	for _, node := range nodes(t, text) {
		if node.Type != html.ElementNode || node.Data != tag {
			continue
		}
		has := strings.Fields(attribute(node, "class"))
		for _, class := range classes {
			if !strings.Contains(" "+strings.Join(has, " ")+" ", " "+class+" ") {
				continue next
			}
		}
		found++
	}
	return found
}

func TestPageTellsEveryStory(t *testing.T) {
	for name, rec := range records() {
		t.Run(name, func(t *testing.T) {
			w := workload(8, 4)
			if name == "failed" || name == "empty" {
				w = incident.Workload{}
			}
			got := page(t, rec, w)
			if name == "resolved" || name == "failed" {
				golden(t, name+".html", []byte(got))
			}
			if again := page(t, rec, w); again != got {
				t.Error("the same record gives two pages")
			}
			if strings.Contains(got, "ZgotmplZ") {
				t.Error("the template refused a value")
			}
		})
	}
}

// TestPageNeedsNothingElse: no script, no network, nothing beside it.
func TestPageNeedsNothingElse(t *testing.T) {
	for name, rec := range records() {
		got := page(t, rec, workload(8, 4))
		for _, node := range nodes(t, got) {
			switch node.Data {
			case "script", "iframe", "object", "embed", "img", "base", "form":
				t.Errorf("%s: has a <%s>", name, node.Data)
			case "link":
				if href := attribute(node, "href"); href != "data:," {
					t.Errorf("%s: links to %s", name, href)
				}
			}
			for _, a := range node.Attr {
				if strings.HasPrefix(a.Key, "on") || (a.Key == "src" || a.Key == "xlink:href") {
					t.Errorf("%s: <%s %s=%q>", name, node.Data, a.Key, a.Val)
				}
			}
		}
		if regexp.MustCompile(`url\(|@import`).MatchString(got) {
			t.Errorf("%s: the style asks for something else", name)
		}
		if !strings.Contains(got, `Content-Security-Policy" content="default-src 'none'`) {
			t.Errorf("%s: no content security policy", name)
		}
	}
}

// hostile text stands in every string of a record.
const hostile = `</title></style></svg><script>alert(1)</script><img src=x onerror=alert(1)>"'` + "`{{.}}"

func TestHostileTextStaysText(t *testing.T) {
	rec := resolved()
	rec.IncidentID, rec.Summary, rec.Next, rec.Build, rec.RootCause, rec.FailureCase, rec.Outcome = hostile, hostile, hostile, hostile, hostile, hostile, hostile
	rec.Target = incident.Target{Cluster: hostile, Namespace: hostile, Kind: hostile, Name: hostile}
	rec.Blamed = incident.Blamed{Kind: hostile, Names: []string{hostile}}
	rec.Simulated, rec.Errors = []string{hostile}, []string{hostile}
	rec.Causes = []incident.Cause{{RootCause: hostile, FailureCase: hostile, Reasons: []string{hostile}, Against: []string{hostile}, WouldDecide: []string{hostile}}, {RootCause: hostile + "2", Reasons: []string{hostile}}}
	rec.Findings = []incident.Finding{{ID: hostile, State: hostile, Subject: hostile, Value: hostile, Why: hostile, Evidence: []string{hostile}}}
	rec.Observed = []incident.Observation{{Signature: hostile, Meaning: hostile, Line: hostile, Evidence: hostile, Ranks: hostile}}
	rec.Stages = []incident.Stage{{Name: hostile, StartedAt: at(0)}}
	rec.Story = []incident.Event{{At: at(1), Kind: hostile, Text: hostile}}
	rec.Changes[0].Diff, rec.Changes[0].Note, rec.Changes[0].Remedy = hostile, hostile, hostile
	rec.Approvals[0].By, rec.Approvals[0].Reason, rec.Approvals[0].PlanHash = hostile, hostile, hostile
	rec.Alerts[0].Labels = map[string]string{hostile: hostile}
	rec.Verification.History[0].Outcomes[0].ID = hostile
	w := workload(8, 4)
	w.Nodes[0] = incident.Node{Name: hostile, Leaf: hostile, Rack: hostile, Unread: hostile}
	w.Ranks[0].Node, w.Ranks[0].Pod, w.Ranks[0].Phase = hostile, hostile, hostile
	got := page(t, rec, w)
	for _, node := range nodes(t, got) {
		if node.Type == html.ElementNode && (node.Data == "script" || node.Data == "img") {
			t.Fatalf("a log line became a <%s>", node.Data)
		}
	}
	if count(t, got, "title") < 3 || !strings.Contains(got, "&lt;script&gt;alert(1)") {
		t.Error("the text is not there as text")
	}
}

func TestPictureMarksWhoIsBlamed(t *testing.T) {
	for name, test := range map[string]struct {
		alter                func(*incident.Record, *incident.Workload)
		ranks, nodes, leaves int
		says                 string
	}{
		"policy": {func(*incident.Record, *incident.Workload) {}, 0, 0, 0, "At fault is none of them but policy default-deny, training-isolation."},
		"rank": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{Kind: "rank", Names: []string{"3"}}
		}, 1, 0, 0, "At fault: rank 3 on gpu-03."},
		"pod": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{Kind: "pod", Names: []string{"llama-70b-3-x9k2p"}}
		}, 1, 0, 0, "rank 3 on gpu-03"},
		"pod by address": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{Kind: "pod", Names: []string{"10.0.0.5"}}
		}, 1, 0, 0, "rank 3 on gpu-03"},
		"node": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{Kind: "node", Names: []string{"gpu-07"}}
		}, 0, 1, 0, "node gpu-07"},
		"link": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{Kind: "link", Names: []string{"gpu-01<->gpu-02"}}
		}, 0, 2, 0, "node gpu-01, node gpu-02"},
		"switch of the test": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{}
			r.CommTest.Verdict.Bad = []incident.BadPart{{Kind: "switch", ID: "leaf-b"}}
		}, 0, 0, 1, "leaf switch leaf-b"},
		"rack": {func(r *incident.Record, _ *incident.Workload) {
			r.Blamed = incident.Blamed{Kind: "switch", Names: []string{"rack-2"}}
		}, 0, 4, 0, "node gpu-04"},
		"rank of no index": {func(r *incident.Record, w *incident.Workload) {
			w.Ranks[0].Index = -1
			r.Blamed = incident.Blamed{Kind: "rank", Names: []string{"-1"}}
		}, 0, 0, 0, "none of them but rank -1"},
	} {
		t.Run(name, func(t *testing.T) {
			rec, w := resolved(), workload(8, 4)
			test.alter(&rec, &w)
			got := page(t, rec, w)
			if n := count(t, got, "rect", "rank", "blamed"); n != test.ranks {
				t.Errorf("%d ranks are marked, want %d", n, test.ranks)
			}
			if n := count(t, got, "rect", "node", "blamed"); n != test.nodes {
				t.Errorf("%d nodes are marked, want %d", n, test.nodes)
			}
			if n := count(t, got, "rect", "leaf", "blamed"); n != test.leaves {
				t.Errorf("%d leaves are marked, want %d", n, test.leaves)
			}
			if !strings.Contains(got, test.says) {
				t.Errorf("it does not say %q", test.says)
			}
		})
	}
}

// TestPictureOfAnySize: nothing is left out, nothing leaves the drawing.
func TestPictureOfAnySize(t *testing.T) {
	for _, ranks := range []int{1, 8, 48, 49, 1000} {
		w := workload(ranks, 32)
		w.Ranks[0].Node = "" // waits
		got := page(t, resolved(), w)
		if n := count(t, got, "rect", "rank"); n < ranks {
			t.Errorf("%d ranks: %d are drawn", ranks, n)
		}
		box := regexp.MustCompile(`class="picture[^>]*viewBox="0 0 (\d+) (\d+)"`).FindStringSubmatch(got)
		if box == nil {
			t.Fatalf("%d ranks: no picture", ranks)
		}
		for _, m := range regexp.MustCompile(`<rect class="node[^>]* x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"`).FindAllStringSubmatch(got, -1) {
			if number(m[1])+number(m[3]) > number(box[1]) || number(m[2])+number(m[4]) > number(box[2]) {
				t.Fatalf("%d ranks: %s leaves the drawing of %s x %s", ranks, m[0], box[1], box[2])
			}
		}
		if len(got) > 2<<20 {
			t.Errorf("%d ranks: the page has %d bytes", ranks, len(got))
		}
	}
}

func number(text string) (n int) {
	_, _ = fmt.Sscan(text, &n)
	return n
}

func TestPlotDrawsWhatWasMeasured(t *testing.T) {
	rec := resolved()
	got := page(t, rec, workload(8, 4))
	if count(t, got, "svg", "plot") != 1 || count(t, got, "line", "after") != 1 || count(t, got, "line", "wanted") != 1 || count(t, got, "line", "before") != 0 {
		t.Error("the plot lacks a curve, or has one that was not measured")
	}
	rec.Verification = nil
	if got = page(t, rec, workload(8, 4)); count(t, got, "svg", "plot") != 0 || !strings.Contains(got, "There is nothing to plot") {
		t.Error("a failed test was drawn")
	}
	rec.CommTest = nil
	if got = page(t, rec, workload(8, 4)); !strings.Contains(got, "No communication test was run") {
		t.Error("a test that was not run is not told")
	}
}

// TestPlotOfOddPoints: no measurement breaks the page.
func TestPlotOfOddPoints(t *testing.T) {
	for name, points := range map[string][]incident.BusBWPoint{
		"one":        {{Bytes: 1 << 20, BusBWGBps: 1}},
		"same size":  {{Bytes: 1 << 20, BusBWGBps: 1}, {Bytes: 1 << 20, BusBWGBps: 2}},
		"zero size":  {{Bytes: 0, BusBWGBps: 1}, {Bytes: 1, BusBWGBps: 1}, {Bytes: 2, BusBWGBps: 0}},
		"all zero":   {{Bytes: 1, BusBWGBps: 0}, {Bytes: 2, BusBWGBps: 0}},
		"impossible": {{Bytes: 1, BusBWGBps: 1e300}, {Bytes: 1 << 62, BusBWGBps: 1}, {Bytes: 8, BusBWGBps: -1}},
		"huge sizes": {{Bytes: 1, BusBWGBps: 1}, {Bytes: 1 << 62, BusBWGBps: 1}},
	} {
		rec := resolved()
		rec.Verification.History[0].Outcomes[0].Points = points
		if got := page(t, rec, workload(8, 4)); regexp.MustCompile(`NaN|\bInf\b`).MatchString(got) {
			t.Errorf("%s: drawn with no number", name)
		}
	}
}

func TestDiffIsColoured(t *testing.T) {
	got := page(t, resolved(), workload(8, 4))
	if count(t, got, "span", "add") != 15 || count(t, got, "span", "del") != 1 || count(t, got, "span", "file") != 4 || count(t, got, "span", "hunk") != 2 {
		t.Errorf("add %d, del %d, file %d, hunk %d", count(t, got, "span", "add"), count(t, got, "span", "del"), count(t, got, "span", "file"), count(t, got, "span", "hunk"))
	}
}

// TestTrojanSourceIsVisible: characters that would make a diff look other than
// it is are shown.
func TestTrojanSourceIsVisible(t *testing.T) {
	rec := resolved()
	rec.Changes[0].Diff = "+ allow: none \u202e\u2066// all\u2069\u2066\n"
	for form, got := range map[string]string{"html": page(t, rec, incident.Workload{}), "text": report.Text(rec)} {
		if bytes.ContainsAny([]byte(got), "\u202e\u2066\u2069") {
			t.Errorf("%s turns the text around", form)
		}
	}
}
