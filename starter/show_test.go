package main

import (
	"bytes"
	"strings"
	"testing"

	"gpumedic/incident"
	"gpumedic/workflows"
)

// TestShowTellsTheRunningTest: the line of the card and the rounds so far.
func TestShowTellsTheRunningTest(t *testing.T) {
	view := workflows.View{State: "testing", Testing: &incident.CommTest{
		History: []incident.Round{
			{Number: 1, Groups: []incident.Group{{ID: "r1-g1", Nodes: []string{"a", "b", "c", "d"}}}, Outcomes: []incident.Outcome{{ID: "r1-g1", Result: incident.TestFail}}},
			{Number: 2, Groups: []incident.Group{{ID: "r2-g1", Nodes: []string{"a", "b"}}, {ID: "r2-g2", Nodes: []string{"c", "d"}}}},
		},
		Suspects: []incident.Suspect{{Kind: "node", ID: "c", Probability: 0.62}}, Cleared: 1,
	}}
	var out bytes.Buffer
	printView(&out, view, nil)
	for _, want := range []string{
		"testing the network: Round 2: 2 groups over 4 nodes; still suspected: c (62 %); 1 node cleared\n",
		"    1       1      4       0     0       1        0        0\n",
		"    2       2      4       0     0       0        0        2\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	view.Testing.History = nil
	out.Reset()
	printView(&out, view, nil)
	if !strings.Contains(out.String(), "testing the network: planning the first round\n") {
		t.Errorf("before the first round: %s", out.String())
	}
}
