package diagnosis

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

func TestCollector(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0).UTC() }
	of := &Signature{ID: "s", Role: RoleEcho, Meaning: "m", FailureCase: "nccl-failure", Causes: []string{"peer-process-died"}, Weight: 0.4, Compare: []string{"seq"}}
	match := func(line int, when time.Time, seq, group string) Match {
		return Match{Signature: "s", Role: RoleEcho, Line: line, At: when, Text: "line", Process: -1, Of: of,
			Captures: map[string]string{"seq": seq, "group": group}}
	}
	type said struct {
		rank int
		m    Match
	}
	cases := []struct {
		name string
		said []said
		want incident.Observation
	}{
		{"earliest stamp wins over rank", []said{{0, match(9, at(20), "5", "0")}, {3, match(4, at(10), "5", "0")}, {3, match(5, at(11), "6", "0")}},
			incident.Observation{Ranks: "0,3", RankCount: 2, Count: 3, FirstAt: at(10), FirstRank: 3, Evidence: "log#L4"}},
		{"unstamped comes last", []said{{0, match(1, time.Time{}, "5", "0")}, {7, match(2, at(99), "5", "0")}},
			incident.Observation{Ranks: "0,7", RankCount: 2, Count: 2, FirstAt: at(99), FirstRank: 7, Evidence: "log#L2"}},
		{"the line decides in one log between equal stamps", []said{{2, match(3, at(1), "5", "0")}, {1, match(8, at(1), "5", "0")}},
			incident.Observation{Ranks: "1-2", RankCount: 2, Count: 2, FirstAt: at(1), FirstRank: 2, Evidence: "log#L3"}},
		{"ranks that disagree", []said{{0, match(1, at(1), "5", "0")}, {1, match(1, at(2), "6", "0")}},
			incident.Observation{Ranks: "0-1", RankCount: 2, Count: 2, FirstAt: at(1), FirstRank: 0, Evidence: "log#L1", Differs: []string{"seq"}}},
		{"other groups may differ", []said{{0, match(1, at(1), "5", "0")}, {1, match(1, at(2), "6", "1")}},
			incident.Observation{Ranks: "0-1", RankCount: 2, Count: 2, FirstAt: at(1), FirstRank: 0, Evidence: "log#L1"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Signature, tc.want.Role, tc.want.Line = "s", RoleEcho, "line"
			tc.want.Meaning, tc.want.FailureCase, tc.want.Causes, tc.want.Weight = "m", "nccl-failure", of.Causes, 0.4
			for _, reverse := range []bool{false, true} {
				c := NewCollector()
				for i := range tc.said {
					s := tc.said[i]
					if reverse && !strings.Contains(tc.name, "earliest") { // what a rank said first depends on its own order
						s = tc.said[len(tc.said)-1-i]
					}
					c.Add(s.rank, "log", s.m)
				}
				got := c.Observations()
				if len(got) != 1 {
					t.Fatalf("%d observations", len(got))
				}
				got[0].Captures = nil
				if diff := cmp.Diff(tc.want, got[0]); diff != "" {
					t.Errorf("reversed %v (-want +got):\n%s", reverse, diff)
				}
			}
		})
	}
}

// TestCollectorIsShared feeds a thousand ranks at once; the result must not
// depend on who came first, and the quoted line stays short.
func TestCollectorIsShared(t *testing.T) {
	c := NewCollector()
	var all sync.WaitGroup
	for rank := range 1000 {
		all.Go(func() {
			c.Add(rank, "log", Match{Signature: "s", Role: RoleOrigin, Line: 1, Text: strings.Repeat("é", 1000), At: time.Unix(int64(2000-rank), 0), Process: -1})
		})
	}
	all.Wait()
	got := c.Observations()[0]
	if got.Ranks != "0-999" || got.FirstRank != 999 || got.Count != 1000 {
		t.Errorf("got ranks %s, first %d, count %d", got.Ranks, got.FirstRank, got.Count)
	}
	if len(got.Line) > maxQuote || !strings.HasSuffix(got.Line, "é…") {
		t.Errorf("the quoted line has %d bytes and ends with %q", len(got.Line), got.Line[len(got.Line)-6:])
	}
}

// TestCollectorTellsTheStepOfADeath: over the logs of several attempts, after which
// step a rank said something, and in how many of its logs.
func TestCollectorTellsTheStepOfADeath(t *testing.T) {
	collector := NewCollector()
	step := func(n string) Match {
		return Match{Signature: SignatureProgress, Captures: map[string]string{"step": n}}
	}
	died := Match{Signature: "torch-cuda-oom"}
	collector.Add(2, "logs/rank-2.previous.log", step("110"))
	collector.Add(2, "logs/rank-2.previous.log", step("120"))
	collector.Add(2, "logs/rank-2.previous.log", died)
	collector.Add(2, "logs/rank-2.log", step("115"))
	collector.Add(2, "logs/rank-2.log", died)
	collector.Add(3, "logs/rank-3.log", step("130")) // another rank's steps are not this one's
	for _, o := range collector.Observations() {
		if o.Signature == died.Signature && (o.AfterStep != 120 || o.Times != 2) {
			t.Errorf("it is said to have died %d times, after step %d", o.Times, o.AfterStep)
		}
		if o.Signature == SignatureProgress && o.AfterStep != 130 {
			t.Errorf("the last step is %d", o.AfterStep)
		}
	}
}
