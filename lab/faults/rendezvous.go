package faults

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// namePoll is how often a name is looked up again that is not there yet.
const namePoll = 50 * time.Millisecond

// meeting is how a rank came to its rendezvous. Gang is nil when it did not
// come about; then Why says how far it came.
type meeting struct {
	gang *gang
	why  failure
	// how is the end of the dial, for unreachable.
	how dial
	// here and absent are what rank 0 knows, for alone and collapsed.
	here   int
	absent []int
}

// failure of a rendezvous.
type failure int

const (
	// The zero value stands for a program that was asked to end.
	_ failure = iota
	// noDNS: no answer of a name server.
	noDNS
	// noName: the name of rank 0 stands for no pod.
	noName
	// noHost: rank 0 was not started.
	noHost
	// unreachable: no connection to rank 0.
	unreachable
	// alone: rank 0 has waited for ranks that did not come.
	alone
	// collapsed: rank 0 went away.
	collapsed
)

// gather brings a rank together with its peers at rank 0's store.
func (m *Model) gather(ctx context.Context, p *process, patience time.Duration) meeting {
	if p.world == 1 {
		return meeting{gang: newGang(map[int]*process{0: p})}
	}
	// Who has come to rank 0 waits for its answer, also when that takes longer
	// than rank 0 can wait for others.
	answer, done := context.WithTimeout(ctx, 2*patience)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	here := m.lobby.look(p)
	if !m.namesAllowed(p.pod) {
		here.giveUp(p.rank)
		return meeting{why: noDNS}
	}
	master, ok := m.awaitName(ctx, p)
	if !ok {
		here.giveUp(p.rank)
		return meeting{why: noName}
	}
	if p.rank == 0 {
		return m.hostStore(ctx, p)
	}
	select {
	case <-here.hosted:
	case <-ctx.Done():
		return meeting{why: noHost}
	}
	if how := m.reach(p.pod, master, p.masterPort()); how != connected {
		here.giveUp(p.rank)
		return meeting{why: unreachable, how: how}
	}
	return m.visitStore(answer, p)
}

func (m *Model) awaitName(ctx context.Context, p *process) (*corev1.Pod, bool) {
	for {
		if pod, ok := m.lookup(p.pod, p.master()); ok {
			return pod, true
		}
		if !pause(ctx, namePoll) {
			return nil, false
		}
	}
}

// hostStore is rank 0's part: it waits for those that can come.
func (m *Model) hostStore(ctx context.Context, p *process) meeting {
	here := m.lobby.join(p)
	defer here.leave(p)
	select {
	case <-here.formed:
		return meeting{gang: here.gang}
	case <-here.settled:
		pause(ctx, m.pace.Notice)
	case <-ctx.Done():
	}
	select {
	case <-here.formed: // at the last moment
		return meeting{gang: here.gang}
	default:
	}
	count, absent := here.here()
	return meeting{why: alone, here: count, absent: absent}
}

func (m *Model) visitStore(ctx context.Context, p *process) meeting {
	here := m.lobby.join(p)
	defer here.leave(p)
	select {
	case <-here.formed:
		return meeting{gang: here.gang}
	case <-here.collapsed:
		return meeting{why: collapsed, absent: here.missed}
	case <-ctx.Done():
		return meeting{why: noHost}
	}
}

// rendezvous is a training's way to its gang, with what PyTorch prints when
// there is none.
func (m *Model) rendezvous(ctx context.Context, p *process) (*gang, bool) {
	met := m.gather(ctx, p, m.pace.Patience)
	if met.gang != nil {
		return met.gang, true
	}
	if ctx.Err() != nil {
		return nil, false
	}
	m.sayNoRendezvous(ctx, p, met)
	return nil, false
}

func (m *Model) sayNoRendezvous(ctx context.Context, p *process, met meeting) {
	const where = `dist.init_process_group("nccl")`
	address := fmt.Sprintf("(%s, %d)", p.master(), p.masterPort())
	timedOut := "The client socket has timed out after 60000ms while trying to connect to " + address + "."
	switch met.why {
	case noDNS:
		m.repeat(ctx, p, "W", "socket.cpp:464", "The IPv6 network addresses of "+address+" cannot be retrieved (gai error: -3 - Temporary failure in name resolution).")
	case noName:
		m.repeat(ctx, p, "W", "socket.cpp:464", "The IPv6 network addresses of "+address+" cannot be retrieved (gai error: -2 - Name or service not known).")
	case unreachable:
		errno, text := met.how.errno()
		m.repeat(ctx, p, "W", "socket.cpp:759", fmt.Sprintf("The client socket has failed to connect to [%s]:%d (errno: %d - %s).", p.master(), p.masterPort(), errno, text))
	case alone:
		p.raise(where, fmt.Sprintf("torch.distributed.DistStoreError: Timed out after 1801 seconds waiting for clients. %d/%d clients joined.", met.here, p.world))
		return
	case collapsed:
		m.c10d(p, "W", "TCPStore.cpp:122", "recvVector failed on SocketImpl(fd=4, addr=[%s]:%d, remote=[%s]:%d): failed to recv, got 0 bytes",
			p.name(), p.port, p.master(), p.masterPort())
		p.raise(where, "torch.distributed.DistNetworkError: failed to recv, got 0 bytes")
		return
	}
	m.c10d(p, "E", "socket.cpp:1019", "%s", timedOut)
	p.raise(where, "torch.distributed.DistNetworkError: "+timedOut)
}

// repeat prints a line as often as somebody who tries again does.
func (m *Model) repeat(ctx context.Context, p *process, letter, place, text string) {
	for range 3 {
		m.c10d(p, letter, place, "%s", text)
		if !pause(ctx, m.pace.Line) {
			return
		}
	}
}
