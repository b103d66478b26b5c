package workflows

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

const foreignCause = "other-process-on-gpu"

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
	s.blameNode()
	s.remedy(ctx)
	s.measureAgain(ctx)
	s.nameOwner()
}

// measureAgain keeps the curve of memory after a change, which the report draws
// beside the one before.
func (s *story) measureAgain(ctx workflow.Context) {
	changed := slices.ContainsFunc(s.record.Changes, func(c incident.Change) bool { return !c.AppliedAt.IsZero() })
	if !changed || ctx.Err() != nil || !slices.Contains(s.asked, steps.CheckGPUMetrics) {
		return
	}
	defer s.stage(ctx, "measure again")()
	s.ask(ctx, []string{steps.CheckGPUMetrics}, func(string, steps.CheckResult) {}) // what it keeps is what counts
}

// holder is how PyTorch tells which other process holds the GPU's memory.
var holder = regexp.MustCompile(`Process \d+ has [\d.]+ \w+ memory in use`)

// blameNode: the log names the GPU whose memory somebody else holds, and the
// placement the node that it is in.
func (s *story) blameNode() {
	if blamed := s.cause().Blamed; s.cause().RootCause != foreignCause || blamed.Kind == "node" && len(blamed.Names) > 0 {
		return
	}
	for _, o := range s.record.Observed {
		if node, known := s.nodeOf(o.FirstRank); known && o.Role == diagnosis.RoleOrigin && slices.Contains(o.Causes, foreignCause) {
			s.record.Causes[0].Blamed = incident.Blamed{Kind: "node", Names: []string{node}}
			s.record.Blamed = s.record.Causes[0].Blamed
			return
		}
	}
}

// nameOwner tells the person who takes over whom to talk to: by a finding, else by
// the process that the ranks' own message names.
func (s *story) nameOwner() {
	if s.record.Outcome != incident.Escalated || s.cause().RootCause != foreignCause {
		return
	}
	for _, f := range s.record.Findings {
		if f.ID == incident.GPUForeignProcess && f.State == incident.Yes {
			s.record.Next = strings.TrimSpace(s.record.Next + " Found on " + f.Subject + ": " + f.Why)
			return
		}
	}
	for _, o := range s.record.Observed {
		if who := holder.FindString(o.Line); who != "" && slices.Contains(o.Causes, foreignCause) {
			s.record.Next = fmt.Sprintf("%s The message of rank %d names it: %s; %s.", s.record.Next, o.FirstRank, who, s.placeOf(o.FirstRank))
			return
		}
	}
}

// nodeOf is where a rank ran, false where that is not known.
func (s *story) nodeOf(rank int) (string, bool) {
	for _, placed := range s.record.Workload.Placed {
		if diagnosis.RankIn(placed.Ranks, rank) {
			return placed.Node, true
		}
	}
	return "", false
}

func (s *story) placeOf(rank int) string {
	if node, known := s.nodeOf(rank); known {
		return "the rank ran on node " + node
	}
	return "where the rank ran is not known"
}
