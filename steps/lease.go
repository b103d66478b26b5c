package steps

import "gpumedic/incident"

// Names of the steps that deal with the governor.
const (
	AcquireLease = "acquire-lease"
	ReleaseLease = "release-lease"
	FindHolder   = "find-holder"
)

// The governor is one workflow for each cluster, with two updates.
const (
	GovernorType  = "governor"
	LeaseUpdate   = "lease"
	ReleaseUpdate = "release"
)

// GovernorID is the workflow id of a cluster's governor.
func GovernorID(cluster string) string { return "governor/" + cluster }

// GovernorInput starts a governor, or lets it go on with the leases that it
// has given.
type GovernorInput struct {
	Cluster string           `json:"cluster"`
	Leases  []incident.Lease `json:"leases,omitempty"`
}

// LeaseParams asks for leave to make a change. Asking again under the same
// operation id gets the same lease.
type LeaseParams struct {
	Incident string                    `json:"incident"`
	Cluster  string                    `json:"cluster"`
	Lease    incident.Lease            `json:"lease"`
	Settings incident.GovernorSettings `json:"settings"`
	// Ask only wants to know whether the lease would be given now.
	Ask bool `json:"ask,omitempty"`
}

// LeaseResult is the answer: Reasons say why the lease is not given.
type LeaseResult struct {
	Granted bool     `json:"granted"`
	Reasons []string `json:"reasons,omitempty"`
}

// ReleaseParams gives a lease back. Applied says that its change may have been
// made, Isolated that its nodes stay out of service and go on counting.
type ReleaseParams struct {
	Incident    string `json:"incident"`
	Cluster     string `json:"cluster"`
	OperationID string `json:"operation_id"`
	Applied     bool   `json:"applied"`
	Isolated    bool   `json:"isolated"`
}

// ReleaseResult is the answer: Known is false when the governor had no such lease.
type ReleaseResult struct {
	Known bool `json:"known"`
}

// FindHolderParams asks whether an incident is still open.
type FindHolderParams struct {
	Incident string `json:"incident"`
}

// FindHolderResult answers it; what cannot be asked is an error.
type FindHolderResult struct {
	Open bool `json:"open"`
}
