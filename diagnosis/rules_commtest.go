package diagnosis

import (
	"fmt"
	"strings"

	"gpumedic/incident"
)

const (
	unreachable = "network-unreachable-or-port-blocked"
	linkError   = "ib-link-error"
)

// networkCauses are those that a communication test between the same nodes can
// see.
var networkCauses = []string{unreachable, linkError, "roce-gid-or-hca-misconfig", "gpudirect-or-p2p-problem"}

// commTest is the id under which a communication test stands for or against.
const commTest = "comm-test"

// proved is the blame of what a test found: more than any line or object says.
const proved = 3

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
	infrastructure := badOf(verdict, "infrastructure")
	switch {
	case len(infrastructure) > 0:
		nothingCrosses(f, b, infrastructure[0])
	case len(verdict.Bad) > 0:
		convict(f, b)
	case verdict.Clean:
		acquit(f, b)
	default:
		undecided(b, verdict.Why)
	}
}

// convict names the parts that the test found bad, all of them: as a fault of
// links and adapters, and under a network cause that the logs or the cluster
// made likely by themselves. What such a part makes appear elsewhere is
// explained by it.
func convict(f facts, b *board) {
	bad := f.CommTest.Verdict.Bad
	weight := 0.85 * bad[0].Confidence
	likely := map[*candidate]bool{b.of(communication, linkError): true}
	for _, cause := range networkCauses {
		// A policy blocks whom it selects; it does not single out a part.
		if c := b.find(cause); c != nil && c.confidence() >= sure && c.blamed.Kind != "policy" {
			likely[c] = true
		}
	}
	for _, cause := range networkCauses {
		c := b.find(cause)
		switch {
		case c == nil || c.blamed.Kind == "policy":
		case likely[c]:
			c.prove(f, weight)
		default: // a word of it in the logs is no reason to prefer it
			c.prove(f, weight/2)
		}
	}
	explained(f, b)
}

// prove lets the test speak for a cause and names all bad parts.
func (c *candidate) prove(f facts, weight float64) {
	bad := f.CommTest.Verdict.Bad
	for _, part := range bad {
		c.speak(test, weight, commTest, sentenceOn(f, part))
	}
	c.accuse(proved, blamedBy(bad))
}

// explained lowers what a bad part makes appear at the other ranks.
func explained(f facts, b *board) {
	if rankKilled(f) {
		return
	}
	for _, cause := range []string{stragglerCause, "peer-process-died", "rendezvous-or-launcher-unreachable"} {
		if c := b.find(cause); c != nil {
			c.object(0.5, commTest, "a part that the communication test found bad explains this too")
		}
	}
}

// blamedBy names all bad parts of the kind of the first.
func blamedBy(bad []incident.BadPart) incident.Blamed {
	blamed := incident.Blamed{Kind: bad[0].Kind}
	for _, part := range bad {
		if part.Kind == blamed.Kind {
			blamed.Names = add(blamed.Names, part.ID)
		}
	}
	return blamed
}

// sentenceOn tells what the test found about one part.
func sentenceOn(f facts, part incident.BadPart) string {
	what := "bad"
	if slow(*f.CommTest, part) {
		what = "slow: tests with it end, at far less than the expected bandwidth"
	}
	why := fmt.Sprintf("the communication test found %s %s %s: %s", part.Kind, part.ID, what, f.CommTest.Verdict.Why)
	if failsAlone(*f.CommTest, part) {
		why = strings.TrimSuffix(why, ".") + "; its test by itself fails too, so look at its GPUs and NVLink (gpu-hardware) before its network"
	}
	return why
}

// crossing are the causes, beyond those of the network, that keep everything
// that crosses nodes from working; a finding or a line must name them. What only
// the job's own template can get wrong is not among them: the test's pods have
// one of their own.
var crossing = []string{"rendezvous-or-launcher-unreachable", "library-version-mismatch-or-bug"}

// nothingCrosses: what every node has in common is at fault, so no node is
// blamed. The causes that were named get the weight of the test.
func nothingCrosses(f facts, b *board, part incident.BadPart) {
	weight := 0.75 * part.Confidence
	why := "nothing that crosses nodes got through the communication test: " + f.CommTest.Verdict.Why
	named := false
	for _, cause := range networkCauses {
		if c := b.find(cause); c != nil {
			named = true
			c.speak(test, weight, commTest, why)
		}
	}
	// Records of builds that did not ask again have no such finding; what was
	// concluded from them stays.
	if f.yes(incident.CommTestInfrastructure) {
		for _, cause := range crossing {
			if c := b.find(cause); c != nil && c.support[cluster]+c.support[text] > 0.3 {
				named = true
				c.speak(test, 0.6*weight, commTest, why)
			}
		}
	}
	if !named {
		c := b.of(f.FailureCase, incident.UnknownCause)
		c.speak(test, weight, commTest, why)
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
