package scenarios

import "gpumedic/incident"

// Denied is how the same incident must end when the plan is denied: the cause
// is known, nothing was changed.
func (e Expect) Denied() Expect {
	e.Outcome, e.Changes, e.Undone, e.Isolated, e.ClusterUnchanged, e.Training, e.Transport = incident.Refused, 0, false, nil, true, false, ""
	e.Env = nil
	return e
}

// answer is what people say in a scenario that must end so: no where nothing may
// change.
func (e Expect) answer() string {
	if e.Changes > 0 {
		return Approve
	}
	return Deny
}
