package incident

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Risk decides who must agree to a plan.
type Risk string

// The three risks, least first.
const (
	RiskLow    Risk = "low"
	RiskMedium Risk = "medium"
	RiskHigh   Risk = "high"
)

// Plan is a remedy made concrete for one target. It is what people see and
// what an approval is bound to, through Hash.
type Plan struct {
	Remedy string `json:"remedy"`
	Risk   Risk   `json:"risk"`
	Target Target `json:"target"`
	// TargetUID is the target the plan was made for; another UID voids it.
	TargetUID string `json:"target_uid"`
	// Summary is one sentence for people.
	Summary string `json:"summary"`
	// Diff is the unified diff between the live objects and what a
	// server-side dry run says they would become.
	Diff string `json:"diff"`
	// Prepare is carried out in order before the ranks are stopped, and may take
	// hours; none for most plans. The undo takes it back after Changes.
	Prepare []ObjectChange `json:"prepare,omitempty"`
	// Changes are applied in order.
	Changes []ObjectChange `json:"changes"`
	// Restart says that the ranks must be restarted for the change to work.
	Restart bool `json:"restart"`
	// PodsRestarted and GPUHoursLost are the price: ranks that restart, and
	// GPUs multiplied by the hours since the last known checkpoint or, when
	// none is known, since the ranks started.
	PodsRestarted int     `json:"pods_restarted"`
	GPUHoursLost  float64 `json:"gpu_hours_lost"`
	// Wanted is what verification must see for the change to count.
	Wanted Wanted `json:"wanted"`
	// Nodes are those that the plan works on, sorted; none for a plan that
	// works on the target alone. No two changes work on one node at a time.
	Nodes []string `json:"nodes,omitempty"`
	// Isolation says more about Nodes when the plan takes them out of service;
	// nil when it does not.
	Isolation *Isolation `json:"isolation,omitempty"`
	Hash      string     `json:"hash"`
}

// All is everything that the plan does, in order.
func (p Plan) All() []ObjectChange { return slices.Concat(p.Prepare, p.Changes) }

// Isolation is what must be known about nodes that are taken out of service.
type Isolation struct {
	// Domains are the failure domains that the nodes are in: leaf switches,
	// racks and, as the last, the whole cluster.
	Domains []Domain `json:"domains"`
	// After are the nodes that have room for the ranks once the others are
	// isolated: those where the ranks are now, and spare ones. The scheduler may
	// choose others.
	After []Node `json:"after"`
	// Unheard are isolated nodes whose kubelet does not answer. Pods on them stay
	// in Terminating, and nobody waits for them.
	Unheard []string `json:"unheard,omitempty"`
	// Protected says of nodes of the plan why nobody may touch them: they are of
	// the control plane, or marked. The guard refuses such a plan.
	Protected []string `json:"protected,omitempty"`
}

// Domain is what fails together: kind is "leaf", "rack" or "cluster".
type Domain struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Size counts the nodes with GPUs in it.
	Size int `json:"size"`
	// Nodes are those of the plan in it.
	Nodes []string `json:"nodes"`
	// Isolated are further nodes in it that bear gpumedic's taint already.
	Isolated []string `json:"isolated,omitempty"`
}

// ObjectChange is one object and what is to be done to it.
type ObjectChange struct {
	// Verb is "create" (the object must not exist, or be ours), "run" (a Job that is
	// created in the same way, and must end well before anything follows), "apply"
	// (server-side apply of only the fields in Manifest, without force), "edit" (a
	// fenced write of those fields over what a person's tool has set), "replace"
	// (the object is deleted under its UID and created again as in Manifest,
	// because its kind does not let the fields be changed; the original is kept),
	// "isolate" (cordon and taint of a node as in Manifest, all other taints
	// left alone) or "evict" (of a pod, through the eviction API).
	Verb       string `json:"verb"`
	APIVersion string `json:"api_version"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	// UID and ResourceVersion are those of the live object the plan was made
	// from; empty for an object that is to be created.
	UID             string `json:"uid,omitempty"`
	ResourceVersion string `json:"resource_version,omitempty"`
	// Fields lists the JSON paths the change sets, "spec.template.spec.containers[name=main].resources".
	Fields []string `json:"fields,omitempty"`
	// Before holds the values of Fields that the plan was made from, by path;
	// a field that was not set has no entry.
	Before json.RawMessage `json:"before,omitempty"`
	// Manifest of a pod that is evicted only names it.
	Manifest json.RawMessage `json:"manifest"`
}

// Wanted is the proof that a change helped.
type Wanted struct {
	// Transport must appear in every rank's log ("IB", "Socket"); "" = any.
	Transport string `json:"transport,omitempty"`
	// CommTest says that a communication test must pass.
	CommTest bool `json:"comm_test"`
	// PastStep is the training step that every rank must pass, because that is
	// where it used to die; 0 = any progress counts. Recurrences is how many times
	// that distance must be passed where it died again and again; 0 means 1.
	PastStep    int `json:"past_step,omitempty"`
	Recurrences int `json:"recurrences,omitempty"`
	// InputWaitBelow is the share of a step that waiting for input may take, as the
	// ranks' own logs tell it; 0 = it is not asked.
	InputWaitBelow float64 `json:"input_wait_below,omitempty"`
}

// Seal returns the plan with its hash over everything else in it.
func (p Plan) Seal() Plan {
	p.Hash = ""
	data, err := json.Marshal(p)
	if err != nil { // plain data; only a broken RawMessage could do this
		panic("seal plan " + p.Remedy + ": " + err.Error())
	}
	sum := sha256.Sum256(data)
	p.Hash = hex.EncodeToString(sum[:8])
	return p
}

// Snapshot is the fields that a plan touches, as they were.
type Snapshot struct {
	TakenAt time.Time        `json:"taken_at"`
	Objects []ObjectSnapshot `json:"objects"`
}

// ObjectSnapshot is one object before the change. Existed false means undo
// must remove what was created.
type ObjectSnapshot struct {
	APIVersion string `json:"api_version"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
	Existed    bool   `json:"existed"`
	// Before is the touched fields' old values; the whole object is in the
	// evidence store.
	Before json.RawMessage `json:"before,omitempty"`
}

// Vote is one person's word on one plan.
type Vote struct {
	By string `json:"by"`
	// Via is "slack", "cli", "terminal" or "console".
	Via      string `json:"via"`
	PlanHash string `json:"plan_hash"`
	// Verdict is "approve" or "deny".
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// Verdicts of a vote; "expired" stands in the record when nobody answered.
const (
	Approve = "approve"
	Deny    = "deny"
	Expired = "expired"
)

// Change is what was done, for the record.
type Change struct {
	Remedy   string `json:"remedy"`
	Risk     Risk   `json:"risk"`
	PlanHash string `json:"plan_hash"`
	Diff     string `json:"diff"`
	// OperationID is the idempotency key, the same over attempts and restarts.
	OperationID  string    `json:"operation_id"`
	AppliedAt    time.Time `json:"applied_at,omitzero"`
	Verified     bool      `json:"verified"`
	Undone       bool      `json:"undone"`
	UndoComplete *bool     `json:"undo_complete,omitempty"`
	// Note says what went wrong or what was found in the way.
	Note string `json:"note,omitempty"`
}

// Decision is one verdict of the guard or of the story, with its reasons.
type Decision struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	// Verdict is allow, ask or refuse.
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons"`
}

// Verdicts of a decision.
const (
	Allow  = "allow"
	Ask    = "ask"
	Refuse = "refuse"
)
