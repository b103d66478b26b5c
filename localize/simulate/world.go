package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"gpumedic/incident"
)

const (
	// Bandwidth of a healthy group in GB/s, and how it varies.
	healthyGBps, spread = 370, 0.06
	// A slow node leaves between these shares.
	slowest, leastSlow = 0.15, 0.5
	// A flaky node fails between these shares of its tests.
	rarest, oftenest = 0.4, 0.8
	// noRun is how many tests cannot be run in the model of that name.
	noRun = 1.0 / 7
)

// Case is one thing to find: a site, a fault model and how noisy tests are.
type Case struct {
	Model string
	Nodes int
	Noise float64
	Seed  uint64
	// Told gives the planner the bandwidth to expect; Prior points at a bad node
	// ("right") or at a good one ("wrong"); "" gives none.
	Told  bool
	Prior string
}

// World is a case come true.
type World struct {
	Case
	Site []incident.Node
	// Bad is what a right verdict names, sorted: "node gpu-0017".
	Bad []string

	faults []fault
	at     map[string]int
	rng    *rand.Rand
}

// fault is one bad part: node numbers, or the name of a leaf.
type fault struct {
	kind  string // hard, slow, flaky, link, uplink, leaf, infra
	a, b  int
	leaf  string
	share float64
}

// Models lists the fault models with as many faults as are played.
func Models() []string {
	return []string{
		"clean", "hard-1", "hard-2", "hard-4", "hard-8", "slow-1", "slow-3", "flaky-1", "flaky-2", "mixed-3",
		"link", "uplink", "leaf", "infra", "norun",
	}
}

// New invents the world of a case; it fails for a model that is not known or
// does not fit the size.
func New(c Case) (*World, error) {
	w := &World{Case: c, Site: site(c.Nodes), at: map[string]int{}, rng: rand.New(rand.NewPCG(c.Seed, uint64(c.Nodes)))}
	for i, node := range w.Site {
		w.at[node.Name] = i
	}
	kind, text, _ := strings.Cut(c.Model, "-")
	count := 1
	if text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1 || 2*count > c.Nodes {
			return nil, fmt.Errorf("fault model %q on %d nodes: want a number of bad nodes that is at most half of them", c.Model, c.Nodes)
		}
	}
	if err := w.invent(kind, count); err != nil {
		return nil, err
	}
	for _, f := range w.faults {
		w.Bad = append(w.Bad, w.name(f))
	}
	slices.Sort(w.Bad)
	return w, nil
}

// site has leafs of about the square root of its size, from 4 to 32 nodes.
func site(nodes int) []incident.Node {
	leaf := min(32, max(4, int(math.Sqrt(float64(nodes)))/4*4))
	list := make([]incident.Node, nodes)
	for i := range list {
		list[i] = incident.Node{
			Name: fmt.Sprintf("gpu-%04d", i), Leaf: fmt.Sprintf("leaf-%03d", i/leaf),
			Rack: fmt.Sprintf("rack-%03d", i/max(4, leaf/2)), Zone: "zone-1",
		}
	}
	return list
}

func (w *World) invent(kind string, count int) error {
	order := w.rng.Perm(w.Nodes)
	switch kind {
	case "clean":
	case "hard", "slow", "flaky":
		for _, node := range order[:count] {
			w.faults = append(w.faults, w.node(kind, node))
		}
	case "mixed":
		for i, node := range order[:count] {
			w.faults = append(w.faults, w.node([]string{"hard", "slow", "flaky"}[i%3], node))
		}
	case "norun":
		w.faults = append(w.faults, w.node("hard", order[0]))
	case "link":
		w.faults = append(w.faults, fault{kind: kind, a: min(order[0], order[1]), b: max(order[0], order[1])})
	case "uplink", "leaf":
		w.faults = append(w.faults, fault{kind: kind, leaf: w.Site[order[0]].Leaf})
	case "infra":
		w.faults = append(w.faults, fault{kind: kind})
	default:
		return fmt.Errorf("no fault model %q", kind)
	}
	return nil
}

func (w *World) node(kind string, node int) fault {
	f := fault{kind: kind, a: node}
	switch kind {
	case "slow":
		f.share = slowest + (leastSlow-slowest)*w.rng.Float64()
	case "flaky":
		f.share = rarest + (oftenest-rarest)*w.rng.Float64()
	}
	return f
}

func (w *World) name(f fault) string {
	switch f.kind {
	case "link":
		return "link " + w.Site[f.a].Name + "<->" + w.Site[f.b].Name
	case "uplink", "leaf":
		return "switch " + f.leaf
	case "infra":
		return "infrastructure *"
	default:
		return "node " + w.Site[f.a].Name
	}
}

// Run answers a round.
func (w *World) Run(groups []incident.Group) []incident.Outcome {
	outcomes := make([]incident.Outcome, len(groups))
	for i, g := range groups {
		outcomes[i] = w.outcome(g)
	}
	return outcomes
}

func (w *World) outcome(g incident.Group) incident.Outcome {
	out := incident.Outcome{ID: g.ID, Nodes: g.Nodes, Result: incident.TestPass}
	if w.Model == "norun" && w.rng.Float64() < noRun {
		out.Result, out.Why = incident.TestError, "no room for a pod"
		return out
	}
	failed, share := w.rng.Float64() < w.Noise, 1.0
	for _, f := range w.faults {
		fails, left := w.strikes(f, g)
		failed, share = failed || fails, min(share, left)
	}
	if failed {
		out.Result = incident.TestFail
		return out
	}
	if len(g.Nodes) > 1 {
		out.BusBWGBps = healthyGBps * share * math.Exp(spread*w.rng.NormFloat64())
	}
	return out
}

// strikes says whether a fault breaks a group's test, and which share of the
// bandwidth it leaves.
func (w *World) strikes(f fault, g incident.Group) (fails bool, left float64) {
	holds := func(node int) bool { return slices.Contains(g.Nodes, w.Site[node].Name) }
	switch f.kind {
	case "hard":
		return holds(f.a), 1
	case "flaky":
		return holds(f.a) && w.rng.Float64() < f.share, 1
	case "slow":
		if holds(f.a) {
			return false, f.share
		}
	case "link":
		return holds(f.a) && holds(f.b), 1
	case "uplink", "leaf":
		inside := 0
		for _, name := range g.Nodes {
			if w.Site[w.at[name]].Leaf == f.leaf {
				inside++
			}
		}
		return inside > 0 && len(g.Nodes) > 1 && (f.kind == "leaf" || inside < len(g.Nodes)), 1
	case "infra":
		return len(g.Nodes) > 1, 1
	}
	return false, 1
}
