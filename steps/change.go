package steps

import (
	"time"

	"gpumedic/incident"
)

// Names of the changing steps.
const (
	PrepareChange   = "prepare-change"
	SuspendWorkload = "suspend-workload"
	ApplyChange     = "apply-change"
	ResumeWorkload  = "resume-workload"
	UndoChange      = "undo-change"
)

// Remedies by name, as runbooks use them.
const (
	AllowJobTraffic     = "allow-job-traffic"
	RestoreRDMAResource = "restore-rdma-resource"
	// StopForTest stops the ranks for a communication test that needs their
	// GPUs. It removes no cause and no runbook names it; its undo is the start
	// of the ranks, which always follows the test.
	StopForTest = "stop-for-test"
	IsolateNode = "isolate-node"
	ReplaceRank = "replace-rank"
	// These change the pod template, and with it restart the ranks.
	SetAllocator  = "set-allocator"      // PYTORCH_ALLOC_CONF and its like: expandable segments
	TurnKnobs     = "turn-knobs"         // declared knobs: micro-batch down and accumulation up, precision, loader workers
	RaiseMemory   = "raise-memory-limit" // of the container that was OOMKilled
	RaiseShm      = "raise-shm"          // /dev/shm as a memory volume, counted into the memory limit
	LargerGPU     = "move-to-larger-gpu" // node selector
	CacheDataset  = "cache-dataset"      // an init container that warms a local cache, and its directory in the environment
	FasterStorage = "faster-storage"     // new claim, copy job, switch
)

// CacheContainer is the name of the init container of CacheDataset; CopyLabel is
// "true" on the pods that copy a claim for FasterStorage.
const (
	CacheContainer = "gpumedic-cache-dataset"
	CopyLabel      = "gpumedic.io/copy"
)

// TemplateRemedies are those that change the pod template.
func TemplateRemedies() []string {
	return []string{SetAllocator, TurnKnobs, RaiseMemory, RaiseShm, LargerGPU, CacheDataset, FasterStorage}
}

// IsolatedTaint is the key of the taint of a node that gpumedic took out of
// service; its value is that of OwnerLabel, its effect NoSchedule.
const IsolatedTaint = "gpumedic.io/isolated"

// ProtectedMark is the label or annotation of a node that gpumedic never
// touches, whatever its value.
const ProtectedMark = "gpumedic.io/protected"

// FieldManager owns the fields that gpumedic applies.
const FieldManager = "gpumedic"

// OperationAnnotation carries the operation id on every object we change, so
// that a repeated attempt sees its own earlier work.
const OperationAnnotation = "gpumedic.io/operation"

// OwnerLabel marks objects that gpumedic created; its value is a hash of the
// incident id.
const OwnerLabel = "gpumedic.io/incident"

// WorkloadParams names the workload whose ranks stop or start.
type WorkloadParams struct {
	Incident    string          `json:"incident"`
	OperationID string          `json:"operation_id"`
	Target      incident.Target `json:"target"`
	TargetUID   string          `json:"target_uid"`
	// Unheard are nodes whose kubelet does not answer: their pods stay in
	// Terminating, and are not waited for.
	Unheard []string `json:"unheard,omitempty"`
}

// WorkloadResult says when the ranks were gone, or allowed to start.
type WorkloadResult struct {
	At time.Time `json:"at"`
	// Already is set when there was nothing to do: an earlier attempt did it.
	Already bool `json:"already,omitempty"`
}

// ApplyChangeParams applies a plan, or prepares it, under an operation id that is stable over
// attempts, resets and restarts.
type ApplyChangeParams struct {
	Incident    string               `json:"incident"`
	OperationID string               `json:"operation_id"`
	Plan        incident.Plan        `json:"plan"`
	Snapshot    incident.EvidenceRef `json:"snapshot"`
}

// ApplyChangeResult counts what was applied now and what an earlier attempt
// had applied already.
type ApplyChangeResult struct {
	Applied int       `json:"applied"`
	Already int       `json:"already"`
	At      time.Time `json:"at"`
}

// UndoChangeParams puts the snapshot back.
type UndoChangeParams struct {
	Incident    string               `json:"incident"`
	OperationID string               `json:"operation_id"`
	Plan        incident.Plan        `json:"plan"`
	Snapshot    incident.EvidenceRef `json:"snapshot"`
}

// UndoChangeResult says what came back. Complete false means that somebody
// else edited the touched fields since: nothing was overwritten, and Found
// says what stands there now.
type UndoChangeResult struct {
	Complete bool      `json:"complete"`
	Restored int       `json:"restored"`
	Found    []string  `json:"found,omitempty"`
	At       time.Time `json:"at"`
}
