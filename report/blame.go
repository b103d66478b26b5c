package report

import (
	"strconv"
	"strings"

	"gpumedic/incident"
)

// blame answers who is at fault, from the record's cause and from the verdict
// of the test before the change.
type blame struct {
	nodes, leaves, ranks map[string]bool
	// tried are nodes that did not arrive at a test or reported an error in it.
	tried map[string]bool
}

func newBlame(rec incident.Record) blame {
	b := blame{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, name := range rec.Blamed.Names {
		b.add(rec.Blamed.Kind, name)
	}
	if rec.CommTest == nil {
		return b
	}
	for _, part := range rec.CommTest.Verdict.Bad {
		b.add(part.Kind, part.ID)
	}
	for _, round := range rec.CommTest.History {
		for _, outcome := range round.Outcomes {
			if outcome.Result != incident.TestFail {
				continue // what could not be run says nothing about nodes
			}
			for _, node := range outcome.FailedNodes {
				b.tried[node] = true
			}
		}
	}
	return b
}

// add marks a part by its kind; a link marks both of its ends.
func (b blame) add(kind, name string) {
	switch kind {
	case "node":
		b.nodes[bare(name)] = true
	case "switch":
		b.leaves[bare(name)] = true
	case "pod", "rank":
		b.ranks[bare(name)] = true
	case "link":
		for end := range strings.SplitSeq(name, "<->") {
			b.nodes[strings.TrimSpace(end)] = true
		}
	}
}

// bare takes "pod/" and a namespace off a name.
func bare(name string) string {
	if at := strings.LastIndexByte(name, '/'); at >= 0 {
		name = name[at+1:]
	}
	return strings.TrimPrefix(name, "rank ")
}

func (b blame) node(name string) bool { return b.nodes[name] }

// machine says whether a node is blamed, or the rack or the NVLink domain it
// is in, which have no row of their own in the picture.
func (b blame) machine(node incident.Node) bool {
	return b.nodes[node.Name] || node.Rack != "" && b.leaves[node.Rack] || node.NVLinkDomain != "" && b.leaves[node.NVLinkDomain]
}

func (b blame) leaf(name string) bool { return b.leaves[name] }

// rank says whether a rank is blamed, be it by index, pod or address.
func (b blame) rank(rank incident.Rank) bool {
	return b.ranks[strconv.Itoa(rank.Index)] && rank.Index >= 0 || b.ranks[rank.Pod] || rank.PodIP != "" && b.ranks[rank.PodIP]
}
