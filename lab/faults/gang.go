package faults

import (
	"context"
	"slices"
	"sync"
)

// stage is a point where the ranks of a gang wait for each other.
type stage string

const (
	// connecting: all ranks are about to open their connections.
	connecting stage = "connecting"
	// started: all ranks have started NCCL.
	started stage = "started"
	// finished: all ranks have done their part.
	finished stage = "finished"
)

// gang is a world that has met: all its ranks run at the same time.
type gang struct {
	members []*process // by rank

	mu     sync.Mutex
	stages map[stage]*barrier
	gone   []int         // ranks that ended, in order
	broken chan struct{} // the first has ended

	fate *fate // nil until decided
}

type barrier struct {
	arrived map[int]bool
	open    chan struct{}
}

func newGang(members map[int]*process) *gang {
	g := &gang{stages: map[stage]*barrier{}, broken: make(chan struct{})}
	for rank := range len(members) {
		g.members = append(g.members, members[rank])
	}
	return g
}

// meet waits until every rank has come to the stage. False means that it will
// never be: a rank has ended, or ctx has.
func (g *gang) meet(ctx context.Context, s stage, rank int) bool {
	b := g.arrive(s, rank)
	select {
	case <-b.open:
		return true
	case <-g.broken:
	case <-ctx.Done():
	}
	select {
	case <-b.open: // all were there, and whoever went has gone since
		return true
	default:
		return false
	}
}

func (g *gang) arrive(s stage, rank int) *barrier {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.stages[s]
	if !ok {
		b = &barrier{arrived: map[int]bool{}, open: make(chan struct{})}
		g.stages[s] = b
	}
	b.arrived[rank] = true
	if len(b.arrived) == len(g.members) {
		close(b.open)
	}
	return b
}

// leave says that a rank has ended, well or not, or has closed its connections
// because it is about to.
func (g *gang) leave(rank int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(g.gone, rank) {
		return
	}
	g.gone = append(g.gone, rank)
	if len(g.gone) == 1 {
		close(g.broken)
	}
}

// firstGone is the rank that ended before all others, nil while none has.
func (g *gang) firstGone() *process {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.gone) == 0 {
		return nil
	}
	return g.members[g.gone[0]]
}

// transport is what the ranks' networks come to: one name, or "" when the
// ranks differ, and then nothing ever arrives.
func (g *gang) transport() string {
	name, _ := g.members[0].network()
	for _, p := range g.members {
		if other, _ := p.network(); other != name {
			return ""
		}
	}
	return name
}

// hop is a connection that a rank could not open.
type hop struct {
	peer int
	how  dial
}

// fate is what the network holds for a gang, decided when it connects.
type fate struct {
	// blocked has, for the ranks that see it themselves, the first connection
	// that fails in NCCL's order; the others only wait.
	blocked map[int]hop
	// mesh has every connection that a rank cannot open.
	mesh map[int][]hop
}

// connect decides the gang's fate; who asks later gets the same answer.
func (g *gang) connect(m *Model) fate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fate == nil {
		mesh := g.tryAll(m)
		g.fate = &fate{mesh: mesh, blocked: firstFailures(mesh, len(g.members))}
	}
	return *g.fate
}

// apart says that neither of two ranks could connect to the other.
func (g *gang) apart(a, b int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fate == nil {
		return true
	}
	misses := func(from, to int) bool {
		return slices.ContainsFunc(g.fate.mesh[from], func(h hop) bool { return h.peer == to })
	}
	return misses(a, b) && misses(b, a)
}

func (g *gang) tryAll(m *Model) map[int][]hop {
	mesh := map[int][]hop{}
	for rank, from := range g.members {
		for peer, to := range g.members {
			how := m.reach(from.pod, to.pod, to.port)
			if how == connected && rank != peer && to.loopback() {
				how = refused
			}
			if how != connected {
				mesh[rank] = append(mesh[rank], hop{peer: peer, how: how})
			}
		}
	}
	return mesh
}

// firstFailures follows the order in which NCCL connects: every rank reports
// to rank 0, rank 0 answers every rank, then the ranks connect among
// themselves, next neighbour first. The first stage that fails is the last.
func firstFailures(mesh map[int][]hop, ranks int) map[int]hop {
	toRoot, among := map[int]hop{}, map[int]hop{}
	for rank := range ranks {
		for i, h := range mesh[rank] {
			if rank != 0 && h.peer == 0 {
				toRoot[rank] = h
			}
			best, known := among[rank]
			if i == 0 || !known || distance(rank, h.peer, ranks) < distance(rank, best.peer, ranks) {
				among[rank] = h
			}
		}
	}
	if len(toRoot) > 0 {
		return toRoot
	}
	if first := mesh[0]; len(first) > 0 {
		return map[int]hop{0: first[0]}
	}
	return among
}

func distance(from, to, ranks int) int { return (to - from + ranks) % ranks }
