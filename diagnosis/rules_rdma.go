package diagnosis

import (
	"gpumedic/incident"
	"gpumedic/steps"
)

const rdmaCause = "rdma-or-net-plugin-unavailable"

// rdma: the fall-back to TCP is silent, so it is told by three things together:
// the transport that was used, the device that was not requested, and the device
// that the nodes offer. A job may well run, only at a tenth of its speed.
func rdma(f facts, b *board) {
	switch f.transport() {
	case "ib":
		if c := b.find(rdmaCause); c != nil {
			c.object(0.1, incident.TransportUsed, "the ranks use InfiniBand or RoCE all the same")
		}
	case "socket", "mixed":
		overSockets(f, b)
	default:
		transportUntold(f, b)
	}
}

// overSockets weighs why the ranks use TCP.
func overSockets(f facts, b *board) {
	offered := f.state(incident.RDMAOffered)
	if offered == incident.No {
		if c := b.find(rdmaCause); c != nil {
			c.object(0.2, incident.RDMAOffered, "the nodes offer no RDMA device, so TCP is what there is")
		}
		return
	}
	weight := 0.6
	if offered != incident.Yes {
		weight = unasked(f)
	}
	c := b.of(f.FailureCase, rdmaCause)
	c.speak(text, weight, transportEvidence(f), "the ranks talk over TCP sockets: "+transportWhy(f))
	c.accuse(0.5, incident.Blamed{Kind: "config"})
	whySockets(f, c)
	doubts(f, c, incident.RDMAOffered, incident.RDMANotRequested, incident.EnvRDMADisabled)
}

// unasked weighs the logs when nobody could say whether the nodes offer RDMA:
// TCP may be all they have, unless the logs show that RDMA was meant to be used.
func unasked(f facts) float64 {
	_, noDevice := f.observed(signatureNoIBDevice)
	_, wanted := f.observed(signatureRDMAWanted)
	switch {
	case noDevice && wanted:
		return 0.6
	case noDevice || wanted:
		return 0.45
	}
	return 0.35
}

// whySockets names what in the pods' template sends the ranks to TCP.
func whySockets(f facts, c *candidate) {
	offered := f.yes(incident.RDMAOffered)
	switch {
	case f.yes(incident.EnvRDMADisabled):
		for _, finding := range f.all(incident.EnvRDMADisabled) {
			c.speak(cluster, 0.85, finding.ID, "the environment turns RDMA off: "+tell(finding))
			c.accuse(2, incident.Blamed{Kind: "config", Names: names(finding)})
		}
	case f.yes(incident.RDMANotRequested):
		weight := 0.5
		if offered {
			weight = 0.85
		}
		blameTemplate(f, c, weight)
	case offered && f.state(incident.RDMANotRequested) == incident.No:
		c.speak(cluster, 0.3, incident.RDMANotRequested,
			"the pods request the device, so the image's libraries, the locked-memory limit or the adapter's state keep NCCL from it")
	}
}

// blameTemplate accuses the pods' template of not requesting the device.
func blameTemplate(f facts, c *candidate, weight float64) {
	for _, finding := range f.all(incident.RDMANotRequested) {
		c.speak(cluster, weight, finding.ID, tell(finding))
		c.accuse(1+weight, incident.Blamed{Kind: "config", Names: names(finding)})
	}
	for _, finding := range f.all(incident.RDMAOffered) {
		c.speak(cluster, weight, finding.ID, tell(finding))
	}
}

// transportUntold: without NCCL's own words the template alone is a lead.
func transportUntold(f facts, b *board) {
	asks := f.yes(incident.RDMANotRequested) && f.yes(incident.RDMAOffered)
	if !asks && !f.yes(incident.EnvRDMADisabled) {
		return
	}
	c := b.of(f.FailureCase, rdmaCause)
	if asks {
		blameTemplate(f, c, 0.45)
	}
	for _, finding := range f.all(incident.EnvRDMADisabled) {
		c.speak(cluster, 0.45, finding.ID, tell(finding))
		c.accuse(1.4, incident.Blamed{Kind: "config", Names: names(finding)})
	}
	c.object(1, incident.TransportUsed, "no line tells which transport the ranks use; NCCL_DEBUG=INFO would")
	c.wonder(steps.CheckRankLogs)
}

// doubts lowers a candidate by questions that could not be answered.
func doubts(f facts, c *candidate, questions ...string) {
	for _, question := range questions {
		switch f.state(question) {
		case incident.Unknown:
			c.object(unknownDoubt, question, "whether "+words(question)+" could not be asked")
			c.wonder(checkOf(question))
		case notAsked:
			if !f.asked(checkOf(question)) {
				c.wonder(checkOf(question))
			}
		}
	}
}

func transportEvidence(f facts) string {
	if f.yes(incident.TransportUsed) {
		return incident.TransportUsed
	}
	return SignatureSocket
}

func transportWhy(f facts) string {
	if f.yes(incident.TransportUsed) {
		return tell(f.all(incident.TransportUsed)[0])
	}
	o, _ := f.observed(SignatureSocket)
	return quote(f, o)
}
