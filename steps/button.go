package steps

import (
	"encoding/json"
	"fmt"
)

// Ids of the card's buttons. The hand that posts the card writes them, the
// front door that receives clicks reads them.
const (
	ButtonApprove  = "gpumedic-approve"
	ButtonDeny     = "gpumedic-deny"
	ButtonEvidence = "gpumedic-evidence"
)

// MaxButtonValue is how many bytes a chat system lets a button carry.
const MaxButtonValue = 2000

// ButtonValue is what a button of the card carries: which incident is asked
// about, and which plan the person saw. It grants nothing; whoever receives it
// checks it against the incident.
type ButtonValue struct {
	Incident string `json:"incident"`
	PlanHash string `json:"plan_hash,omitempty"`
}

// Encode gives the button's value. It is an error if it would not fit.
func (v ButtonValue) Encode() (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding the button of %.80s: %w", v.Incident, err)
	}
	if len(data) > MaxButtonValue {
		return "", fmt.Errorf("encoding the button of %.80s: %d bytes, a button carries %d", v.Incident, len(data), MaxButtonValue)
	}
	return string(data), nil
}

// ParseButtonValue reads back what Encode wrote. The text comes from outside,
// so anything else is refused.
func ParseButtonValue(text string) (ButtonValue, error) {
	if len(text) > MaxButtonValue {
		return ButtonValue{}, fmt.Errorf("reading a button's value: %d bytes, a button carries %d", len(text), MaxButtonValue)
	}
	var value ButtonValue
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return ButtonValue{}, fmt.Errorf("reading a button's value: %w", err)
	}
	if value.Incident == "" {
		return ButtonValue{}, fmt.Errorf("reading a button's value: it names no incident")
	}
	return value, nil
}
