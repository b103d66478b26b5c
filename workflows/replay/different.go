package replay

import (
	"fmt"
	"strings"
)

// Different is the error of a history that this build would not have written.
type Different struct {
	// Workflow is the id and Type the type that the history is of.
	Workflow    string
	Type        string
	Differences []Difference
}

// Difference is one place where this build does otherwise.
type Difference struct {
	// Event is the number of the recorded event; 0 when the SDK refused the
	// history as a whole, then Why names the event.
	Event int64 `json:"event_id,omitempty"`
	// What differs: "input of step plan-remedy".
	What string `json:"what"`
	// Why says in which way, with the old and the new value.
	Why string `json:"why"`
}

func (d Difference) String() string {
	if d.Event == 0 {
		return d.What + ": " + d.Why
	}
	return fmt.Sprintf("event %d, %s: %s", d.Event, d.What, d.Why)
}

func (d *Different) Error() string {
	lines := make([]string, len(d.Differences))
	for i, difference := range d.Differences {
		lines[i] = difference.String()
	}
	return fmt.Sprintf("replaying %s: %s", d.Workflow, strings.Join(lines, "; "))
}
