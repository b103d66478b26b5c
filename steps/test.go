package steps

import "gpumedic/incident"

// Names of the testing steps.
const (
	RunCommTest   = "run-comm-test"
	CleanCommTest = "clean-comm-test"
)

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
