package report_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gpumedic/incident"
	"gpumedic/report"
)

// search is a test over n nodes behind leafs of 16: all together, by leaf,
// interleaved, and pairs; node bad fails what it is in, the last node is slow.
func search(n int, bad string) (incident.CommTest, []incident.Node) {
	var nodes []incident.Node
	for i := range n {
		nodes = append(nodes, incident.Node{Name: fmt.Sprintf("gpu-%d", i), Leaf: fmt.Sprintf("leaf-%d", i/16)})
	}
	test := incident.CommTest{Purpose: "diagnose", Verdict: incident.Verdict{Bad: []incident.BadPart{{Kind: "node", ID: bad, Confidence: 0.99}}, Why: "it failed with proven partners"}}
	for number, size := range []int{n, 16, -16, 2} {
		round := incident.Round{Number: number + 1}
		for i := 0; i < n; i++ {
			g := i / max(1, size)
			if size < 0 {
				g = i % -size
			}
			if g >= len(round.Groups) {
				round.Groups = append(round.Groups, incident.Group{ID: fmt.Sprintf("r%d-g%d", number+1, g+1)})
			}
			round.Groups[g].Nodes = append(round.Groups[g].Nodes, nodes[i].Name)
		}
		for _, group := range round.Groups {
			o := incident.Outcome{ID: group.ID, Result: incident.TestPass, BusBWGBps: 360, ExpectedGBps: 370}
			for _, name := range group.Nodes {
				switch name {
				case bad:
					o.Result, o.BusBWGBps, o.FailedNodes = incident.TestFail, 0, []string{bad}
				case nodes[n-1].Name:
					if o.Result == incident.TestPass {
						o.Result, o.BusBWGBps = incident.TestFail, 30
					}
				}
			}
			if group.ID == "r4-g2" {
				o = incident.Outcome{ID: group.ID, Result: incident.TestError, Why: "no room"}
			}
			round.Outcomes = append(round.Outcomes, o)
		}
		test.History = append(test.History, round)
	}
	return test, nodes
}

func rounds(t *testing.T, test incident.CommTest, nodes []incident.Node) string {
	t.Helper()
	picture, err := report.RoundsPicture(test, nodes)
	if err != nil {
		t.Fatal(err)
	}
	return string(picture)
}

// TestRoundsOfAnySize: nothing leaves the drawing, every class has its shape,
// and the drawing stays small.
func TestRoundsOfAnySize(t *testing.T) {
	for _, n := range []int{2, 8, 16, 64, 168, 169, 1024, 4096} {
		test, nodes := search(n, "gpu-0")
		got := rounds(t, test, nodes)
		box := regexp.MustCompile(`viewBox="0 0 (\d+) (\d+)"`).FindStringSubmatch(got)
		for _, m := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)`).FindAllStringSubmatch(got, -1) {
			if number(m[1])+number(m[3]) > number(box[1]) || number(m[2]) > number(box[2]) {
				t.Fatalf("%d nodes: %s leaves the drawing of %s x %s", n, m[0], box[1], box[2])
			}
		}
		want := map[string]int{"fail": 4, "pass": 1, "slow": 1, "error": 1}
		if n == 2 {
			want = map[string]int{"fail": 4, "pass": 0, "slow": 1, "error": 0}
		} else if n <= 16 {
			want["slow"], want["pass"] = 1, 1
		}
		for class, least := range want {
			if drawn := count(t, got, "path", class); drawn < least {
				t.Errorf("%d nodes: %d groups are drawn as %s, want %d or more", n, drawn, class, least)
			}
		}
		if count(t, got, "path", "cross") != count(t, got, "path", "fail") {
			t.Errorf("%d nodes: a failed group can be told by its colour only", n)
		}
		if count(t, got, "circle", "bad") != 1 || !strings.Contains(got, "Node gpu-0 is bad (confidence 0.99)") {
			t.Errorf("%d nodes: the verdict is not marked", n)
		}
		if len(got) > 1<<20 {
			t.Errorf("%d nodes: the drawing has %d bytes", n, len(got))
		}
		t.Logf("%d nodes: %d bytes, %s x %s", n, len(got), box[1], box[2])
		if dir := os.Getenv("GPUMEDIC_DRAW"); dir != "" {
			page := `<!doctype html><body style="font-family:sans-serif;color:#222;background:#fff;max-width:1040px">` + got
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("rounds-%d.html", n)), []byte(page), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRoundsTellThemselvesInWords: whoever cannot see the picture hears it.
func TestRoundsTellThemselvesInWords(t *testing.T) {
	test, nodes := search(64, "gpu-17")
	got := rounds(t, test, nodes)
	want := `aria-label="Communication test over 64 nodes. Round 1: 1 group, 1 failed. Round 2: 4 groups, 2 passed, 1 slow, 1 failed. ` +
		`Round 3: 16 groups, 14 passed, 1 slow, 1 failed. Round 4: 32 groups, 29 passed, 1 slow, 1 failed, 1 could not be run. Node gpu-17 is bad (confidence 0.99)."`
	if !strings.Contains(got, want) {
		t.Errorf("want %s in\n%.2000s", want, got)
	}
	if !strings.Contains(got, "<title>group r4-g9, 2 nodes (gpu-16, gpu-17): failed</title>") {
		t.Error("a group does not tell its nodes")
	}
}

func TestRoundsMarkEveryKindOfVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		verdict      incident.Verdict
		marks, boxes int
		says         string
	}{
		"two nodes": {incident.Verdict{Bad: []incident.BadPart{{Kind: "node", ID: "gpu-3", Confidence: 0.97}, {Kind: "node", ID: "gpu-20", Confidence: 0.97}}}, 2, 0, "Node gpu-3 is bad (confidence 0.97), node gpu-20 is bad"},
		"link":      {incident.Verdict{Bad: []incident.BadPart{{Kind: "link", ID: "gpu-1<->gpu-2", Confidence: 0.9}}}, 2, 0, "Link gpu-1&lt;-&gt;gpu-2 is bad"},
		"switch":    {incident.Verdict{Bad: []incident.BadPart{{Kind: "switch", ID: "leaf-1", Confidence: 0.9}}}, 0, 1, "Switch leaf-1 is bad"},
		"all":       {incident.Verdict{Bad: []incident.BadPart{{Kind: "infrastructure", ID: "*", Confidence: 0.9}}}, 0, 0, "Nothing that crosses nodes works"},
		"clean":     {incident.Verdict{Clean: true}, 0, 0, "Clean"},
		"open":      {incident.Verdict{Inconclusive: true}, 0, 0, "Inconclusive"},
	} {
		run, nodes := search(32, "gpu-3")
		run.Verdict = test.verdict
		got := rounds(t, run, nodes)
		if count(t, got, "circle", "bad") != test.marks || count(t, got, "path", "badleaf") != test.boxes || !strings.Contains(got, test.says) {
			t.Errorf("%s: %d marks, %d boxes", name, count(t, got, "circle", "bad"), count(t, got, "path", "badleaf"))
		}
	}
}

// TestRoundsOfARunningTest: the round that runs is there, without an outcome.
func TestRoundsOfARunningTest(t *testing.T) {
	test, nodes := search(32, "gpu-3")
	test.Verdict = incident.Verdict{}
	test.History = test.History[:2]
	test.History[1].Outcomes = nil
	test.Suspects = []incident.Suspect{{Kind: "node", ID: "gpu-3", Probability: 0.5}}
	got := rounds(t, test, nodes)
	if count(t, got, "path", "running") != 2 || !strings.Contains(got, "No verdict yet. Round 2: 2 groups over 32 nodes; still suspected: gpu-3 (50 %)") {
		t.Errorf("got %.1500s", got)
	}
	if empty := rounds(t, incident.CommTest{}, nodes); empty != "" {
		t.Errorf("before the first round: %s", empty)
	}
}

func TestRoundsTable(t *testing.T) {
	test, _ := search(64, "gpu-17")
	want := "round  groups  nodes  passed  slow  failed  not run  running\n" +
		"    1       1     64       0     0       1        0        0\n" +
		"    2       4     64       2     1       1        0        0\n" +
		"    3      16     64      14     1       1        0        0\n" +
		"    4      32     64      29     1       1        1        0\n"
	if got := report.RoundsTable(test); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	rec := resolved()
	rec.CommTest = &test
	text := report.Text(rec)
	if !strings.Contains(text, "    4      32     64      29") || strings.Contains(text, "r4-g7 ") || !strings.Contains(text, "group r4-g9 (2 nodes: gpu-16, gpu-17) failed") {
		t.Errorf("the text tells\n%s", text)
	}
}

func TestRoundsHostileTextStaysText(t *testing.T) {
	test, nodes := search(8, "gpu-3")
	test.History[0].Groups[0].ID, nodes[0].Leaf = hostile, hostile
	test.History[0].Groups[0].Nodes[0] = hostile
	test.Verdict.Bad[0].ID = hostile
	got := rounds(t, test, nodes)
	if count(t, got, "script") != 0 || count(t, got, "img") != 0 {
		t.Errorf("a name became an element: %s", got)
	}
}
