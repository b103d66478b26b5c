package steps

import (
	"encoding/json"
	"slices"
	"strings"

	"gpumedic/incident"
)

// packedResult has sweeps by collective, and of the names of logs what differs
// between them. The nodes are those of the group that was asked about; whoever
// asked has them.
type packedResult struct {
	Outcome incident.Outcome     `json:"outcome"`
	Sweeps  []packedSweep        `json:"sweeps,omitempty"`
	Head    string               `json:"head,omitempty"`
	Logs    []string             `json:"logs,omitempty"`
	Tail    string               `json:"tail,omitempty"`
	Index   incident.EvidenceRef `json:"index"`
}

// packedSweep leaves out sizes that are those of the sweep before it.
type packedSweep struct {
	Op        string    `json:"op,omitempty"`
	Bytes     []int64   `json:"bytes,omitempty"`
	BusBWGBps []float64 `json:"busbw_gbps"`
}

// MarshalJSON writes the packed form, without the outcome's nodes.
func (r RunCommTestResult) MarshalJSON() ([]byte, error) {
	packed := packedResult{Outcome: r.Outcome, Index: r.Index}
	for _, point := range r.Outcome.Points {
		last := len(packed.Sweeps) - 1
		if last < 0 || packed.Sweeps[last].Op != point.Op {
			packed.Sweeps, last = append(packed.Sweeps, packedSweep{Op: point.Op}), last+1
		}
		sweep := &packed.Sweeps[last]
		sweep.Bytes, sweep.BusBWGBps = append(sweep.Bytes, point.Bytes), append(sweep.BusBWGBps, point.BusBWGBps)
	}
	for i := len(packed.Sweeps) - 1; i > 0; i-- {
		if slices.Equal(packed.Sweeps[i].Bytes, packed.Sweeps[i-1].Bytes) {
			packed.Sweeps[i].Bytes = nil
		}
	}
	packed.Outcome.Points, packed.Outcome.Nodes = nil, nil
	if len(r.Outcome.Evidence) > 0 {
		packed.Head, packed.Logs, packed.Tail = between(r.Outcome.Evidence)
		packed.Outcome.Evidence = nil
	}
	return json.Marshal(packed)
}

// between splits names that differ only in the middle: "commtest/x/rank-",
// "000", ".log".
func between(names []string) (head string, middles []string, tail string) {
	head, tail = names[0], names[0]
	for _, name := range names[1:] {
		for !strings.HasPrefix(name, head) {
			head = head[:len(head)-1]
		}
		for !strings.HasSuffix(name, tail) {
			tail = tail[1:]
		}
	}
	for _, name := range names {
		rest := name[len(head):]
		tail = tail[max(0, len(tail)-len(rest)):]
	}
	for _, name := range names {
		middles = append(middles, name[len(head):len(name)-len(tail)])
	}
	return head, middles, tail
}

// UnmarshalJSON reads the packed form, and the plain one of earlier builds.
func (r *RunCommTestResult) UnmarshalJSON(data []byte) error {
	var packed packedResult
	if err := json.Unmarshal(data, &packed); err != nil {
		return err
	}
	*r = RunCommTestResult{Outcome: packed.Outcome, Index: packed.Index}
	var sizes []int64
	for _, sweep := range packed.Sweeps {
		if sweep.Bytes == nil {
			sweep.Bytes = sizes
		}
		sizes = sweep.Bytes
		for i := range min(len(sweep.Bytes), len(sweep.BusBWGBps)) {
			r.Outcome.Points = append(r.Outcome.Points, incident.BusBWPoint{Op: sweep.Op, Bytes: sweep.Bytes[i], BusBWGBps: sweep.BusBWGBps[i]})
		}
	}
	for _, name := range packed.Logs {
		r.Outcome.Evidence = append(slices.Clip(r.Outcome.Evidence), packed.Head+name+packed.Tail)
	}
	return nil
}
