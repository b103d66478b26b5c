package steps

import (
	"time"

	"gpumedic/incident"
)

// Names of the collecting steps.
const (
	ResolveTarget   = "resolve-target"
	CollectEvidence = "collect-evidence"
	PlanRemedy      = "plan-remedy"
	TakeSnapshot    = "take-snapshot"
	WriteReport     = "write-report"
)

// ResolveTargetParams asks what an alert is about. Hint is the target as the
// labels name it: its Kind may be "Pod" or "Job" although a JobSet owns it.
type ResolveTargetParams struct {
	Incident string                  `json:"incident"`
	Hint     incident.Target         `json:"hint"`
	Fabric   incident.FabricSettings `json:"fabric"`
}

// ResolveTargetResult is the canonical target. Found false means that the API
// server answered and the target is not there; an API server that cannot be
// asked is an error instead.
type ResolveTargetResult struct {
	Found  bool            `json:"found"`
	Target incident.Target `json:"target"`
	// Supported false: the target exists, but its kind has no ranks we know
	// how to read (a Node, a Deployment); Why says so.
	Supported bool                     `json:"supported"`
	Why       string                   `json:"why,omitempty"`
	Workload  incident.EvidenceRef     `json:"workload"`
	Summary   incident.WorkloadSummary `json:"summary"`
	// Simulated names what the cluster itself declares as not real.
	Simulated []string `json:"simulated,omitempty"`
}

// CollectEvidenceParams bounds the collection.
type CollectEvidenceParams struct {
	Incident string               `json:"incident"`
	Workload incident.EvidenceRef `json:"workload"`
	Logs     incident.LogSettings `json:"logs"`
}

// CollectEvidenceResult lists what was kept. Index is itself evidence: a JSON
// list of every file, so that a thousand logs cost one reference here.
type CollectEvidenceResult struct {
	Index incident.EvidenceRef `json:"index"`
	Files int                  `json:"files"`
	Bytes int64                `json:"bytes"`
	// Gaps names what could not be read and why ("logs of pod x: forbidden").
	Gaps []string `json:"gaps,omitempty"`
}

// PlanRemedyParams asks for a plan. Nothing is changed: the API server is
// asked with dryRun=All.
type PlanRemedyParams struct {
	Incident string                  `json:"incident"`
	Remedy   string                  `json:"remedy"`
	Risk     incident.Risk           `json:"risk"`
	Workload incident.EvidenceRef    `json:"workload"`
	Fabric   incident.FabricSettings `json:"fabric"`
	// TestJobs are names of test jobs whose pods must be able to use what the
	// remedy opens, so that verification measures the same path.
	TestJobs []string `json:"test_jobs,omitempty"`
	// Blamed is whom the cause blames, for remedies that act on nodes or ranks.
	Blamed incident.Blamed `json:"blamed,omitzero"`
	// Cause is the root cause that the remedy is for.
	Cause string `json:"cause,omitempty"`
	// Findings are those that amounts are taken from: larger-gpu-free (the
	// product), host-memory-killed and shm-small. None is needed elsewhere.
	Findings []incident.Finding `json:"findings,omitempty"`
	// Framework is whose allocator is set: "pytorch", "jax" or "tensorflow"; "" =
	// pytorch.
	Framework string `json:"framework,omitempty"`
	// Roles are the knobs to try, in this order, one of which is turned; none =
	// micro-batch, then precision. Loader workers and prefetch are turned up,
	// all others down.
	Roles []string `json:"roles,omitempty"`
	// Wanted is the proof that remedies of the pod template must bring; zero =
	// any progress of every rank.
	Wanted incident.Wanted `json:"wanted,omitzero"`
	// Storage is for remedies that copy a dataset.
	Storage incident.StorageSettings `json:"storage,omitzero"`
}

// PlanRemedyResult is a plan, or the reason why there is none. A plan that
// was not possible may still carry the diff it would have made.
type PlanRemedyResult struct {
	Possible bool          `json:"possible"`
	WhyNot   string        `json:"why_not,omitempty"`
	Plan     incident.Plan `json:"plan"`
}

// TakeSnapshotParams names the plan whose fields are to be kept.
type TakeSnapshotParams struct {
	Incident string        `json:"incident"`
	Plan     incident.Plan `json:"plan"`
}

// TakeSnapshotResult refers to an incident.Snapshot in the evidence store.
// Changed is true when the target is no longer the one the plan was made for
// (other UID, or touched fields differ): the plan is void.
type TakeSnapshotResult struct {
	Snapshot incident.EvidenceRef `json:"snapshot"`
	Changed  bool                 `json:"changed"`
	Why      string               `json:"why,omitempty"`
}

// WriteReportParams carries the whole record.
type WriteReportParams struct {
	Record   incident.Record      `json:"record"`
	Workload incident.EvidenceRef `json:"workload"`
	Index    incident.EvidenceRef `json:"index"`
}

// WriteReportResult refers to the rendered files and the bundle's manifest.
type WriteReportResult struct {
	JSON     incident.EvidenceRef `json:"json"`
	HTML     incident.EvidenceRef `json:"html"`
	Text     incident.EvidenceRef `json:"text"`
	Manifest incident.EvidenceRef `json:"manifest"`
	At       time.Time            `json:"at"`
}
