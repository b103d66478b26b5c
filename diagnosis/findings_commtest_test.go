package diagnosis

import (
	"testing"

	"gpumedic/incident"
)

// judged is a test of two rounds with the given verdict.
func judged(v incident.Verdict, outcomes ...incident.Outcome) incident.CommTest {
	return incident.CommTest{Verdict: v, History: []incident.Round{{
		Number: 1, Groups: []incident.Group{{ID: "g1", Nodes: []string{"a", "b"}}, {ID: "g2", Nodes: []string{"c"}}}, Outcomes: outcomes,
	}}}
}

func TestTestFindings(t *testing.T) {
	fail := func(id string, busbw float64, named ...string) incident.Outcome {
		return incident.Outcome{ID: id, Result: incident.TestFail, BusBWGBps: busbw, FailedNodes: named, Evidence: []string{"commtest/" + id + "/rank-000.log"}}
	}
	bad := func(parts ...incident.BadPart) incident.Verdict { return incident.Verdict{Bad: parts, Why: "why"} }
	node := incident.BadPart{Kind: "node", ID: "a", Confidence: 0.99}
	tests := map[string]struct {
		test incident.CommTest
		want map[string]incident.State
		says string // subject and value of the first yes
	}{
		"a node": {judged(bad(node), fail("g1", 0)), map[string]incident.State{
			"comm-test-node-bad": "yes", "comm-test-link-bad": "no", "comm-test-switch-bad": "no", "comm-test-infrastructure": "no", "comm-test-clean": "no",
		}, "node/a confidence 0.99"},
		"a slow node":                 {judged(bad(node), fail("g1", 30)), map[string]incident.State{"comm-test-node-bad": "yes"}, "node/a slow, confidence 0.99"},
		"a node whose sums are wrong": {judged(bad(node), fail("g1", 300, "a")), map[string]incident.State{"comm-test-node-bad": "yes"}, "node/a confidence 0.99"},
		"a link":                      {judged(bad(incident.BadPart{Kind: "link", ID: "a<->b", Confidence: 0.9}), fail("g1", 0)), map[string]incident.State{"comm-test-link-bad": "yes", "comm-test-node-bad": "no"}, "link/a<->b confidence 0.90"},
		"everything":                  {judged(bad(incident.BadPart{Kind: "infrastructure", ID: "*", Confidence: 0.9})), map[string]incident.State{"comm-test-infrastructure": "yes", "comm-test-node-bad": "no", "comm-test-clean": "no"}, "infrastructure/* confidence 0.90"},
		"clean": {judged(incident.Verdict{Clean: true}), map[string]incident.State{
			"comm-test-node-bad": "no", "comm-test-link-bad": "no", "comm-test-switch-bad": "no", "comm-test-infrastructure": "no", "comm-test-clean": "yes",
		}, "node/* "},
		"inconclusive": {judged(incident.Verdict{Inconclusive: true, Why: "the budget is spent"}), map[string]incident.State{
			"comm-test-node-bad": "unknown", "comm-test-link-bad": "unknown", "comm-test-switch-bad": "unknown", "comm-test-infrastructure": "unknown", "comm-test-clean": "unknown",
		}, ""},
		"no verdict at all": {judged(incident.Verdict{}), map[string]incident.State{"comm-test-node-bad": "unknown", "comm-test-clean": "unknown"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, says := map[string]incident.State{}, ""
			for _, finding := range TestFindings(test.test) {
				got[finding.ID] = finding.State
				if finding.State == incident.Yes && says == "" {
					says = finding.Subject + " " + finding.Value
				}
			}
			for id, want := range test.want {
				if got[id] != want {
					t.Errorf("%s is %q, want %q", id, got[id], want)
				}
			}
			if len(got) != 5 || says != test.says {
				t.Errorf("%d questions, first yes %q, want %q", len(got), says, test.says)
			}
		})
	}
}

// TestAllBadPartsAreFindings: each part that was convicted has a finding of its
// own, with the evidence of its failed tests.
func TestAllBadPartsAreFindings(t *testing.T) {
	v := incident.Verdict{Bad: []incident.BadPart{{Kind: "node", ID: "a", Confidence: 0.97}, {Kind: "node", ID: "c", Confidence: 0.97}}}
	test := judged(v,
		incident.Outcome{ID: "g1", Result: incident.TestFail, Evidence: []string{"one.log", "two.log"}},
		incident.Outcome{ID: "g2", Result: incident.TestFail, Evidence: []string{"three.log"}})
	evidence := map[string][]string{}
	for _, finding := range TestFindings(test) {
		if finding.State == incident.Yes {
			evidence[finding.Subject] = finding.Evidence
		}
	}
	if len(evidence) != 2 || evidence["node/a"][0] != "one.log" || evidence["node/c"][0] != "three.log" {
		t.Errorf("findings %v", evidence)
	}
	if !failsAlone(test, v.Bad[1]) || failsAlone(test, v.Bad[0]) {
		t.Error("the test of a node by itself is not told apart")
	}
}
