package steps

import "gpumedic/incident"

// Names of the testing steps.
const (
	PlanCommTest  = "plan-comm-test"
	CheckTestRoom = "check-test-room"
	RunCommTest   = "run-comm-test"
	CleanCommTest = "clean-comm-test"
)

// PlanCommTestParams asks what to test next. Rounds are those that were run;
// of their outcomes only what the planner reads need be there.
type PlanCommTestParams struct {
	Incident string          `json:"incident"`
	Nodes    []incident.Node `json:"nodes"`
	// Prior is the probability that a node is bad, by name, from the alert and
	// the findings; a node that is not named gets its share of what is usual.
	Prior        map[string]float64 `json:"prior,omitempty"`
	ExpectedGBps float64            `json:"expected_busbw_gbps,omitempty"`
	MaxRounds    int                `json:"max_rounds,omitempty"`
	Rounds       []incident.Round   `json:"rounds,omitempty"`
}

// PlanCommTestResult is the next round or the verdict, exactly one of the two.
// The planner is a step, not workflow code: planning for thousands of nodes
// takes longer than a workflow task may, and what it said stays in the history
// when a later version would say something else.
type PlanCommTestResult struct {
	Groups   []incident.Group   `json:"groups,omitempty"`
	Verdict  *incident.Verdict  `json:"verdict,omitempty"`
	Suspects []incident.Suspect `json:"suspects,omitempty"`
	Cleared  int                `json:"cleared,omitempty"`
}

// CheckTestRoomParams asks whether the nodes have room for test pods.
type CheckTestRoomParams struct {
	Incident  string                    `json:"incident"`
	Namespace string                    `json:"namespace"`
	Nodes     []string                  `json:"nodes"`
	Settings  incident.CommTestSettings `json:"settings"`
	Workload  incident.EvidenceRef      `json:"workload"`
}

// CheckTestRoomResult says whether there is room. Room yes means that every node
// can take a test pod now; no means that some cannot, and Short lists them. Freed
// says whether stopping the workload's own ranks would make the room.
type CheckTestRoomResult struct {
	Room  incident.State `json:"room"`
	Freed incident.State `json:"freed"`
	Short []NodeRoom     `json:"short,omitempty"`
	Why   string         `json:"why"`
}

// NodeRoom is one node's GPUs: wanted by a test pod, free, held by the
// workload itself and by others.
type NodeRoom struct {
	Node     string `json:"node"`
	Wanted   int    `json:"wanted"`
	Free     int    `json:"free"`
	ByTarget int    `json:"by_target"`
	ByOthers int    `json:"by_others"`
}

// RunCommTestParams describes one group's test. Name is the Job's name and
// the idempotency key: a second attempt joins the Job of the first.
type RunCommTestParams struct {
	Incident  string                    `json:"incident"`
	Name      string                    `json:"name"`
	Namespace string                    `json:"namespace"`
	Group     incident.Group            `json:"group"`
	Settings  incident.CommTestSettings `json:"settings"`
	// PodLabels are put on the test's pods so that the policies that select
	// the workload's pods select them too.
	PodLabels map[string]string `json:"pod_labels,omitempty"`
}

// RunCommTestResult is the outcome; it is never an error that nodes failed.
type RunCommTestResult struct {
	Outcome incident.Outcome `json:"outcome"`
	// Index refers to a JSON list of incident.IndexEntry, one per pod log that
	// was kept; its zero value means that no log could be read.
	Index incident.EvidenceRef `json:"index"`
}

// CleanCommTestParams names what to remove. Removing what is not there is success.
type CleanCommTestParams struct {
	Incident  string `json:"incident"`
	Namespace string `json:"namespace"`
	// Names are the Jobs; "" in Names is ignored.
	Names []string `json:"names"`
}

// CleanCommTestResult counts the removed Jobs.
type CleanCommTestResult struct {
	Removed int `json:"removed"`
}
