package workflows

import (
	"time"

	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// Names under which the outside talks to an incident. The incident's workflow
// id is Target.ID().
const (
	// IncidentType is the workflow that lives as long as an incident.
	IncidentType = "incident"
	// CommTestType is the child workflow of one communication test.
	CommTestType = "comm-test"
	// AlertSignal delivers an AlertSignalInput.
	AlertSignal = "alert"
	// VoteUpdate delivers an incident.Vote and is validated: a vote by an
	// unknown person, for another plan or too late is rejected with the reason.
	VoteUpdate = "vote"
	// ProgressSignal delivers a CommTestProgress of the incident's own test.
	ProgressSignal = "comm-test-progress"
	// CancelUpdate delivers a CancelInput.
	CancelUpdate = "cancel"
	// ViewQuery answers with a View.
	ViewQuery = "view"
)

// TaskQueue is where the workflows and the cluster's activities of one
// cluster are polled.
func TaskQueue(cluster string) string { return "cluster/" + cluster }

// IncidentInput opens an incident. Hint is the target as the alert's labels
// name it; Alerts come by signal, or in the input when another incident hands
// them over. Settings and Runbooks are pinned: editing a file never changes
// an incident that is under way.
type IncidentInput struct {
	Hint     incident.Target    `json:"hint"`
	Alerts   []incident.Alert   `json:"alerts,omitempty"`
	Settings incident.Settings  `json:"settings"`
	Runbooks []runbooks.Runbook `json:"runbooks"`
}

// AlertSignalInput is one delivery of the front door.
type AlertSignalInput struct {
	Alerts []incident.Alert `json:"alerts"`
}

// CommTestProgress is what a communication test tells its incident before each
// round. Done is how the groups of the last round ended, in their order; Groups
// are told by the places of their nodes in the list that both have.
type CommTestProgress struct {
	Purpose  string              `json:"purpose"`
	Round    int                 `json:"round"`
	Done     []GroupDone         `json:"done,omitempty"`
	Groups   []steps.PackedGroup `json:"groups"`
	Suspects []incident.Suspect  `json:"suspects,omitempty"`
	Cleared  int                 `json:"cleared,omitempty"`
}

// GroupDone is how a group's test ended, in brief.
type GroupDone struct {
	Result       incident.TestResult `json:"result"`
	BusBWGBps    float64             `json:"busbw_gbps,omitempty"`
	ExpectedGBps float64             `json:"expected_gbps,omitempty"`
}

// CancelInput says who stops an incident and why.
type CancelInput struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// VoteResult answers a vote.
type VoteResult struct {
	// Decided is true when this vote settled the question.
	Decided bool `json:"decided"`
	// Approvals and Needed count towards the quorum.
	Approvals int `json:"approvals"`
	Needed    int `json:"needed"`
}

// View is an incident as it is now.
type View struct {
	Record incident.Record `json:"record"`
	// State is investigating, testing, asking, changing, verifying, undoing,
	// reporting or closed.
	State string `json:"state"`
	// Testing is the communication test that runs now, nil when none does. Its
	// last round has groups and no outcomes yet.
	Testing *incident.CommTest `json:"testing,omitempty"`
	// Asking is the plan that waits for an approval, nil when none does.
	Asking   *incident.Plan `json:"asking,omitempty"`
	Deadline time.Time      `json:"deadline,omitzero"`
	// Message is the Slack message, for matching a click with its incident.
	Message steps.MessageRef `json:"message"`
	// Report refers to the rendered report, once it is written.
	Report steps.WriteReportResult `json:"report"`
}
