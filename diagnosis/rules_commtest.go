package diagnosis

import (
	"fmt"

	"gpumedic/incident"
)

// networkCauses are those that a communication test between the same nodes can
// see.
var networkCauses = []string{
	"network-unreachable-or-port-blocked", "ib-link-error", "roce-gid-or-hca-misconfig", "gpudirect-or-p2p-problem",
}

// commTest is the id under which a communication test stands for or against.
const commTest = "comm-test"

// probe weighs the communication test. Its pods carry the ranks' labels but ask
// for RDMA themselves and start afresh: a pass clears the nodes and the fabric,
// not the job's own template.
func probe(f facts, b *board) {
	if f.CommTest == nil {
		for _, cause := range networkCauses {
			if c := b.find(cause); c != nil {
				c.wonder(commTest)
			}
		}
		return
	}
	verdict := f.CommTest.Verdict
	switch {
	case len(verdict.Bad) > 0:
		for _, part := range verdict.Bad {
			convict(f, b, part)
		}
	case verdict.Clean:
		acquit(f, b)
	default:
		undecided(b, verdict.Why)
	}
}

// convict adds the test's verdict to the network causes that were named, and
// names an unknown one on the part found bad when there are none.
func convict(f facts, b *board, part incident.BadPart) {
	weight := 0.75 * part.Confidence
	blamed := incident.Blamed{Kind: part.Kind, Names: []string{part.ID}}
	why := fmt.Sprintf("the communication test found %s %s bad: %s", part.Kind, part.ID, f.CommTest.Verdict.Why)
	if part.Kind == "infrastructure" {
		blamed = incident.Blamed{}
		why = "nothing that crosses nodes got through the communication test: " + f.CommTest.Verdict.Why
	}
	named := false
	for _, cause := range networkCauses {
		c := b.find(cause)
		if c == nil {
			continue
		}
		named = true
		c.speak(test, weight, commTest, why)
		if blamed.Kind != "" {
			c.accuse(1.5, blamed)
		}
	}
	if !named {
		c := b.of(f.FailureCase, incident.UnknownCause)
		c.speak(test, weight, commTest, why)
		c.accuse(1.5, blamed)
	}
}

// acquit: the nodes can talk, so what remains is the job's own.
func acquit(f facts, b *board) {
	why := "a communication test between the same nodes passed" + bandwidth(f.CommTest)
	for _, cause := range networkCauses {
		if c := b.find(cause); c != nil {
			factor := 0.5
			if c.blamed.Kind == "policy" {
				factor = 0.8 // a policy may select the ranks and not the test's pods
			}
			c.object(factor, commTest, why)
		}
	}
	if c := b.find(rdmaCause); c != nil && overIB(f.CommTest) {
		c.speak(test, 0.5, commTest, why+" over RDMA, so nodes and fabric are good")
	}
}

func undecided(b *board, why string) {
	for _, cause := range networkCauses {
		if c := b.find(cause); c != nil {
			c.object(unknownDoubt, commTest, "the communication test gave no verdict: "+why)
			c.wonder(commTest)
		}
	}
}

func overIB(t *incident.CommTest) bool {
	for _, round := range t.History {
		for _, outcome := range round.Outcomes {
			if outcome.Result == incident.TestPass && outcome.Transport == "IB" {
				return true
			}
		}
	}
	return false
}

// bandwidth quotes the largest group that passed, "" when none measured.
func bandwidth(t *incident.CommTest) string {
	best := incident.Outcome{}
	for _, round := range t.History {
		for _, outcome := range round.Outcomes {
			if outcome.Result == incident.TestPass && len(outcome.Nodes) > len(best.Nodes) {
				best = outcome
			}
		}
	}
	if best.BusBWGBps == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d nodes, %.1f GB/s)", len(best.Nodes), best.BusBWGBps)
}
