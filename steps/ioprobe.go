package steps

import "gpumedic/incident"

// Names of the steps that measure storage.
const (
	RunIOProbe   = "run-io-probe"
	CleanIOProbe = "clean-io-probe"
)

// RunIOProbeParams asks how fast a rank's volumes are from where it runs. Name
// is the Job's name and the idempotency key: a second attempt joins the Job of
// the first.
type RunIOProbeParams struct {
	Incident  string               `json:"incident"`
	Name      string               `json:"name"`
	Namespace string               `json:"namespace"`
	Workload  incident.EvidenceRef `json:"workload"`
	// Index is the evidence collected so far, Logs those in it whose ranks wait
	// longest, the longest first; none = the first rank is probed.
	Index    incident.EvidenceRef     `json:"index,omitzero"`
	Logs     []string                 `json:"logs,omitempty"`
	Settings incident.IOProbeSettings `json:"settings"`
}

// RunIOProbeResult has the answers to storage-slow and small-files-slow, unknown
// with the reason where they could not be measured. There are none where the
// ranks mount no volume over the network: then there is nothing to ask.
type RunIOProbeResult struct {
	Findings []incident.Finding `json:"findings,omitempty"`
	// Why tells in a sentence what was done.
	Why string `json:"why"`
	// Simulated is set when no real storage was read.
	Simulated bool `json:"simulated,omitempty"`
	// Evidence is the probe's log; its zero value means that there is none.
	Evidence incident.EvidenceRef `json:"evidence,omitzero"`
}

// CleanIOProbeParams names what to remove. Removing what is not there is success.
type CleanIOProbeParams struct {
	Incident  string `json:"incident"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// CleanIOProbeResult says whether there was anything to remove.
type CleanIOProbeResult struct {
	Removed bool `json:"removed"`
}
