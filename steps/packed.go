package steps

import (
	"encoding/json"
	"strconv"
	"strings"

	"gpumedic/incident"
)

// A communication test asks its planner again after every round, with all that
// was before; over 64 nodes and ten rounds the same names would fill the
// history. So these two contracts have a form of their own in JSON: nodes by
// place, groups by the places of their nodes in that list, and of the rest what
// the planner reads.

type packedParams struct {
	Incident     string             `json:"incident"`
	Places       []packedPlace      `json:"places"`
	Prior        map[string]float64 `json:"prior,omitempty"`
	ExpectedGBps float64            `json:"expected_busbw_gbps,omitempty"`
	MaxRounds    int                `json:"max_rounds,omitempty"`
	Rounds       []packedRound      `json:"rounds,omitempty"`
}

// packedPlace is neighbours in the list of nodes that share their place.
type packedPlace struct {
	Leaf         string   `json:"leaf,omitempty"`
	Rack         string   `json:"rack,omitempty"`
	Zone         string   `json:"zone,omitempty"`
	NVLinkDomain string   `json:"nvlink_domain,omitempty"`
	Nodes        []string `json:"nodes"`
}

type packedRound struct {
	Number   int             `json:"round"`
	Groups   []PackedGroup   `json:"groups"`
	Outcomes []packedOutcome `json:"outcomes"`
}

// PackedGroup is a group whose nodes are told by their places in a list that
// both sides have, "0-7,12"; Names only where one is not in it.
type PackedGroup struct {
	ID    string   `json:"id"`
	At    string   `json:"at,omitempty"`
	Names []string `json:"names,omitempty"`
}

// packedOutcome leaves out the id of the group in the same place, and an
// expectation that is the one of the whole test.
type packedOutcome struct {
	ID           string              `json:"id,omitempty"`
	Result       incident.TestResult `json:"result"`
	BusBWGBps    float64             `json:"busbw_gbps,omitempty"`
	ExpectedGBps *float64            `json:"expected_gbps,omitempty"`
	FailedNodes  []string            `json:"failed_nodes,omitempty"`
	SlowNodes    []string            `json:"slow_nodes,omitempty"`
	Why          string              `json:"why,omitempty"`
}

// MarshalJSON writes the packed form. Of a node it has name and place, of an
// outcome what it showed; Why only where the test could not be run.
func (p PlanCommTestParams) MarshalJSON() ([]byte, error) {
	packed := packedParams{Incident: p.Incident, Prior: p.Prior, ExpectedGBps: p.ExpectedGBps, MaxRounds: p.MaxRounds}
	at := map[string]int{}
	for i, node := range p.Nodes {
		at[node.Name] = i
		packed.Places = placed(packed.Places, node)
	}
	for _, round := range p.Rounds {
		packed.Rounds = append(packed.Rounds, packRound(round, at, p.ExpectedGBps))
	}
	return json.Marshal(packed)
}

func placed(places []packedPlace, n incident.Node) []packedPlace {
	if last := len(places) - 1; last >= 0 {
		if p := &places[last]; p.Leaf == n.Leaf && p.Rack == n.Rack && p.Zone == n.Zone && p.NVLinkDomain == n.NVLinkDomain {
			p.Nodes = append(p.Nodes, n.Name)
			return places
		}
	}
	return append(places, packedPlace{Leaf: n.Leaf, Rack: n.Rack, Zone: n.Zone, NVLinkDomain: n.NVLinkDomain, Nodes: []string{n.Name}})
}

func packRound(round incident.Round, at map[string]int, expected float64) packedRound {
	packed := packedRound{Number: round.Number}
	for _, group := range round.Groups {
		packed.Groups = append(packed.Groups, packGroup(group, at))
	}
	for i, o := range round.Outcomes {
		out := packedOutcome{
			ID: o.ID, Result: o.Result, BusBWGBps: o.BusBWGBps, FailedNodes: o.FailedNodes, SlowNodes: o.SlowNodes,
		}
		if i < len(round.Groups) && round.Groups[i].ID == o.ID {
			out.ID = ""
		}
		if o.ExpectedGBps != expected {
			out.ExpectedGBps = &o.ExpectedGBps
		}
		if o.Result == incident.TestError {
			out.Why = o.Why
		}
		packed.Outcomes = append(packed.Outcomes, out)
	}
	return packed
}

func packGroup(group incident.Group, at map[string]int) PackedGroup {
	var places []int
	for _, name := range group.Nodes {
		place, known := at[name]
		if !known {
			return PackedGroup{ID: group.ID, Names: group.Nodes}
		}
		places = append(places, place)
	}
	return PackedGroup{ID: group.ID, At: incident.Ranges(places)}
}

// PackGroups tells groups by the places of their nodes.
func PackGroups(groups []incident.Group, nodes []incident.Node) []PackedGroup {
	at := map[string]int{}
	for i, node := range nodes {
		at[node.Name] = i
	}
	var out []PackedGroup
	for _, group := range groups {
		out = append(out, packGroup(group, at))
	}
	return out
}

// UnpackGroups reads what PackGroups wrote, with the same nodes. A place that
// no node has is an Invalid fault.
func UnpackGroups(groups []PackedGroup, nodes []incident.Node) ([]incident.Group, error) {
	var out []incident.Group
	for _, group := range groups {
		places, err := readRuns(group.At, len(nodes))
		if err != nil {
			return nil, err
		}
		unpacked := incident.Group{ID: group.ID, Nodes: group.Names}
		for _, place := range places {
			unpacked.Nodes = append(unpacked.Nodes, nodes[place].Name)
		}
		out = append(out, unpacked)
	}
	return out, nil
}

// UnmarshalJSON reads the packed form.
func (p *PlanCommTestParams) UnmarshalJSON(data []byte) error {
	var packed packedParams
	if err := json.Unmarshal(data, &packed); err != nil {
		return err
	}
	*p = PlanCommTestParams{Incident: packed.Incident, Prior: packed.Prior, ExpectedGBps: packed.ExpectedGBps, MaxRounds: packed.MaxRounds}
	for _, place := range packed.Places {
		for _, name := range place.Nodes {
			p.Nodes = append(p.Nodes, incident.Node{Name: name, Leaf: place.Leaf, Rack: place.Rack, Zone: place.Zone, NVLinkDomain: place.NVLinkDomain})
		}
	}
	for _, round := range packed.Rounds {
		unpacked, err := round.unpack(p.Nodes, p.ExpectedGBps)
		if err != nil {
			return incident.Faultf(incident.Invalid, err, "reading round %d of a communication test", round.Number)
		}
		p.Rounds = append(p.Rounds, unpacked)
	}
	return nil
}

func (r packedRound) unpack(nodes []incident.Node, expected float64) (incident.Round, error) {
	round := incident.Round{Number: r.Number}
	var err error
	if round.Groups, err = UnpackGroups(r.Groups, nodes); err != nil {
		return round, err
	}
	for i, o := range r.Outcomes {
		if o.ID == "" && i < len(r.Groups) {
			o.ID = r.Groups[i].ID
		}
		out := incident.Outcome{
			ID: o.ID, Result: o.Result, BusBWGBps: o.BusBWGBps, ExpectedGBps: expected,
			FailedNodes: o.FailedNodes, SlowNodes: o.SlowNodes, Why: o.Why,
		}
		if o.ExpectedGBps != nil {
			out.ExpectedGBps = *o.ExpectedGBps
		}
		round.Outcomes = append(round.Outcomes, out)
	}
	return round, nil
}

// readRuns reads what runs wrote; every number must be under limit.
func readRuns(text string, limit int) ([]int, error) {
	var out []int
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || first < 0 || last < first || last >= limit {
			return nil, incident.Faultf(incident.Invalid, nil, "reading nodes %q of a list of %d", part, limit)
		}
		for n := first; n <= last; n++ {
			out = append(out, n)
		}
	}
	return out, nil
}
