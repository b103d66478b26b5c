package incident

import "time"

// IOProbeSettings describes the probe of the storage that ranks read from. The
// zero value probes nothing.
type IOProbeSettings struct {
	Enabled bool `json:"enabled" yaml:"enabled"`
	// Image has python3, and fio where that shall measure; "" = the image of the
	// rank's own container, which its node has already.
	Image string `json:"image,omitempty" yaml:"image"`
	// MaxBytes is how much all volumes together are read at most.
	MaxBytes int64 `json:"max_bytes" yaml:"max_bytes"`
	// StartDeadline: a pod that does not run by then makes the answer unknown. With
	// Deadline it is at most IOProbeLongest.
	StartDeadline time.Duration `json:"start_deadline" yaml:"start_deadline"`
	// Deadline bounds the reading, all volumes together.
	Deadline time.Duration `json:"deadline" yaml:"deadline"`
	// SlowMBps: storage that gives less to large reads is slow; in MB/s, 10^6 bytes.
	SlowMBps float64 `json:"slow_mbps" yaml:"slow_mbps"`
	// SlowSmallRead: where a small read takes longer in the median, small files are slow.
	SlowSmallRead time.Duration `json:"slow_small_read" yaml:"slow_small_read"`
}

// IOProbeLongest is what one attempt of the step that probes has time for, with
// room to create, to read the log and to keep it.
const IOProbeLongest = 8 * time.Minute

// Tests of an I/O probe.
const (
	ReadSequential = "sequential" // large blocks of large files, in order
	ReadRandom     = "random"     // 4 KiB at random places of large files
	ReadFiles      = "files"      // open a small file, read it, close it
)

// ReadSpeed is what one test of an I/O probe measured on one volume.
type ReadSpeed struct {
	Test string `json:"test"`
	// Tool is the program that read, "fio-3.33" or "python".
	Tool    string  `json:"tool"`
	Reads   int64   `json:"reads"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	// MBps is in 10^6 bytes per second, over all streams.
	MBps float64 `json:"mbps"`
	// ReadsPerSecond is over all streams, the latencies are those of one read, in
	// milliseconds: the median and what 99 of 100 stay below.
	ReadsPerSecond float64 `json:"reads_per_second"`
	P50            float64 `json:"p50_ms"`
	P99            float64 `json:"p99_ms"`
}
