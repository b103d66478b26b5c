package workflows

import (
	"go.temporal.io/sdk/workflow"

	"gpumedic/steps"
)

// Registry is what a worker and a replayer have in common.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
}

// Register makes every workflow known under its published name.
func Register(r Registry) {
	r.RegisterWorkflowWithOptions(Incident, workflow.RegisterOptions{Name: IncidentType})
	r.RegisterWorkflowWithOptions(CommTest, workflow.RegisterOptions{Name: CommTestType})
	r.RegisterWorkflowWithOptions(Governor, workflow.RegisterOptions{Name: steps.GovernorType})
}
