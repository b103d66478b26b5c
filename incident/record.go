package incident

import "time"

// Outcome values of an incident, a closed set.
const (
	Resolved     = "resolved"      // changed, and the symptom is gone
	RolledBack   = "rolled-back"   // changed, did not help, undone
	Refused      = "refused"       // a plan existed and was not carried out
	Escalated    = "escalated"     // a person must take over
	SelfResolved = "self-resolved" // the symptom went away without us
	NoCause      = "no-cause"      // nothing wrong was found
	Cancelled    = "cancelled"     // a person stopped it
)

// Record is everything known about one incident: report.json is its JSON.
// It is also written when everything failed; then Errors says what.
type Record struct {
	IncidentID  string        `json:"incident_id"`
	Target      Target        `json:"target"`
	Alerts      []Alert       `json:"alerts"`
	FailureCase string        `json:"failure_case"`
	RootCause   string        `json:"root_cause"`
	Confidence  float64       `json:"confidence"`
	Blamed      Blamed        `json:"blamed"`
	Causes      []Cause       `json:"causes,omitempty"`
	Findings    []Finding     `json:"findings"`
	Observed    []Observation `json:"observations,omitempty"`
	CommTest    *CommTest     `json:"comm_test,omitempty"`
	// Verification is the test after the change.
	Verification *CommTest  `json:"verification,omitempty"`
	Decisions    []Decision `json:"decisions"`
	Approvals    []Vote     `json:"approvals"`
	Plan         *Plan      `json:"plan,omitempty"`
	Changes      []Change   `json:"changes"`
	Outcome      string     `json:"outcome"`
	// Summary says in two or three plain sentences what happened; Next says
	// what a person should do now, "" when nothing.
	Summary          string          `json:"summary"`
	Next             string          `json:"next,omitempty"`
	Stages           []Stage         `json:"stages"`
	Story            []Event         `json:"story"`
	Errors           []string        `json:"errors,omitempty"`
	HumanWaitSeconds float64         `json:"human_wait_seconds"`
	GPUHoursLost     float64         `json:"gpu_hours_lost"`
	Workload         WorkloadSummary `json:"workload"`
	Evidence         []EvidenceRef   `json:"evidence"`
	Runbook          RunbookRef      `json:"runbook"`
	Build            string          `json:"build"`
	// Simulated names what was not real ("GPU nodes", "NCCL"), so that
	// nobody takes a rehearsal for a proof.
	Simulated []string  `json:"simulated,omitempty"`
	OpenedAt  time.Time `json:"opened_at"`
	ClosedAt  time.Time `json:"closed_at,omitzero"`
}

// Stage is a part of the way with its time.
type Stage struct {
	Name      string    `json:"name"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// Event is one line of the timeline. Kind is alert, evidence, finding,
// decision, test, human, change, undo, note or error.
type Event struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

// RunbookRef names the runbook that was followed, by content.
type RunbookRef struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}
