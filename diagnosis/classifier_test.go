package diagnosis

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gpumedic/incident"
)

// two are signatures whose literals overlap, the hard case for the filter.
func two() []Signature {
	source := Source{Product: "p", Place: "f", Versions: "1"}
	return []Signature{
		{ID: "peer-closed", Meaning: "a peer closed", Source: source, Role: RoleEcho, FailureCase: "nccl-failure",
			Causes: []string{"peer-process-died"}, Weight: 0.4, Literals: []string{"closed by peer", "ABCDEF"},
			Pattern: `closed by peer (?P<peer>\S+)|abcdef`, Examples: []string{"closed by peer x"}, NearMisses: []string{"closed by me"}},
		{ID: "step", Meaning: "a step", Source: source, Role: RoleContext, FailureCase: "nccl-failure",
			Literals: []string{"a step", "bcdefx"}, Pattern: `step ?(?P<step>\d+)|xbcdefx`, Examples: []string{"a step 1"}, NearMisses: []string{"steps"}},
	}
}

func scan(t *testing.T, c *Classifier, r io.Reader) []Match {
	t.Helper()
	var out []Match
	err := c.Scan(t.Context(), r, func(m Match) error { out = append(out, m); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func classifier(t *testing.T) *Classifier {
	t.Helper()
	c, err := NewClassifier(two())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestScan(t *testing.T) {
	at := time.Date(2026, 11, 24, 0, 0, 1, 500, time.UTC)
	long := strings.Repeat("x", 3*maxLine)
	step := func(line int, text, number string) Match {
		return Match{Signature: "step", Role: RoleContext, Line: line, Process: -1, Text: text, Captures: map[string]string{"step": number}}
	}
	cases := []struct {
		name, text string
		want       []Match
	}{
		{"nothing", "all is well\n", nil},
		{"empty", "", nil},
		{"no newline at the end", "a step 7", []Match{step(1, "a step 7", "7")}},
		{"stamp and second line", "ok\n2026-11-24T00:00:01.000000500Z closed by peer n1\n",
			[]Match{{Signature: "peer-closed", Role: RoleEcho, Line: 2, Process: -1, At: at, Text: "closed by peer n1", Captures: map[string]string{"peer": "n1"}}}},
		{"literal without regard to case, pattern with it", "xABCDEFx\n", nil},
		{"no capture", "xabcdefx\n", []Match{{Signature: "peer-closed", Role: RoleEcho, Line: 1, Process: -1, Text: "xabcdefx"},
			{Signature: "step", Role: RoleContext, Line: 1, Process: -1, Text: "xabcdefx"}}[:1]},
		{"two signatures in one line", "a step 1 closed by peer n1\n", []Match{
			{Signature: "peer-closed", Role: RoleEcho, Line: 1, Process: -1, Text: "a step 1 closed by peer n1", Captures: map[string]string{"peer": "n1"}},
			step(1, "a step 1 closed by peer n1", "1")}},
		{"progress bar", "a step 1\ra step 2\r\n", []Match{step(1, "a step 1", "1"), step(1, "a step 2", "2")}},
		{"two literals of one signature", "a step 1 a step 2\n", []Match{step(1, "a step 1 a step 2", "1")}},
		{"in the middle of a line without end", "a step 1 " + long + " a step 2 " + long + "\na step 3\n",
			[]Match{step(1, "", "1"), step(1, "", "2"), step(2, "a step 3", "3")}},
		{"bytes that are no text", "\xff\xfe\x00a step 3\n", []Match{step(1, "\xff\xfe\x00a step 3", "3")}},
		{"colours in the middle of a word", "a \x1b[1;31mst\x1b[0mep 3\n", []Match{step(1, "a step 3", "3")}},
		{"wrapped by a terminal", "this is a step\n 12 of many\n", []Match{step(1, "this is a step 12 of many", "12")}},
		{"wrapped by a logger", "│ this is a step\n│ 12 of many\n", []Match{step(1, "this is a step12 of many", "12")}},
		{"docker", `{"log":"a step 4\r\n","stream":"stderr","time":"2026-11-24T00:00:01.0000005Z"}` + "\n",
			[]Match{{Signature: "step", Role: RoleContext, Line: 1, Process: -1, At: at, Text: "a step 4", Captures: map[string]string{"step": "4"}}}},
		{"journald", `{"PRIORITY":"3","MESSAGE":"kernel: a step 5"}`, []Match{step(1, "a step 5", "5")}},
		{"structured logger", `{"level":"error","msg":"one\na step 6\nthree"}`, []Match{step(1, "a step 6", "6")}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(tc.text), "byte by byte": iotest.OneByteReader(strings.NewReader(tc.text)),
			} {
				got := scan(t, classifier(t), r)
				for i := range got {
					if len(got[i].Text) > 200 {
						got[i].Text = "" // what surrounds a literal of a long line
					}
				}
				if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Match{}, "Of")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestScanEnds(t *testing.T) {
	c := classifier(t)
	stop := errors.New("enough")
	if err := c.Scan(t.Context(), strings.NewReader("a step 1\na step 2\n"), func(Match) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error is lost: %v", err)
	}
	broken := errors.New("connection reset")
	err := c.Scan(t.Context(), io.MultiReader(strings.NewReader("a step 1\nx"), iotest.ErrReader(broken)), func(Match) error { return nil })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a broken reader: got %v, want its error with the line", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Scan(ctx, strings.NewReader(strings.Repeat("x\n", 1000)), func(Match) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled scan: got %v", err)
	}
}

func TestNewClassifierTellsEveryProblem(t *testing.T) {
	bad := two()
	bad[0].Role, bad[0].Pattern = "culprit", "("
	bad[1].Causes, bad[1].ID = []string{"gremlins"}, "peer-closed"
	_, err := NewClassifier(bad)
	if incident.KindOf(err) != incident.Invalid {
		t.Fatalf("kind of %v: %v", err, incident.KindOf(err))
	}
	for _, want := range []string{`role "culprit"`, "missing closing )", `root cause "gremlins"`, "defined twice", "weight is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not tell %q: %v", want, err)
		}
	}
}

func TestUnwrap(t *testing.T) {
	at := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	cases := []struct {
		line, text string
		at         time.Time
		rank       int
	}{
		{"plain", "plain", time.Time{}, -1},
		{"2026-11-24T01:02:03Z text", "text", at, -1},
		{"2026-11-24T01:02:03Z", "", at, -1},
		{"2026-11-24T02:02:03+01:00 text", "text", at, -1},
		{"2026-11-24T01:02:03.000000000Z stdout F text", "text", at, -1},
		{"2026-11-24T99:02:03Z text", "2026-11-24T99:02:03Z text", time.Time{}, -1},
		{"2026-11-24T01:02:03Z [rank3]: text", "text", at, 3},
		{"[rank3]:[E513 text", "[E513 text", time.Time{}, 3},
		{"[1,12]<stdout>:text", "text", time.Time{}, 12},
		{"[default7]:text", "text", time.Time{}, 7},
		{"(RayTrainWorker pid=18561, ip=10.0.0.3) [rank4]: text", "text", time.Time{}, 4},
		{"5: text", "text", time.Time{}, 5},
		{"[1]<stderr>:text", "text", time.Time{}, 1},
		{"Tue Nov 24 01:02:03 2026[1,4]<stdout>: text", "text", time.Time{}, 4},
		{"(EngineCore pid=946) text", "text", time.Time{}, -1},
		{"[pod/llama-0/main] 2026-11-24T01:02:03Z text", "text", at, -1},
		{"trainer-1  | text", "text", time.Time{}, -1},
		{"Jan 18 11:38:05 gpu-3 kernel: [  269.516977] NVRM: text", "NVRM: text", time.Time{}, -1},
		{"[Sun Feb 22 16:24:18 2026] NVRM: text", "NVRM: text", time.Time{}, -1},
		{"<4>[ 1126.588387] nvidia: text", "nvidia: text", time.Time{}, -1},
		{"6,3969,206764319,-;nvidia: text", "nvidia: text", time.Time{}, -1},
		{"kern  :warn  : 2026-11-24T01:02:03,000000+00:00 NVRM: text", "NVRM: text", at, -1},
		{"2026/11/24 01:02:03 text", "text", time.Time{}, -1},
		{"[2026-11-24 01:02:03,123] text", "text", time.Time{}, -1},
		{"> text", "text", time.Time{}, -1},
		{"[Rank 3] text", "[Rank 3] text", time.Time{}, -1},
		{"[rank99999999999999999999]: text", "text", time.Time{}, -1},
		{"", "", time.Time{}, -1},
	}
	for _, tc := range cases {
		got := unprefix([]byte(tc.line))
		if string(got.text) != tc.text || !got.at.Equal(tc.at) || got.rank != tc.rank {
			t.Errorf("%q: got %q at %v of rank %d", tc.line, got.text, got.at, got.rank)
		}
	}
}
