package steps

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

func TestPlanCommTestParamsSurviveJSON(t *testing.T) {
	p := PlanCommTestParams{Incident: "i", Prior: map[string]float64{"gpu-3": 0.4}, ExpectedGBps: 370, MaxRounds: 12}
	for i := range 12 {
		p.Nodes = append(p.Nodes, incident.Node{Name: fmt.Sprintf("gpu-%d", i), Leaf: fmt.Sprintf("leaf-%d", i/4), Rack: fmt.Sprintf("rack-%d", i/2), Zone: "a", NVLinkDomain: "n"})
	}
	p.Nodes = append(p.Nodes, incident.Node{Name: "gpu-lonely"})
	p.Rounds = []incident.Round{
		{Number: 1, Groups: []incident.Group{{ID: "r1-g1", Nodes: []string{"gpu-0", "gpu-1", "gpu-2", "gpu-7", "gpu-5", "gpu-lonely"}}, {ID: "r1-g2", Nodes: []string{"gpu-3"}}},
			Outcomes: []incident.Outcome{
				{ID: "r1-g1", Result: incident.TestFail, BusBWGBps: 31.5, ExpectedGBps: 370, FailedNodes: []string{"gpu-7"}, SlowNodes: []string{"gpu-5"}},
				{ID: "r1-g2", Result: incident.TestError, Why: "no room"}}},
		{Number: 2, Groups: []incident.Group{{ID: "r2-g1", Nodes: []string{"gpu-0", "a-stranger"}}}},
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var got PlanCommTestParams
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("differs after a round trip (-want +got):\n%s\n%s", diff, data)
	}
	if n := strings.Count(string(data), `"gpu-1"`); n != 1 {
		t.Errorf("a name stands %d times in %s", n, data)
	}
}

// TestPackedNodesAreChecked: a place that no node has is told, not guessed.
func TestPackedNodesAreChecked(t *testing.T) {
	for _, at := range []string{"0-2", "2", "-1", "x", "1-0", "0-", "0,,1"} {
		text := fmt.Sprintf(`{"places":[{"nodes":["a","b"]}],"rounds":[{"round":3,"groups":[{"id":"g","at":%q}]}]}`, at)
		var p PlanCommTestParams
		if err := json.Unmarshal([]byte(text), &p); err == nil || !strings.Contains(err.Error(), "round 3") {
			t.Errorf("%q: got %v, %v", at, p.Rounds, err)
		}
	}
}

func TestRunCommTestResultSurvivesJSON(t *testing.T) {
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	for name, r := range map[string]RunCommTestResult{
		"empty": {},
		"whole": {Outcome: incident.Outcome{ID: "g", Result: incident.TestPass, BusBWGBps: 361, Why: "fine", StartedAt: at, EndedAt: at,
			Points:   []incident.BusBWPoint{{Op: "all_reduce", Bytes: 1, BusBWGBps: 0.5}, {Op: "all_reduce", Bytes: 2, BusBWGBps: 1}, {Op: "all_gather", Bytes: 1, BusBWGBps: 3}, {Op: "all_gather", Bytes: 2, BusBWGBps: 4}, {Op: "sendrecv", Bytes: 1, BusBWGBps: 2}},
			Evidence: []string{"commtest/x/rank-000.log", "commtest/x/rank-001.log"}}, Index: incident.EvidenceRef{Name: "commtest/x/index.json", SHA256: "aa", Bytes: 3}},
		"logs of several folders": {Outcome: incident.Outcome{Evidence: []string{"x/a", "y/b"}}},
		"logs alike":              {Outcome: incident.Outcome{Evidence: []string{"aa", "a", "aaa"}}},
		"one log":                 {Outcome: incident.Outcome{Evidence: []string{"x/rank-0.log"}}},
		"logs of no folder":       {Outcome: incident.Outcome{Evidence: []string{"a", "b"}}},
	} {
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got RunCommTestResult
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s differs after a round trip (-want +got):\n%s", name, diff)
		}
	}
	var old RunCommTestResult
	if err := json.Unmarshal([]byte(`{"outcome":{"id":"g","points":[{"bytes":1,"busbw_gbps":2}],"evidence":["x/a"]}}`), &old); err != nil || len(old.Outcome.Points) != 1 || len(old.Outcome.Evidence) != 1 {
		t.Errorf("the form of earlier builds: %+v, %v", old, err)
	}
}
