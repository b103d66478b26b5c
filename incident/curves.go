package incident

import "time"

// GPUMemoryFile is the evidence that holds the Curves of GPU memory.
const GPUMemoryFile = "metrics/gpu-memory.json"

// Curves are one measurement over time, as it is kept as evidence for a report to
// plot.
type Curves struct {
	Metric      string    `json:"metric"`
	Unit        string    `json:"unit"`
	At          time.Time `json:"at"`
	StepSeconds int       `json:"step_seconds"`
	Series      []Curve   `json:"series"`
	// LeftOut is how many series there were beyond those kept.
	LeftOut int `json:"left_out"`
}

// Curve is the series of one GPU. Points are [unix seconds, value in the unit];
// Total is the size of the card's memory in bytes, 0 when it is not known or not
// what is measured.
type Curve struct {
	Pod    string       `json:"pod"`
	GPU    string       `json:"gpu"`
	Total  float64      `json:"total_bytes,omitempty"`
	Points [][2]float64 `json:"points"`
}
