package faults

import (
	"fmt"
	"sync"
)

// lobby is where the ranks of each world wait for each other.
type lobby struct {
	mu      sync.Mutex
	waiting map[string]*gathering
}

func newLobby() *lobby { return &lobby{waiting: map[string]*gathering{}} }

// gathering is one attempt of a world to come together. It ends in one of two
// ways: all ranks are there (formed), or rank 0, which keeps the store where
// they meet, goes away (collapsed).
type gathering struct {
	lobby   *lobby
	key     string
	size    int
	members map[int]*process

	hosted    chan struct{} // rank 0 is there
	formed    chan struct{}
	collapsed chan struct{}
	// settled: every rank has come or given up, and some gave up.
	settled chan struct{}
	gaveUp  map[int]bool
	gang    *gang // set before formed is closed
	missed  []int // ranks that rank 0 missed, set before collapsed is closed
}

// key keeps worlds apart, also those of one job whose ranks do not agree on
// its size.
func key(p *process) string {
	return fmt.Sprintf("%s/%s/%d", p.pod.Namespace, p.job, p.world)
}

// of returns the present attempt of a process's world. The caller holds mu.
func (l *lobby) of(p *process) *gathering {
	k := key(p)
	g, ok := l.waiting[k]
	if !ok {
		g = &gathering{
			lobby: l, key: k, size: p.world, members: map[int]*process{}, gaveUp: map[int]bool{},
			hosted: make(chan struct{}), formed: make(chan struct{}), collapsed: make(chan struct{}), settled: make(chan struct{}),
		}
		l.waiting[k] = g
	}
	return g
}

// look returns the present attempt without joining it.
func (l *lobby) look(p *process) *gathering {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(p)
}

// join enters the present attempt; the last rank to come forms the gang.
func (l *lobby) join(p *process) *gathering {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.of(p)
	_, again := g.members[p.rank]
	g.members[p.rank] = p
	delete(g.gaveUp, p.rank)
	if p.rank == 0 && !again {
		close(g.hosted)
	}
	if len(g.members) == g.size {
		g.gang = newGang(g.members)
		delete(l.waiting, g.key)
		close(g.formed)
		return g
	}
	g.settle()
	return g
}

// settle closes settled when nobody is left to wait for. The caller holds mu.
func (g *gathering) settle() {
	if len(g.gaveUp) == 0 || len(g.members)+len(g.gaveUp) < g.size {
		return
	}
	select {
	case <-g.settled:
	default:
		close(g.settled)
	}
}

// leave takes a process out of an attempt that has not formed.
func (g *gathering) leave(p *process) {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	if g.gang != nil || g.members[p.rank] != p {
		return
	}
	_, absent := g.count()
	delete(g.members, p.rank)
	if p.rank == 0 {
		g.missed = absent
		delete(g.lobby.waiting, g.key)
		close(g.collapsed)
	}
}

// giveUp says that a rank will not come in this attempt.
func (g *gathering) giveUp(rank int) {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	if g.members[rank] == nil {
		g.gaveUp[rank] = true
		g.settle()
	}
}

// here counts the ranks that have come, and names those that have not.
func (g *gathering) here() (count int, absent []int) {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	return g.count()
}

// count is here for a caller that holds mu.
func (g *gathering) count() (count int, absent []int) {
	for rank := range g.size {
		if g.members[rank] == nil {
			absent = append(absent, rank)
		}
	}
	return g.size - len(absent), absent
}
