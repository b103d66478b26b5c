package diagnosis_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/runbooks"
)

var update = flag.Bool("update", false, "rewrite the expected part of testdata/*.txt")

const divider = "----\n"

// TestTranscripts plays incidents: each file tells what the logs, the checks and
// the communication test said, and below the divider what was concluded.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts found: %v", err)
	}
	classifier := builtin(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script, want, _ := strings.Cut(string(data), divider)
			got := render(diagnosis.Diagnose(play(t, classifier, script)))
			if *update {
				if err := os.WriteFile(file, []byte(script+divider+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("conclusions differ (-want +got); rewrite with -update:\n%s", diff)
			}
		})
	}
}

func builtin(t testing.TB) *diagnosis.Classifier {
	t.Helper()
	classifier, err := runbooks.Classifier("")
	if err != nil {
		t.Fatal(err)
	}
	return classifier
}

// play reads a script: "case NAME" of the runbook, nccl-failure without one, "ranks N", "log RANKS LINE", "finding ID STATE SUBJECT
// [VALUE] [| WHY]", "test clean|bad KIND ID CONFIDENCE ...|inconclusive [| WHY]"
// and, for what its tests showed, "tests NODE,... pass|fail GB/s".
func play(t *testing.T, classifier *diagnosis.Classifier, script string) diagnosis.Input {
	t.Helper()
	in := diagnosis.Input{FailureCase: "nccl-failure"}
	logs := map[int]*strings.Builder{}
	var tested []incident.Outcome
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "", "#":
		case "case":
			in.FailureCase = rest
		case "ranks":
			in.Ranks, _ = strconv.Atoi(rest)
		case "log":
			who, text, _ := strings.Cut(rest, " ")
			for _, rank := range expand(t, who) {
				if logs[rank] == nil {
					logs[rank] = &strings.Builder{}
				}
				fmt.Fprintln(logs[rank], text)
			}
		case "finding":
			in.Findings = append(in.Findings, finding(t, rest))
		case "tests":
			tested = append(tested, testOutcome(t, rest))
		case "test":
			in.CommTest = commTest(t, rest)
			in.CommTest.History[0].Outcomes = append(in.CommTest.History[0].Outcomes, tested...)
			in.Findings = append(in.Findings, diagnosis.TestFindings(*in.CommTest)...)
		default:
			t.Fatalf("script line not understood: %q", line)
		}
	}
	in.Observations = collect(t, classifier, logs)
	return in
}

func collect(t *testing.T, classifier *diagnosis.Classifier, logs map[int]*strings.Builder) []incident.Observation {
	t.Helper()
	collector := diagnosis.NewCollector()
	for rank, log := range logs {
		err := classifier.Scan(t.Context(), strings.NewReader(log.String()), func(m diagnosis.Match) error {
			collector.Add(rank, fmt.Sprintf("logs/rank-%03d.log", rank), m)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return collector.Observations()
}

func expand(t *testing.T, who string) []int {
	t.Helper()
	var out []int
	for part := range strings.SplitSeq(who, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil {
			t.Fatalf("ranks not understood: %q", who)
		}
		for rank := first; rank <= last; rank++ {
			out = append(out, rank)
		}
	}
	return out
}

func finding(t *testing.T, text string) incident.Finding {
	t.Helper()
	text, why, _ := strings.Cut(text, " | ")
	fields := strings.SplitN(text, " ", 4)
	if len(fields) < 3 {
		t.Fatalf("finding not understood: %q", text)
	}
	f := incident.Finding{ID: fields[0], State: incident.State(fields[1]), Subject: fields[2], Why: why}
	if len(fields) == 4 {
		f.Value = fields[3]
	}
	return f
}

func commTest(t *testing.T, text string) *incident.CommTest {
	t.Helper()
	text, why, _ := strings.Cut(text, " | ")
	fields := strings.Fields(text)
	verdict := incident.Verdict{Why: why}
	outcome := incident.Outcome{Result: incident.TestPass, Nodes: []string{"gpu-00", "gpu-01"}, BusBWGBps: 180, Transport: "IB"}
	switch {
	case fields[0] == "clean":
		verdict.Clean = true
	case fields[0] == "inconclusive":
		verdict.Inconclusive = true
	case fields[0] == "bad" && len(fields)%3 == 1:
		for part := fields[1:]; len(part) > 0; part = part[3:] {
			confidence, err := strconv.ParseFloat(part[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			verdict.Bad = append(verdict.Bad, incident.BadPart{Kind: part[0], ID: part[1], Confidence: confidence})
		}
		outcome.Result = incident.TestFail
	default:
		t.Fatalf("test not understood: %q", text)
	}
	return &incident.CommTest{Verdict: verdict, History: []incident.Round{{Outcomes: []incident.Outcome{outcome}}}}
}

// testOutcome reads "gpu-05 fail 0": a bandwidth is that of a test that ended.
func testOutcome(t *testing.T, text string) incident.Outcome {
	t.Helper()
	o := incident.Outcome{}
	var nodes string
	if _, err := fmt.Sscan(text, &nodes, &o.Result, &o.BusBWGBps); err != nil {
		t.Fatalf("outcome not understood: %q", text)
	}
	o.Nodes = strings.Split(nodes, ",")
	return o
}

func render(causes []incident.Cause) string {
	var b strings.Builder
	for _, c := range causes {
		fmt.Fprintf(&b, "%.2f %s/%s\n", c.Confidence, c.FailureCase, c.RootCause)
		if c.Blamed.Kind != "" {
			fmt.Fprintf(&b, "  blamed %s %s\n", c.Blamed.Kind, strings.Join(c.Blamed.Names, ","))
		}
		for _, reason := range c.Reasons {
			fmt.Fprintf(&b, "  - %s\n", reason)
		}
		for _, list := range []struct {
			name string
			ids  []string
		}{{"for", c.For}, {"against", c.Against}, {"would decide", c.WouldDecide}} {
			if len(list.ids) > 0 {
				fmt.Fprintf(&b, "  %s: %s\n", list.name, strings.Join(list.ids, ", "))
			}
		}
	}
	return b.String()
}
