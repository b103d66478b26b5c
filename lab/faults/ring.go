package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gpumedic/lab/kubelet"
)

// hardStep is the step of a training in which a hard fault strikes AtWork; a
// flaky one strikes in one of the flakySteps from there on.
const (
	hardStep   = 3
	flakySteps = 6
)

// overRDMA says whether the gang's ranks use the fabric at all.
func (g *gang) overRDMA() bool { return len(g.members) > 1 && g.transport() == netIB }

// next is the rank that p sends to: NCCL's rings go through the pods in their
// order.
func (g *gang) next(p *process) *process { return g.members[(p.rank+1)%len(g.members)] }

// run names what a gang does the same way whenever the lab plays it. Test jobs
// are named by their incident and the second of its opening, then by purpose,
// round and group within the round; only the latter count.
func (g *gang) run() string {
	first := g.members[0]
	if first.pod.Labels[TestLabel] != "true" {
		return fmt.Sprintf("%s/%d", first.job, first.restart)
	}
	parts := strings.Split(first.job, "-")
	return strings.Join(parts[max(0, len(parts)-2):], "-")
}

// draw gives a number from 0 to below 1, the same for the same node and run.
func draw(node, run string) float64 { return float64(hash("flaky", node, run)>>11) / (1 << 53) }

// fails says whether a fault keeps this gang's traffic from a node in a phase.
func (f NodeFault) fails(g *gang, phase string) bool {
	at := f.Phase
	if at == "" {
		at = AtInit
	}
	training := g.members[0].pod.Labels[TestLabel] != "true"
	switch f.Kind {
	case Hard:
		return at == phase
	case Flaky:
		if training {
			return phase == AtWork
		}
		return at == phase && draw(f.Node, g.run()) < f.Share
	}
	return false
}

// down says whether nothing gets from one node to another.
func (m *Model) down(s Script, g *gang, from, to, phase string) bool {
	if from == to {
		return false
	}
	for _, f := range s.NodeFaults {
		if (f.Node == from || f.Node == to) && f.fails(g, phase) {
			return true
		}
	}
	if phase != AtInit { // what no packet passes shows at the first exchange
		return false
	}
	joins := func(l Link) bool { return l.joins(from, to) }
	crosses := func(leaf string) bool { return (m.view.leaf(from) == leaf) != (m.view.leaf(to) == leaf) }
	return slices.ContainsFunc(s.Links, joins) || slices.ContainsFunc(s.LeafUplinks, crosses)
}

// struck lists the ranks that see in a phase that what they send to the next
// rank does not arrive; none when all is well. A node with a silent fault
// says nothing, unless nobody else would.
func (m *Model) struck(g *gang, phase string) []int {
	script := m.currentScript()
	if !g.overRDMA() || len(script.NodeFaults)+len(script.LeafUplinks)+len(script.Links) == 0 {
		return nil
	}
	var all, heard []int
	for _, p := range g.members {
		from := p.pod.Spec.NodeName
		if !m.down(script, g, from, g.next(p).pod.Spec.NodeName, phase) {
			continue
		}
		all = append(all, p.rank)
		if !slices.ContainsFunc(script.NodeFaults, func(f NodeFault) bool { return f.Node == from && f.Silent && f.fails(g, phase) }) {
			heard = append(heard, p.rank)
		}
	}
	if len(heard) == 0 {
		return all
	}
	return heard
}

// strikes says whether the fabric fails a training in a step.
func (m *Model) strikes(g *gang, step int) bool {
	for _, f := range m.currentScript().NodeFaults {
		strike := hardStep
		if f.Kind == Flaky {
			strike += int(hash("step", f.Node, g.run()) % flakySteps)
		}
		if step == strike && f.fails(g, AtWork) && len(m.struck(g, AtWork)) > 0 {
			return true
		}
	}
	return false
}

// slowdown is how many times longer everything takes because of the slowest
// node of the gang, 1 when none is slow.
func (m *Model) slowdown(g *gang) float64 {
	factor := 1.0
	if !g.overRDMA() {
		return factor
	}
	for _, p := range g.members {
		factor = max(factor, m.slowness(p.pod.Spec.NodeName, false))
	}
	return factor
}

// slowness is how many times slower a node is: its adapters or, with own, what
// it does by itself.
func (m *Model) slowness(node string, own bool) float64 {
	for _, f := range m.currentScript().NodeFaults {
		if f.Kind == Slow && f.Node == node && (f.OwnWork || !own) {
			return 1 / f.Share
		}
	}
	return 1
}

// noAnswer prints NCCL's warnings for what the next rank's adapter does not
// acknowledge; where the port is the rank's own, the adapter says so before.
func (m *Model) noAnswer(p *process, g *gang) (last string) {
	peer := g.next(p)
	for _, f := range m.currentScript().NodeFaults {
		if f.Node == p.pod.Spec.NodeName && f.Kind != Slow && !f.Silent {
			p.warn("transport/net_ib.cc:93", "NET/IB : mlx5_0:1 Got async error event: port error")
		}
	}
	last = p.warn("transport/net_ib.cc:1820", "NET/IB : Got completion from peer %s<%d> with status=12 opcode=0 len=0 vendor err 129 (Send) localGid ::ffff:%s remoteGids::ffff:%s hca mlx5_0",
		peer.addr, peer.port, p.addr, peer.addr)
	p.trace("transport/net.cc:1247 -> 6", "proxy.cc:729 -> 6", "proxy.cc:909 -> 6")
	return last
}

// fabricFails is the end of a training rank when the fabric strikes: those that
// see it themselves say so, the others see that these have gone.
func (m *Model) fabricFails(ctx context.Context, p *process, g *gang, phase, where string) kubelet.Exit {
	if !slices.Contains(m.struck(g, phase), p.rank) {
		select {
		case <-g.broken:
		case <-ctx.Done():
			return kubelet.Exit{Code: terminated}
		}
		if pause(ctx, m.pace.Notice) {
			m.watchdog(p, p.closedBy(g), where)
		}
		return kubelet.Exit{Code: 1}
	}
	if pause(ctx, 2*m.pace.Line) {
		m.watchdog(p, m.noAnswer(p, g), where)
	}
	// The communicator is aborted before the process has torn itself down, so
	// that the ranks end together.
	g.leave(p.rank)
	pause(ctx, m.pace.Notice)
	return kubelet.Exit{Code: 1}
}
