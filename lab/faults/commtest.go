package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gpumedic/lab/kubelet"
)

const (
	device = "NVIDIA H100 80GB HBM3"
	// meetWithin and runWithin are the program's own bounds when the
	// environment sets none.
	meetWithin = 60 * time.Second
	runWithin  = 120 * time.Second
	// Phases of error events.
	meetPhase = "rendezvous"
	initPhase = AtInit
	workPhase = AtWork
)

// event is one JSON line of the communication test.
type event struct {
	Event     string  `json:"event"`
	Rank      *int    `json:"rank,omitempty"`
	Local     *int    `json:"local,omitempty"`
	World     int     `json:"world,omitempty"`
	Procs     int     `json:"procs,omitempty"`
	Host      string  `json:"host,omitempty"`
	Backend   string  `json:"backend,omitempty"`
	Torch     string  `json:"torch,omitempty"`
	NCCL      string  `json:"nccl,omitempty"`
	Device    string  `json:"device,omitempty"`
	Simulated bool    `json:"simulated,omitempty"`
	Op        string  `json:"op,omitempty"`
	Bytes     int64   `json:"bytes,omitempty"`
	TimeMS    float64 `json:"time_ms,omitempty"`
	AlgBW     float64 `json:"algbw_gbps,omitempty"`
	BusBW     float64 `json:"busbw_gbps,omitempty"`
	Wrong     *int    `json:"wrong,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
	*ownTimes
	OK       bool   `json:"ok,omitempty"`
	Phase    string `json:"phase,omitempty"`
	Missing  []int  `json:"missing,omitempty"`
	Echo     bool   `json:"echo,omitempty"`
	TimedOut bool   `json:"timed_out,omitempty"`
	Entered  *int   `json:"entered,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

func (p *process) emit(e event) {
	text, err := json.Marshal(e)
	if err != nil { // plain data without maps, channels or functions
		p.say("event %s: %v", e.Event, err)
		return
	}
	line(p.out, string(text))
}

// trouble prints an error event and gives the exit that follows it.
func (p *process) trouble(e event) kubelet.Exit {
	e.Event, e.Rank = "error", &p.rank
	p.emit(e)
	return kubelet.Exit{Code: 1}
}

// commTest plays the communication test: check-in at rank 0, connections
// between all ranks, NCCL's start, the sweep.
func (m *Model) commTest(ctx context.Context, p *process) kubelet.Exit {
	p.emit(event{
		Event: "start", Rank: &p.rank, World: p.world, Procs: p.procs(), Host: p.node(), Backend: p.backend(),
		Torch: torchVersion, NCCL: p.testNCCL(), Device: p.device(), Simulated: true,
	})
	patience := p.seconds("COMMTEST_MEET_SECONDS", meetWithin)
	met := m.gather(ctx, p, patience)
	if met.gang == nil {
		pause(ctx, 2*m.pace.Line)
		return p.trouble(p.notMet(met, patience))
	}
	g := met.gang
	defer g.leave(p.rank)
	if !g.meet(ctx, connecting, p.rank) {
		return p.lost(g, initPhase)
	}
	if e, bad := m.meshTrouble(p, g); bad {
		pause(ctx, 2*m.pace.Line)
		return p.trouble(e)
	}
	if exit, ok := m.testNetwork(ctx, p, g); !ok {
		return exit
	}
	if exit, ok := m.sweep(ctx, p, g); !ok {
		return exit
	}
	if !g.meet(ctx, finished, p.rank) {
		return p.lost(g, workPhase)
	}
	m.sayEnd(p, g)
	return kubelet.Exit{}
}

// notMet says why a rank met nobody, as the test's own program words it.
func (p *process) notMet(met meeting, patience time.Duration) event {
	e := event{Phase: meetPhase, Missing: []int{0}}
	rank0 := fmt.Sprintf("rank 0 at %s:%d: ", p.master(), p.masterPort())
	switch met.why {
	case noDNS:
		e.Detail = rank0 + "gaierror: [Errno -3] Temporary failure in name resolution"
	case noName:
		e.Detail = rank0 + "gaierror: [Errno -2] Name or service not known"
	case unreachable:
		e.Detail = rank0 + met.how.python()
	case alone:
		e.Missing = met.absent
		e.Detail = fmt.Sprintf("waited %.0f s at port %d", patience.Seconds(), p.masterPort())
	case collapsed:
		e.Missing, e.Echo, e.Detail = met.absent, true, "rank 0 says so"
	default:
		e.Detail = rank0 + "TimeoutError: timed out"
	}
	return e
}

// python is the exception in which a dial ends.
func (d dial) python() string {
	if d == dropped {
		return "TimeoutError: timed out"
	}
	errno, text := d.errno()
	if d == refused {
		return fmt.Sprintf("ConnectionRefusedError: [Errno %d] %s", errno, text)
	}
	return fmt.Sprintf("OSError: [Errno %d] %s", errno, text)
}

// meshTrouble is what a rank says when the ranks do not all reach each other:
// whom it did not reach itself, or that others did not.
func (m *Model) meshTrouble(p *process, g *gang) (event, bool) {
	mesh := g.connect(m).mesh
	if len(mesh) == 0 {
		return event{}, false
	}
	own := mesh[p.rank]
	if len(own) == 0 {
		return event{Phase: initPhase, Echo: true, Detail: "other ranks did not reach each other"}, true
	}
	e := event{Phase: initPhase}
	var reasons []string
	for _, h := range own {
		peer := g.members[h.peer]
		e.Missing = append(e.Missing, h.peer)
		reasons = append(reasons, fmt.Sprintf("%s at %s:%d: %s", peer.node(), peer.addr, peer.port, h.how.python()))
	}
	e.Detail = "no TCP connection to " + strings.Join(reasons, "; ")
	return e, true
}

// testNetwork starts torch and NCCL over the connections; ok is false when
// the error event was printed.
func (m *Model) testNetwork(ctx context.Context, p *process, g *gang) (exit kubelet.Exit, ok bool) {
	if how := m.reach(p.pod, g.members[0].pod, p.masterPort()+1); how != connected {
		detail := fmt.Sprintf("GPU 0: DistNetworkError: The client socket has timed out after 60000ms while trying to connect to (%s, %d).", p.master(), p.masterPort()+1)
		return p.trouble(event{Phase: initPhase, Detail: detail}), false
	}
	if last, ok := p.sayBootstrap(); !ok {
		return p.trouble(event{Phase: initPhase, Detail: p.exception(internalError, last)}), false
	}
	if last, ok := p.sayNetwork(); !ok {
		return p.trouble(event{Phase: initPhase, Detail: p.exception(invalidUsage, last)}), false
	}
	c := p.comm(p.rank*p.procs(), p.world*p.procs())
	c.sayStart()
	if !g.meet(ctx, started, p.rank) {
		return p.lost(g, initPhase), false
	}
	if g.transport() == "" {
		return m.stuck(ctx, p, g), false
	}
	c.sayConnected(g.transport(), channels)
	return m.tryFabric(ctx, p, g, AtInit)
}

func (p *process) exception(r ncclResult, last string) string {
	return "GPU 0: DistBackendError: " + strings.Join(backendError(r, last), "\n")
}

// lost is what a rank says when a peer ended before its time. Whoever is told
// of a remote error may only echo what the other knows.
func (p *process) lost(g *gang, phase string) kubelet.Exit {
	return p.trouble(event{Phase: phase, Echo: true, Detail: p.exception(remoteError, p.closedBy(g))})
}

// tryFabric ends the test where the fabric strikes in a phase; ok is false
// then. NCCL calls an adapter that gets no answer a remote error too, so that
// the ranks that see it themselves sound like an echo.
func (m *Model) tryFabric(ctx context.Context, p *process, g *gang, phase string) (exit kubelet.Exit, ok bool) {
	struck := m.struck(g, phase)
	if len(struck) == 0 {
		return kubelet.Exit{}, true
	}
	if slices.Contains(struck, p.rank) {
		pause(ctx, 2*m.pace.Line)
		return p.trouble(event{Phase: phase, Echo: true, Detail: p.exception(remoteError, m.noAnswer(p, g))}), false
	}
	select {
	case <-g.broken:
	case <-ctx.Done():
	}
	return p.lost(g, phase), false
}

// stuck is the end of a test in which nothing moves.
func (m *Model) stuck(ctx context.Context, p *process, g *gang) kubelet.Exit {
	bound := p.seconds("COMMTEST_RUN_SECONDS", runWithin)
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.broken:
	case <-ctx.Done():
	}
	entered := 0 // the first exchange never began
	return p.trouble(event{Phase: initPhase, TimedOut: true, Entered: &entered, Detail: fmt.Sprintf("no progress, gave up after %.0f s", bound.Seconds())})
}

func (p *process) procs() int {
	if n, err := strconv.Atoi(p.env["NPROC_PER_NODE"]); err == nil && n > 0 {
		return n
	}
	return max(1, p.gpus())
}

// node is what the test calls its host.
func (p *process) node() string {
	if name := p.env["NODE_NAME"]; name != "" {
		return name
	}
	return p.pod.Spec.NodeName
}

func (p *process) backend() string {
	if p.gpus() >= p.procs() {
		return "nccl"
	}
	return "gloo"
}

func (p *process) testNCCL() string {
	if p.backend() == "nccl" {
		return ncclVersion
	}
	return ""
}

func (p *process) device() string {
	if p.backend() == "nccl" {
		return device
	}
	return "cpu"
}
