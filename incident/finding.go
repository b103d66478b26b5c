package incident

import (
	"encoding/json"
	"time"
)

// State is the answer of a check. Unknown means "could not be asked": it is
// never taken for healthy and never for broken. The zero value is invalid.
type State string

// The three states of a finding.
const (
	Yes     State = "yes"
	No      State = "no"
	Unknown State = "unknown"
)

// Finding is an observed fact about a subject. ID names the question
// ("policy-blocks-ranks"), State answers it, Why is one sentence for people.
type Finding struct {
	ID    string `json:"id"`
	Check string `json:"check"`
	State State  `json:"state"`
	// Subject is "kind/name": "pod/llama-3", "node/gpu-07", "networkpolicy/deny".
	Subject string `json:"subject"`
	Value   string `json:"value,omitempty"`
	Why     string `json:"why,omitempty"`
	// Evidence names what it rests on, "logs/rank-3.log#L120" or an object's
	// file in the bundle.
	Evidence []string `json:"evidence,omitempty"`
}

// Observation is one signature seen in the logs of one or more ranks. Equal
// lines of many ranks are one observation, so that a thousand ranks that all
// say the same cost one entry.
type Observation struct {
	Signature string `json:"signature"`
	// Role is "origin", "echo" or "context" (see diagnosis).
	Role string `json:"role"`
	// Meaning, FailureCase, Causes and Weight are the signature's own, kept with
	// what was seen so that a record explains itself after signatures changed.
	Meaning     string   `json:"meaning,omitempty"`
	FailureCase string   `json:"failure_case,omitempty"`
	Causes      []string `json:"causes,omitempty"`
	Weight      float64  `json:"weight,omitempty"`
	// Differs lists captures that ought to be equal on all ranks and are not.
	Differs []string `json:"differs,omitempty"`
	// Captures holds the signature's named captures of the first match.
	Captures map[string]string `json:"captures,omitempty"`
	// Ranks lists completion indexes in ascending order as ranges: "0-3,7".
	Ranks string `json:"ranks"`
	// RankCount is how many ranks matched, Count how many lines.
	RankCount int `json:"rank_count"`
	Count     int `json:"count"`
	// FirstAt and FirstRank tell the earliest match over all ranks. FirstAt
	// is the time the container runtime stamped on the line, zero when the
	// log carries none.
	FirstAt   time.Time `json:"first_at,omitzero"`
	FirstRank int       `json:"first_rank"`
	// Line is the first match, redacted and cut to 400 bytes; Evidence is its
	// place ("logs/rank-3.log#L120").
	Line     string `json:"line"`
	Evidence string `json:"evidence"`
	// AfterStep is the highest training step that a rank had logged before a line
	// of this signature, 0 when none was. Times is in how many of its logs, each
	// of one attempt, the rank that said it most often said it; 0 when only in one.
	AfterStep int `json:"after_step,omitempty"`
	Times     int `json:"times,omitempty"`
}

// Blamed says who is at fault. Kind is policy, pod, rank, node, link, switch,
// config or "" when nobody is.
type Blamed struct {
	Kind  string   `json:"kind,omitempty"`
	Names []string `json:"names,omitempty"`
}

// UnmarshalJSON also reads the form of report.json, a list with one
// {"kind","name"} for each that is blamed.
func (b *Blamed) UnmarshalJSON(data []byte) error {
	*b = Blamed{}
	if len(data) == 0 || data[0] != '[' {
		type plain Blamed // without this method
		return json.Unmarshal(data, (*plain)(b))
	}
	var list []struct{ Kind, Name string }
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	for _, one := range list {
		b.Kind = one.Kind
		if one.Name != "" {
			b.Names = append(b.Names, one.Name)
		}
	}
	return nil
}

// Cause is a root cause with its confidence and the findings for and against.
// RootCause is an id of the taxonomy, "unknown" when the failure case is
// clear but its cause is not told.
type Cause struct {
	FailureCase string  `json:"failure_case"`
	RootCause   string  `json:"root_cause"`
	Confidence  float64 `json:"confidence"`
	Blamed      Blamed  `json:"blamed"`
	// Reasons says in plain sentences why, the strongest first.
	Reasons []string `json:"reasons"`
	// For and Against are ids of findings and observations.
	For     []string `json:"for,omitempty"`
	Against []string `json:"against,omitempty"`
	// WouldDecide names the checks that would settle an open cause.
	WouldDecide []string `json:"would_decide,omitempty"`
}

// NoneOfThese is the failure case of a target with nothing wrong.
const NoneOfThese = "none-of-these"

// UnknownCause is the root cause of a failure whose cause is not told.
const UnknownCause = "unknown"
