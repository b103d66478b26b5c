package faults

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"gpumedic/lab/kubelet"
)

// collective is an operation of the sweep: bus bandwidth over what the
// algorithm moves among n, as nccl-tests counts it.
type collective struct {
	name   string
	factor func(n float64) float64
}

var collectives = map[string]collective{
	"all_reduce": {"all_reduce", func(n float64) float64 { return 2 * (n - 1) / n }},
	"all_gather": {"all_gather", func(n float64) float64 { return (n - 1) / n }},
	"sendrecv":   {"sendrecv", func(float64) float64 { return 1 }},
}

// ops are the collectives that the environment asks for; a program that is
// asked for none knows only the all-reduce, and tells no times but its own.
func (p *process) ops() (ops []collective, asked bool) {
	for word := range strings.SplitSeq(p.env["COMMTEST_OPS"], ",") {
		if op, known := collectives[strings.TrimSpace(word)]; known {
			ops = append(ops, op)
		}
	}
	if len(ops) == 0 {
		return []collective{collectives["all_reduce"]}, false
	}
	return ops, true
}

// sweep measures all sizes of each collective; rank 0 prints. Faults that
// strike in the middle do so at the middle size of the first; ok is false then.
func (m *Model) sweep(ctx context.Context, p *process, g *gang) (exit kubelet.Exit, ok bool) {
	ops, asked := p.ops()
	if asked && p.world*p.procs() == 1 {
		return kubelet.Exit{}, true // nobody to exchange anything with
	}
	sizes := p.sizes()
	for o, op := range ops {
		for s, size := range sizes {
			if !pause(ctx, m.pace.Line/5/time.Duration(len(ops))) {
				return kubelet.Exit{Code: terminated}, false
			}
			if o == 0 && s == len(sizes)/2 {
				if exit, ok := m.tryFabric(ctx, p, g, AtWork); !ok {
					return exit, false
				}
			}
			if p.rank == 0 {
				p.sayPoint(op, size, m.speed(p, g, op, size), asked)
			}
		}
	}
	return kubelet.Exit{}, true
}

func (p *process) sayPoint(op collective, size int64, busbw float64, algorithm bool) {
	wrong, seconds := 0, 0.0
	if busbw > 0 {
		seconds = float64(size) * op.factor(float64(p.world*p.procs())) / busbw / 1e9
	}
	e := event{Event: "point", Op: op.name, Bytes: size, TimeMS: round(seconds*1e3, 6), BusBW: round(busbw, 3), Wrong: &wrong}
	if algorithm && seconds > 0 {
		e.AlgBW = round(float64(size)/seconds/1e9, 3)
	}
	p.emit(e)
}

// round keeps so many decimals, as the test's program does.
func round(x float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(x*scale) / scale
}

// path is what one kind of way gives: bus bandwidth of large messages in
// GB/s, and the size at which half of it is reached.
type path struct{ peak, half float64 }

var (
	rdmaPath   = path{peak: 374, half: 12 << 20}
	tcpPath    = path{peak: 9.6, half: 2 << 20}
	nvlinkPath = path{peak: 341, half: 6 << 20}
)

// speed is the bus bandwidth at a size, with the noise of these very nodes.
// One process has no bus, and measures none. The slowest node slows all.
func (m *Model) speed(p *process, g *gang, op collective, size int64) float64 {
	if p.world*p.procs() < 2 {
		return 0
	}
	way := nvlinkPath
	switch {
	case p.world > 1 && g.transport() == netIB:
		way = rdmaPath
	case p.world > 1:
		way = tcpPath
	}
	nodes := make([]string, len(g.members))
	for i, member := range g.members {
		nodes[i] = member.node()
	}
	share := float64(size) / (float64(size) + way.half)
	return way.peak * share * (1 + 0.012*noise(size, op.name, strings.Join(nodes, ","))) / m.slowdown(g)
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
