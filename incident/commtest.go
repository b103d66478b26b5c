package incident

import "time"

// TestResult is how one group's communication test ended.
type TestResult string

// Pass and Fail are statements about the network between the nodes; Error
// means the test could not be run and says nothing about them.
const (
	TestPass  TestResult = "pass"
	TestFail  TestResult = "fail"
	TestError TestResult = "error"
)

// Group is a set of nodes tested together.
type Group struct {
	ID    string   `json:"id"`
	Nodes []string `json:"nodes"`
}

// Outcome is what one group's test showed.
type Outcome struct {
	ID     string     `json:"id"`
	Nodes  []string   `json:"nodes"`
	Result TestResult `json:"result"`
	// BusBWGBps is the bus bandwidth at the largest message, 0 when the test
	// did not get that far.
	BusBWGBps float64 `json:"busbw_gbps,omitempty"`
	// ExpectedGBps is what the configuration expects of the fabric; 0 = unknown.
	ExpectedGBps float64 `json:"expected_gbps,omitempty"`
	// Transport is what NCCL said it used: "IB", "Socket", "".
	Transport string `json:"transport,omitempty"`
	// FailedNodes did not arrive or reported an error themselves.
	FailedNodes []string     `json:"failed_nodes,omitempty"`
	Points      []BusBWPoint `json:"points,omitempty"`
	Why         string       `json:"why"`
	// Simulated is set when no real GPU took part; reports say so.
	Simulated bool      `json:"simulated,omitempty"`
	Evidence  []string  `json:"evidence,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}

// BusBWPoint is one message size of a sweep.
type BusBWPoint struct {
	Bytes     int64   `json:"bytes"`
	BusBWGBps float64 `json:"busbw_gbps"`
}

// Round is one round of groups that ran at the same time.
type Round struct {
	Number   int       `json:"round"`
	Groups   []Group   `json:"groups"`
	Outcomes []Outcome `json:"outcomes"`
}

// BadPart is a part that was found bad. Kind is node, link, switch or
// infrastructure (id "*": nothing that crosses nodes works).
type BadPart struct {
	Kind       string  `json:"kind"`
	ID         string  `json:"id"`
	Confidence float64 `json:"confidence"`
}

// Verdict is the end of localisation.
type Verdict struct {
	Bad          []BadPart `json:"bad"`
	Clean        bool      `json:"clean"`
	Inconclusive bool      `json:"inconclusive"`
	Why          string    `json:"why"`
	Tests        int       `json:"tests"`
	Rounds       int       `json:"rounds"`
	NodeTests    int       `json:"node_tests"`
}

// CommTest is a whole communication test for the record. Purpose is
// "diagnose" or "verify".
type CommTest struct {
	Purpose   string    `json:"purpose"`
	Rounds    int       `json:"rounds"`
	Tests     int       `json:"tests"`
	Verdict   Verdict   `json:"verdict"`
	History   []Round   `json:"history,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}
