package faults

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"gpumedic/lab/kubelet"
)

// ProbeLabel marks the pods of probes of storage.
const ProbeLabel = "gpumedic.io/io-probe"

const (
	// playedTime is how long a probe of one volume takes here; what it prints are
	// the seconds that a real one would have taken.
	playedTime = 200 * time.Millisecond
	// probeBlock is a large read, probeFile a small file, in bytes.
	probeBlock, probeFile = 1 << 20, 110_000
	// probeFiles are seen of a dataset.
	probeFiles = 20_000
)

// ioProbe plays the probe's program: the lines of activities/ioprobe, with figures
// of the class of each path's claim. It reads nothing, and says so.
func (m *Model) ioProbe(ctx context.Context, p *process) kubelet.Exit {
	streams := 4
	p.tell(map[string]any{"event": "start", "host": p.node(), "tool": "lab", "version": "lab", "streams": streams, "simulated": true})
	var paths []string
	if err := json.Unmarshal([]byte(p.env["IOPROBE_PATHS"]), &paths); err != nil || len(paths) == 0 {
		p.say("KeyError: 'IOPROBE_PATHS'")
		return kubelet.Exit{Code: 1}
	}
	for _, path := range paths {
		if !pause(ctx, playedTime) {
			return kubelet.Exit{Code: terminated}
		}
		m.probePath(p, path, streams, p.number("IOPROBE_BYTES")/float64(len(paths)), p.number("IOPROBE_SECONDS")/float64(len(paths)))
	}
	p.tell(map[string]any{"event": "end", "ok": true, "seconds": playedTime.Seconds()})
	return kubelet.Exit{}
}

// probePath prints what reading a volume shows: bandwidth is that of all streams
// together, and every small read waits for the latency of its class.
func (m *Model) probePath(p *process, path string, streams int, most, seconds float64) {
	source := m.sourceAt(p, strings.TrimSuffix(path, "/"))
	p.tell(map[string]any{"event": "tree", "path": path, "files": probeFiles, "bytes": int64(probeFiles * probeFile), "median_bytes": probeFile, "complete": false, "seconds": 1.5})
	large := min(0.75*most, source.MBps*1e6*0.4*seconds)
	p.measured(path, "sequential", large, probeBlock, source.MBps*1e6, probeBlock*float64(streams)/(source.MBps*1e3))
	perRead := source.Latency + probeFile/(source.MBps*1e3)
	rate := float64(streams) * 1000 / perRead
	p.measured(path, "files", min(0.2*most, rate*probeFile*0.3*seconds), probeFile, rate*probeFile, perRead)
}

// measured prints one test that read so many bytes, so many at a time.
func (p *process) measured(path, test string, bytes, each, bytesPerSecond, p50 float64) {
	reads := max(1, int64(bytes/each))
	bytes = float64(reads) * each
	seconds := bytes / bytesPerSecond
	p.tell(map[string]any{
		"event": "measure", "path": path, "test": test, "tool": "lab", "reads": reads, "bytes": int64(bytes), "seconds": seconds,
		"mbps": bytesPerSecond / 1e6, "reads_per_second": float64(reads) / seconds, "p50_ms": p50, "p99_ms": 2.5 * p50,
	})
}

func (p *process) tell(event map[string]any) {
	text, err := json.Marshal(event)
	if err != nil { // plain data without channels or functions
		p.say("event: %v", err)
		return
	}
	line(p.out, string(text))
}

// number reads a number from the environment, 0 where there is none.
func (p *process) number(name string) float64 {
	n, err := strconv.ParseFloat(p.env[name], 64)
	if err != nil {
		return 0
	}
	return n
}
