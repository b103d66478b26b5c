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
	FailedNodes []string `json:"failed_nodes,omitempty"`
	// SlowNodes are named by the ranks' own times: their work took far longer
	// than that of the others. A hint, not a verdict.
	SlowNodes []string     `json:"slow_nodes,omitempty"`
	Points    []BusBWPoint `json:"points,omitempty"`
	// Tool is the program that measured, "torch" or "nccl-tests".
	Tool string `json:"tool,omitempty"`
	// Proved says in a sentence what a pass of this test proves, and what it
	// does not: a test over gloo says nothing about NCCL.
	Proved string `json:"proved,omitempty"`
	Why    string `json:"why"`
	// Simulated is set when no real GPU took part; reports say so.
	Simulated bool      `json:"simulated,omitempty"`
	Evidence  []string  `json:"evidence,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
}

// BusBWPoint is one message size of a sweep. Op is "all_reduce",
// "all_gather" or "sendrecv"; "" stands for all_reduce.
type BusBWPoint struct {
	Op        string  `json:"op,omitempty"`
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

// Suspect is a part that may be bad, with how likely it is so far. Kind and ID
// are as in BadPart.
type Suspect struct {
	Kind        string  `json:"kind"`
	ID          string  `json:"id"`
	Probability float64 `json:"probability"`
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
	Purpose string  `json:"purpose"`
	Rounds  int     `json:"rounds"`
	Tests   int     `json:"tests"`
	Verdict Verdict `json:"verdict"`
	History []Round `json:"history,omitempty"`
	// Suspects are what is still suspected, most likely first; the list is
	// short. Cleared counts the nodes that no longer are.
	Suspects []Suspect `json:"suspects,omitempty"`
	Cleared  int       `json:"cleared,omitempty"`
	// Logs are the indexes of the logs of the test's pods, one per group, on
	// their way to the incident's evidence; a record has none.
	Logs      []EvidenceRef `json:"logs,omitempty"`
	StartedAt time.Time     `json:"started_at"`
	EndedAt   time.Time     `json:"ended_at"`
}
