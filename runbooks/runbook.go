package runbooks

import "gpumedic/incident"

// Runbook tells how one failure case is handled. It selects and
// parameterises; it never computes.
type Runbook struct {
	// Name is the failure case's id, "nccl-failure", and the file's name.
	Name  string `json:"name" yaml:"name"`
	Title string `json:"title" yaml:"title"`
	// Matches: an alert that satisfies all matchers of any entry belongs to
	// this runbook. Matchers are written as in Alertmanager's routes.
	Matches []Matching `json:"matches" yaml:"matches"`
	// Checks are step names of kind check, run side by side.
	Checks []string `json:"checks" yaml:"checks"`
	// CommTest says that this case asks the network when blame is open.
	CommTest bool `json:"comm_test" yaml:"comm_test"`
	// Causes lists, per root cause, the remedies to try in order. A root cause
	// that is not listed, or has none, is handed to a person with its advice.
	Causes []Cause `json:"causes" yaml:"causes"`
	// MinConfidence under which no remedy is tried.
	MinConfidence float64 `json:"min_confidence" yaml:"min_confidence"`
	// SHA256 is the content hash of the YAML file, filled by the loader.
	SHA256 string `json:"sha256" yaml:"-"`
}

// Matching is one set of matchers that must all hold.
type Matching struct {
	Matchers []string `json:"matchers" yaml:"matchers"`
}

// Cause is a root cause's remedies and advice.
type Cause struct {
	RootCause string   `json:"root_cause" yaml:"root_cause"`
	Remedies  []Remedy `json:"remedies,omitempty" yaml:"remedies"`
	// Advice is what a person should do, in one or two sentences.
	Advice string `json:"advice" yaml:"advice"`
}

// Remedy names a remedy and its risk.
type Remedy struct {
	Name string        `json:"name" yaml:"name"`
	Risk incident.Risk `json:"risk" yaml:"risk"`
}

// For returns the entry of a root cause, false when there is none.
func (r Runbook) For(rootCause string) (Cause, bool) {
	for _, cause := range r.Causes {
		if cause.RootCause == rootCause {
			return cause, true
		}
	}
	return Cause{}, false
}
