package workflows

import (
	"strings"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
)

// cudaOOM is the story of a job that runs out of memory, of the GPU or of the host.
// It differs from the standard one in what proves a cure: the job has to get past
// the step at which it died, and until then the change is unproved (see proof).
// Somebody else's process is nobody's to end but its owner's, so he is named.
func (s *story) cudaOOM(ctx workflow.Context) {
	s.check(ctx)
	s.diagnose(ctx)
	if s.handsOver(ctx) {
		return
	}
	s.remedy(ctx)
	s.nameOwner()
}

// nameOwner tells the person who takes over whom to talk to.
func (s *story) nameOwner() {
	if s.record.Outcome != incident.Escalated || s.cause().RootCause != "other-process-on-gpu" {
		return
	}
	for _, f := range s.record.Findings {
		if f.ID == incident.GPUForeignProcess && f.State == incident.Yes {
			s.record.Next = strings.TrimSpace(s.record.Next + " Found on " + f.Subject + ": " + f.Why)
		}
	}
}
