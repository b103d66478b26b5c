package faults

import (
	"context"
	"fmt"
	"math"
	"time"

	"gpumedic/lab/kubelet"
)

const (
	lastStep = 100000
	// stepSeconds and tokensPerStep are what a step over RDMA shows.
	stepSeconds   = 0.412
	tokensPerStep = 40502
	// tcpFactor is how much longer a step takes over TCP.
	tcpFactor = 10
	channels  = 4
	// backward is the line of the program in which the ranks talk.
	backward = "loss.backward()"
	// deathLimit, in GiB, is what a dying rank outgrows.
	deathLimit = 192.0
)

// train plays a training: rendezvous, NCCL's start, then steps without end.
func (m *Model) train(ctx context.Context, p *process) kubelet.Exit {
	g, ok := m.rendezvous(ctx, p)
	if !ok {
		return kubelet.Exit{Code: 1}
	}
	defer g.leave(p.rank)
	if !m.startNCCL(ctx, p, g) {
		return kubelet.Exit{Code: 1}
	}
	return m.steps(ctx, p, g)
}

// startNCCL builds the communicator; false after the exception was printed.
func (m *Model) startNCCL(ctx context.Context, p *process, g *gang) bool {
	const where = "model = DistributedDataParallel(model, device_ids=[0])"
	if last, ok := p.sayBootstrap(); !ok {
		p.raiseNCCL(where, internalError, last)
		return false
	}
	if last, ok := p.sayNetwork(); !ok {
		p.raiseNCCL(where, invalidUsage, last)
		return false
	}
	c := p.comm(p.rank, p.world)
	c.sayStart()
	if !g.meet(ctx, connecting, p.rank) {
		return m.echo(ctx, p, g, where)
	}
	fate := g.connect(m)
	if h, own := fate.blocked[p.rank]; own {
		return m.cannotConnect(ctx, p, g.members[h.peer], h.how, where)
	}
	if len(fate.blocked) > 0 || g.transport() == "" {
		return m.hang(ctx, p, g, where)
	}
	c.sayConnected(g.transport(), channels)
	if len(m.struck(g, AtInit)) > 0 {
		m.fabricFails(ctx, p, g, AtInit, where)
		return false
	}
	return true
}

// cannotConnect prints how a connection was tried in vain.
func (m *Model) cannotConnect(ctx context.Context, p, peer *process, how dial, where string) bool {
	if !pause(ctx, 3*m.pace.Line) {
		return false
	}
	result, last := p.connectFailure(peer, how)
	p.raiseNCCL(where, result, last)
	return false
}

// connectFailure prints NCCL's warning for a connection that failed.
func (p *process) connectFailure(peer *process, how dial) (result ncclResult, last string) {
	result = remoteError
	switch how {
	case dropped:
		last = p.warn("misc/socket.cc:527", "socketPollConnect: exceeded timeouts (%d)", 3)
	case refused:
		p.info("Call to connect returned Connection refused, retrying")
		last = p.warn("misc/socket.cc:518", "socketPollConnect: exceeded retries (%d)", 20000)
	default:
		result = systemError
		errno, text := how.errno()
		last = p.warn("misc/socket.cc:535", "socketPollConnect: Connect to %s<%d> returned %d(%s) errno 115(Operation now in progress)",
			peer.socketAddr(), peer.port, errno, text)
	}
	for _, place := range []string{"misc/socket.cc:570", "misc/socket.cc:622", "bootstrap.cc:589", "bootstrap.cc:666", "init.cc:1462", "group.cc:70"} {
		p.trace(fmt.Sprintf("%s -> %d", place, result.code))
	}
	return result, last
}

// hang waits for peers that never come, until one of them has ended.
func (m *Model) hang(ctx context.Context, p *process, g *gang, where string) bool {
	select {
	case <-g.broken:
		return m.echo(ctx, p, g, where)
	case <-ctx.Done():
		return false
	}
}

// echo prints what a rank sees of the end of another.
func (m *Model) echo(ctx context.Context, p *process, g *gang, where string) bool {
	if !pause(ctx, m.pace.Notice) {
		return false
	}
	p.raiseNCCL(where, remoteError, p.closedBy(g))
	return false
}

// closedBy prints NCCL's warning that a peer is gone, if there ever was a
// connection to it.
func (p *process) closedBy(g *gang) string {
	peer := g.firstGone()
	if peer == nil || g.apart(p.rank, peer.rank) {
		return ""
	}
	last := p.warn("misc/socket.cc:50", "socketProgress: Connection closed by remote peer %s<%d>", peer.name(), peer.port)
	p.trace("misc/socket.cc:57 -> 6", "misc/socket.cc:777 -> 6", "bootstrap.cc:75 -> 6", "proxy.cc:1485 -> 6")
	return last
}

// steps trains until the rank is stopped, dies or loses a peer.
func (m *Model) steps(ctx context.Context, p *process, g *gang) kubelet.Exit {
	defer m.count(p, 0)
	told := m.currentScript().training(p)
	took := m.stepTime(p, g, told)
	m.record(p, told, took)
	if exit, over := m.load(p, told); over {
		return exit
	}
	interval := time.Duration((took.compute + took.data) / stepSeconds * float64(m.pace.Step))
	wait := min(interval, 2*m.pace.Step)
	for step := 1; step <= lastStep; step++ {
		if m.strikes(g, step) {
			return m.fabricFails(ctx, p, g, AtWork, backward)
		}
		if exit, over := m.outgrow(p, told, step); over {
			return exit
		}
		if exit, over := m.awaitStep(ctx, p, g, wait); over {
			return exit
		}
		wait = interval
		p.sayStep(step, took)
		m.count(p, step)
		if death := m.currentScript().deathStep(p.pod.Namespace, p.job, p.rank); death > 0 {
			p.sayMemory(step, death)
			if step >= death {
				return kubelet.Exit{Code: 137, Reason: "OOMKilled"}
			}
		}
	}
	return kubelet.Exit{}
}

// awaitStep waits for the end of a step; over says that there is none.
func (m *Model) awaitStep(ctx context.Context, p *process, g *gang, d time.Duration) (exit kubelet.Exit, over bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return kubelet.Exit{}, false
	case <-ctx.Done():
		return kubelet.Exit{Code: terminated}, true
	case <-g.broken:
	}
	if !pause(ctx, m.pace.Notice) {
		return kubelet.Exit{Code: terminated}, true
	}
	m.lostPeer(p, g)
	return kubelet.Exit{Code: 1}, true
}

// lostPeer prints what the watchdog of a training says when a peer is gone,
// and the exception that ends it.
func (m *Model) lostPeer(p *process, g *gang) { m.watchdog(p, p.closedBy(g), backward) }

// watchdog prints how PyTorch ends a rank whose communicator failed.
func (m *Model) watchdog(p *process, last, where string) {
	p.say("[rank%d]:[E%s ProcessGroupNCCL.cpp:1895] [PG ID 0 PG GUID 0(default_pg) Rank %d] Process group watchdog thread terminated with exception: NCCL error: %s, NCCL version %s",
		p.rank, m.now().UTC().Format("0102 15:04:05.000000000"), p.rank, remoteError.text, ncclVersion)
	p.raiseNCCL(where, remoteError, last)
}

// stepTime is what a step takes, in seconds, and how long of it the rank waits for
// its batch.
type stepTime struct {
	compute, data float64
	// told says that the program logs both.
	told bool
}

func (m *Model) stepTime(p *process, g *gang, t Training) stepTime {
	factor := m.slowdown(g)
	if g.transport() == netSocket && p.world > 1 {
		factor = tcpFactor
	}
	compute := factor * stepSeconds
	return stepTime{compute: compute, data: m.waitForData(p, t.Loader, compute), told: t.Loader.BatchMiB > 0 && !t.Loader.Mute}
}

// sayStep prints a step as training scripts do.
func (p *process) sayStep(step int, t stepTime) {
	vary := 1 + 0.02*noise("step", p.pod.Name, step)
	took := (t.compute + t.data) * vary
	loss := 1.9 + 9*math.Exp(-float64(step)/90) + 0.03*noise("loss", p.job, step)
	if t.told {
		p.say("[rank%d]: step %d/%d loss %.4f time: %.4f data_time: %.4f tokens/s %.0f", p.rank, step, lastStep, loss, took, t.data*vary, tokensPerStep/took)
		return
	}
	p.say("[rank%d]: step %d/%d loss %.4f step_time %.3fs tokens/s %.0f", p.rank, step, lastStep, loss, took, tokensPerStep/took)
}

// sayMemory prints the host memory of a rank that will outgrow it.
func (p *process) sayMemory(step, death int) {
	if left := death - step; left < 4 {
		used := deathLimit - 0.3 - 9.7*float64(left)
		p.say("[rank%d]: host memory %.1f GiB of %.1f GiB (data loader cache %.1f GiB)", p.rank, used, deathLimit, used-41.5)
	}
}

// count notes how far a rank is; 0 takes it out.
func (m *Model) count(p *process, step int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	job := p.pod.Namespace + "/" + p.job
	if step == 0 {
		delete(m.training[job], p.rank)
		return
	}
	if m.training[job] == nil {
		m.training[job] = map[int]int{}
	}
	m.training[job][p.rank] = step
}
