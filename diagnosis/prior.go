package diagnosis

import (
	"slices"
	"strconv"
	"strings"

	"gpumedic/incident"
)

// How likely a node is bad before the first test, by what points at it. Modest
// on purpose: logs name who noticed more often than who is at fault, and a
// test finds out either way, with a right guess only sooner.
const (
	priorOrigin   = 0.6 // its rank alone reports a fault of its own adapter or GPU
	priorPeer     = 0.4 // others say that it does not answer
	priorSilent   = 0.3 // its rank said nothing
	priorCalled   = 0.2 // a few cannot reach it over TCP
	priorReporter = 0.1 // its rank reports what another may have caused
	// surest is the weight of a line that leaves no doubt that the fault is its
	// own machine's.
	surest = 0.8
	// crowd is the share of all ranks above which saying the same singles out
	// nobody.
	crowd = 0.25
)

// Prior says how likely each node is bad before a communication test, from
// what was seen: faults that few ranks report of themselves, peers that others
// miss, ranks that are silent, nodes that are not ready. Echoes count for
// nothing. A node that nothing points at has no entry.
func Prior(in Input, placed []incident.Placed) map[string]float64 {
	p := prior{in: in, likely: map[string]float64{}, byRank: map[int]string{}, byName: map[string]string{}}
	for _, place := range placed {
		for _, rank := range ranksIn(place.Ranks) {
			p.byRank[rank], p.ranks = place.Node, append(p.ranks, rank)
		}
		for _, name := range append([]string{place.Node}, place.PodIPs...) {
			p.byName[name] = place.Node
		}
	}
	for _, o := range in.Observations {
		if o.Role == RoleOrigin {
			p.observed(o)
		}
	}
	p.found()
	return p.likely
}

type prior struct {
	in     Input
	likely map[string]float64
	// ranks are the keys of byRank, in the order of their nodes.
	ranks  []int
	byRank map[int]string
	byName map[string]string
}

// suspect raises a node; unknown ones are left out.
func (p *prior) suspect(node string, likely float64) {
	if node != "" {
		p.likely[node] = max(p.likely[node], likely)
	}
}

// hardware is the failure case whose lines a rank writes about its own machine;
// ownFault is the one cause of it that is the program's.
const (
	hardware = "gpu-hardware"
	ownFault = "app-memory-fault-xid"
)

// observed reads one origin line.
func (p *prior) observed(o incident.Observation) {
	if o.Signature == signatureWatchdog {
		p.absent(inRanges(o.Ranks))
		return
	}
	peer := p.byName[address(o.Captures["peer"])]
	if !p.points(o) {
		// Over TCP all ranks call rank 0 first: whom a crowd misses is no suspect.
		if len(o.Causes) > 0 && o.Causes[0] == unreachable && p.few(o.RankCount) {
			p.suspect(peer, priorCalled)
		}
		return
	}
	p.suspect(peer, priorPeer)
	if !p.few(o.RankCount) {
		p.suspect(p.byRank[o.FirstRank], priorReporter)
		return
	}
	likely := priorReporter
	if o.Captures["peer"] == "" {
		likely = max(priorReporter, min(priorOrigin, priorOrigin*o.Weight/surest))
	}
	p.suspectRanks(ranksIn(o.Ranks), likely)
}

// absent suspects the ranks that did not wait in the collective where most did:
// they are those that were waited for.
func (p *prior) absent(waiting map[int]bool) {
	var missing []int
	for _, rank := range p.ranks {
		if !waiting[rank] {
			missing = append(missing, rank)
		}
	}
	if p.few(len(missing)) {
		p.suspectRanks(missing, priorSilent)
	}
}

func (p *prior) suspectRanks(ranks []int, likely float64) {
	for _, rank := range ranks {
		p.suspect(p.byRank[rank], likely)
	}
}

// points says whether a line is about what a communication test can see.
func (p *prior) points(o incident.Observation) bool {
	if len(o.Causes) == 0 {
		return false
	}
	first := o.Causes[0]
	if o.FailureCase == hardware {
		return first != ownFault
	}
	return first != unreachable && slices.Contains(networkCauses, first)
}

// few says whether so many ranks are a minority that singles somebody out.
func (p *prior) few(count int) bool {
	return count == 1 || float64(count) <= crowd*float64(max(p.in.Ranks, len(p.byRank)))
}

// found reads the findings.
func (p *prior) found() {
	for _, finding := range p.in.Findings {
		if finding.State != incident.Yes {
			continue
		}
		switch finding.ID {
		case incident.NodeNotReady:
			for _, name := range names(finding) {
				p.suspect(p.byName[name], priorOrigin)
			}
		case incident.RanksSilent:
			if ranks := ranksIn(strings.Join(names(finding), ",")); p.few(len(ranks)) {
				p.suspectRanks(ranks, priorSilent)
			}
		}
	}
}

// address takes the port off a peer, which NCCL writes as "10.0.0.7<38560>".
func address(peer string) string {
	peer, _, _ = strings.Cut(peer, "<")
	return peer
}

// ranksIn reads what incident.Ranges wrote, in its order.
func ranksIn(list string) []int {
	var out []int
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil {
			continue
		}
		for rank := first; rank <= min(last, maxRank); rank++ {
			out = append(out, rank)
		}
	}
	return out
}
