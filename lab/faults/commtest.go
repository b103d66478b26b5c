package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
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
	initPhase = "init"
	workPhase = "collective"
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
	BusBW     float64 `json:"busbw_gbps,omitempty"`
	Wrong     *int    `json:"wrong,omitempty"`
	Seconds   float64 `json:"seconds,omitempty"`
	OK        bool    `json:"ok,omitempty"`
	Phase     string  `json:"phase,omitempty"`
	Missing   []int   `json:"missing,omitempty"`
	Echo      bool    `json:"echo,omitempty"`
	Detail    string  `json:"detail,omitempty"`
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
	m.sweep(ctx, p, g)
	if !g.meet(ctx, finished, p.rank) {
		return p.lost(g, workPhase)
	}
	p.sayEnd()
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
	return kubelet.Exit{}, true
}

func (p *process) exception(r ncclResult, last string) string {
	return "GPU 0: DistBackendError: " + strings.Join(backendError(r, last), "\n")
}

// lost is what a rank says when a peer ended before its time.
func (p *process) lost(g *gang, phase string) kubelet.Exit {
	return p.trouble(event{Phase: phase, Detail: p.exception(remoteError, p.closedBy(g))})
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
	return p.trouble(event{Phase: initPhase, Detail: fmt.Sprintf("no progress, gave up after %.0f s", bound.Seconds())})
}

// sweep measures all sizes; rank 0 prints.
func (m *Model) sweep(ctx context.Context, p *process, g *gang) {
	wrong := 0
	for _, size := range p.sizes() {
		if !pause(ctx, m.pace.Line/5) {
			return
		}
		busbw := speed(p, g, size)
		ranks := float64(p.world * p.procs())
		seconds := 0.0
		if busbw > 0 {
			seconds = float64(size) * 2 * (ranks - 1) / ranks / busbw / 1e9
		}
		if p.rank == 0 {
			p.emit(event{Event: "point", Op: "all_reduce", Bytes: size, TimeMS: round(seconds*1e3, 6), BusBW: round(busbw, 3), Wrong: &wrong})
		}
	}
}

// round keeps so many decimals, as the test's program does.
func round(x float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(x*scale) / scale
}

// link is what one kind of path gives: bus bandwidth of large messages in
// GB/s, and the size at which half of it is reached.
type link struct{ peak, half float64 }

var (
	rdmaLink   = link{peak: 374, half: 12 << 20}
	tcpLink    = link{peak: 9.6, half: 2 << 20}
	nvlinkLink = link{peak: 341, half: 6 << 20}
)

// speed is the bus bandwidth at a size, with the noise of these very nodes.
// One process has no bus, and measures none.
func speed(p *process, g *gang, size int64) float64 {
	if p.world*p.procs() < 2 {
		return 0
	}
	path := nvlinkLink
	switch {
	case p.world > 1 && g.transport() == netIB:
		path = rdmaLink
	case p.world > 1:
		path = tcpLink
	}
	nodes := make([]string, len(g.members))
	for i, member := range g.members {
		nodes[i] = member.node()
	}
	share := float64(size) / (float64(size) + path.half)
	return path.peak * share * (1 + 0.012*noise(size, strings.Join(nodes, ",")))
}

func (p *process) sayEnd() {
	for local := range p.procs() {
		p.emit(event{Event: "rank", Rank: &p.rank, Local: &local, Host: p.node(), Seconds: 0.00171 * (1 + 0.03*noise("copy", p.node(), local))})
	}
	if p.rank == 0 {
		p.emit(event{Event: "end", Rank: &p.rank, OK: true, World: p.world})
	}
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

// sizes are the message sizes of the sweep, 1 MiB to 1 GiB unless told.
func (p *process) sizes() []int64 {
	var sizes []int64
	for word := range strings.SplitSeq(p.env["COMMTEST_SIZES"], ",") {
		if n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 64); err == nil && n > 0 {
			sizes = append(sizes, n)
		}
	}
	if len(sizes) == 0 {
		for size := int64(1 << 20); size <= 1<<30; size *= 4 {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
