package incident

import "time"

// Lease is leave to make one change. The governor gives it, so that all
// incidents of a cluster together stay within their budget.
type Lease struct {
	// OperationID is the change's idempotency key and names the lease.
	OperationID string `json:"operation_id"`
	Incident    string `json:"incident"`
	Target      Target `json:"target"`
	Remedy      string `json:"remedy"`
	// Nodes are worked on; Isolation.Domains of the plan when they are taken out
	// of service, none otherwise.
	Nodes   []string `json:"nodes,omitempty"`
	Domains []Domain `json:"domains,omitempty"`
	// State, Since and Until are the governor's.
	State LeaseState `json:"state,omitempty"`
	Since time.Time  `json:"since,omitzero"`
	// Until is when a held lease's incident is looked for, and when a lease in
	// another state is forgotten.
	Until time.Time `json:"until,omitzero"`
	// TTL and IsolatedFor are those of the settings under which it was given.
	TTL         time.Duration `json:"ttl,omitempty"`
	IsolatedFor time.Duration `json:"isolated_for,omitempty"`
}

// LeaseState says why a lease still counts.
type LeaseState string

// The states of a lease: the change is under way; it left its nodes isolated;
// it isolated nodes within the last hour and took that back.
const (
	LeaseHeld     LeaseState = "held"
	LeaseIsolated LeaseState = "isolated"
	LeaseEnded    LeaseState = "ended"
)

// Isolates says whether the change takes nodes out of service.
func (l Lease) Isolates() bool { return len(l.Domains) > 0 }
