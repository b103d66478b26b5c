package steps

import (
	"time"

	"gpumedic/incident"
)

// Names of the checks, by their ids in the catalogue.
const (
	CheckWorkload  = "check-workload"  // D1
	CheckNCCLEnv   = "check-nccl-env"  // D2
	CheckPolicies  = "check-policies"  // D3
	CheckPlacement = "check-placement" // D4
	CheckRDMA      = "check-rdma"      // D5
	CheckRankLogs  = "check-rank-logs" // D6
	AwaitRanks     = "await-ranks"

	CheckGPUMetrics  = "check-gpu-metrics"  // G1, from a Prometheus: there is no node agent yet
	CheckDataMetrics = "check-data-metrics" // P2
	CheckCapacity    = "check-capacity"     // G3, G4
	CheckMemory      = "check-memory"       // D1: limits, last terminations, /dev/shm, slices, knobs
	CheckVolumes     = "check-volumes"      // P1, P4
	CheckLoading     = "check-loading"      // P2 from logs, P3, P5
)

// CheckParams is the input of every check.
type CheckParams struct {
	Incident string                  `json:"incident"`
	Workload incident.EvidenceRef    `json:"workload"`
	Fabric   incident.FabricSettings `json:"fabric"`
	// Index is the evidence collected so far (CollectEvidenceResult.Index);
	// checks of logs read it instead of asking the cluster again.
	Index incident.EvidenceRef `json:"index"`
}

// CheckResult is the output of every check. A check that could not ask
// answers with findings that are unknown, and says why, instead of failing.
type CheckResult struct {
	Findings []incident.Finding `json:"findings"`
	// Observations are filled by the check of logs alone.
	Observations []incident.Observation `json:"observations,omitempty"`
	// Evidence is what the check kept beyond what was collected before: curves of
	// metrics. It belongs into the incident's bundle.
	Evidence []incident.EvidenceRef `json:"evidence,omitempty"`
}

// AwaitRanksParams waits for the ranks after a restart.
type AwaitRanksParams struct {
	Incident string                  `json:"incident"`
	Target   incident.Target         `json:"target"`
	Fabric   incident.FabricSettings `json:"fabric"`
	Logs     incident.LogSettings    `json:"logs"`
	// Since: lines before this time belong to the old ranks.
	Since  time.Time       `json:"since"`
	Wanted incident.Wanted `json:"wanted"`
	// Deadline after which waiting ends with what was seen.
	Deadline time.Duration `json:"deadline"`
	// Regrouping: only some ranks were replaced, so the others may end and start
	// again on their own before all train; that alone is no failure.
	Regrouping bool `json:"regrouping,omitempty"`
}

// AwaitRanksResult says whether the symptom is gone. Good is yes only when
// every rank runs and shows the wanted transport and progress.
type AwaitRanksResult struct {
	Good incident.State `json:"good"`
	Why  string         `json:"why"`
	// Workload is the target after the restart: other pods, maybe other nodes.
	Workload     incident.EvidenceRef     `json:"workload"`
	Summary      incident.WorkloadSummary `json:"summary"`
	Findings     []incident.Finding       `json:"findings,omitempty"`
	Observations []incident.Observation   `json:"observations,omitempty"`
	// Unproved: all ranks run and train, and are not yet past what the plan wants;
	// asking again later may prove it.
	Unproved bool `json:"unproved,omitempty"`
}
