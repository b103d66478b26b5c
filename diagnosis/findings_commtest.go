package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// testQuestions are what a communication test answers, by the kind of part that
// it may find bad.
var testQuestions = []struct{ kind, question string }{
	{"node", incident.CommTestNodeBad}, {"link", incident.CommTestLinkBad}, {"switch", incident.CommTestSwitchBad},
	{"infrastructure", incident.CommTestInfrastructure},
}

// TestFindings turns a test's verdict into findings, one for each part that was
// found bad and one for each question that got a no. A verdict that is
// inconclusive answers nothing: then all of them are unknown.
func TestFindings(t incident.CommTest) []incident.Finding {
	v := t.Verdict
	var out []incident.Finding
	for _, q := range testQuestions {
		bad := badOf(v, q.kind)
		for _, part := range bad {
			out = append(out, incident.Finding{
				ID: q.question, Check: commTest, State: incident.Yes, Subject: part.Kind + "/" + part.ID,
				Value: valueOf(t, part), Why: v.Why, Evidence: evidenceOf(t, part),
			})
		}
		if len(bad) == 0 {
			out = append(out, incident.Finding{ID: q.question, Check: commTest, State: stateOf(v, false), Subject: q.kind + "/*", Why: v.Why})
		}
	}
	return append(out, incident.Finding{ID: incident.CommTestClean, Check: commTest, State: stateOf(v, v.Clean), Subject: "node/*", Why: v.Why})
}

// stateOf is a yes or no where there is a verdict, and unknown without one.
func stateOf(v incident.Verdict, yes bool) incident.State {
	switch {
	case len(v.Bad) == 0 && !v.Clean:
		return incident.Unknown
	case yes:
		return incident.Yes
	}
	return incident.No
}

func badOf(v incident.Verdict, kind string) []incident.BadPart {
	return slices.DeleteFunc(slices.Clone(v.Bad), func(part incident.BadPart) bool { return part.Kind != kind })
}

func valueOf(t incident.CommTest, part incident.BadPart) string {
	value := fmt.Sprintf("confidence %.2f", part.Confidence)
	if slow(t, part) {
		value = "slow, " + value
	}
	return value
}

// about lists the answered tests that a part took part in.
func about(t incident.CommTest, part incident.BadPart) []incident.Outcome {
	ends := strings.Split(part.ID, "<->")
	var out []incident.Outcome
	for _, round := range t.History {
		for _, o := range round.Outcomes {
			nodes := members(round, o)
			all := !slices.ContainsFunc(ends, func(end string) bool { return !slices.Contains(nodes, end) })
			if all && o.Result != incident.TestError {
				o.Nodes = nodes
				out = append(out, o)
			}
		}
	}
	return out
}

// members are an outcome's nodes, by its group where it names none.
func members(round incident.Round, o incident.Outcome) []string {
	if len(o.Nodes) > 0 {
		return o.Nodes
	}
	for _, group := range round.Groups {
		if group.ID == o.ID {
			return group.Nodes
		}
	}
	return nil
}

// slow says that a part was found bad although every test it was in ran to its
// end without an error of its own: then bandwidth convicted it.
func slow(t incident.CommTest, part incident.BadPart) bool {
	tests := about(t, part)
	for _, o := range tests {
		if o.BusBWGBps == 0 || slices.Contains(o.FailedNodes, part.ID) {
			return false
		}
	}
	return len(tests) > 0
}

// failsAlone says that a node's test by itself failed: no network is in it.
func failsAlone(t incident.CommTest, part incident.BadPart) bool {
	return part.Kind == "node" && slices.ContainsFunc(about(t, part), func(o incident.Outcome) bool {
		return len(o.Nodes) == 1 && o.Result == incident.TestFail
	})
}

// evidenceOf names where a few of the failed tests of a part can be read.
func evidenceOf(t incident.CommTest, part incident.BadPart) []string {
	const enough = 3
	var out []string
	for _, o := range about(t, part) {
		if o.Result == incident.TestFail && len(o.Evidence) > 0 && len(out) < enough {
			out = append(out, o.Evidence[0])
		}
	}
	return out
}
