package workflows

import (
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
)

// ncclFailure is the story of a distributed job that reports NCCL errors,
// hangs or crawls. It differs from the standard one in asking the network
// itself: what the logs say about a peer may be an echo, a test between the
// nodes is not. When nothing crosses nodes, no node is at fault, and what all
// of them have in common is asked again.
func (s *story) ncclFailure(ctx workflow.Context) {
	s.check(ctx)
	s.diagnose(ctx)
	if s.handsOver(ctx) {
		return
	}
	if s.book.CommTest && s.asksTheNetwork(ctx) {
		s.testTheNetwork(ctx)
		if s.record.Outcome != "" { // the alert went away meanwhile, or the ranks need a person
			return
		}
		s.diagnose(ctx)
		if s.nothingCrosses() && ctx.Err() == nil {
			s.checkAgain(ctx)
			s.diagnose(ctx)
		}
	}
	s.remedy(ctx)
	s.tellRuledOut()
}

// asksTheNetwork says whether a communication test can tell more. A rank that
// died by itself, or a healthy job, is not worth the GPUs; a job that runs and
// is said to be slow is.
func (s *story) asksTheNetwork(ctx workflow.Context) bool {
	open := []string{
		"unknown", "network-unreachable-or-port-blocked", "rdma-or-net-plugin-unavailable",
		"ib-link-error", "roce-gid-or-hca-misconfig", "rank-straggler-timeout",
	}
	if slices.Contains(open, s.cause().RootCause) {
		return true
	}
	return s.cause().FailureCase == incident.NoneOfThese && s.saidToBeSlow() && knows(ctx, testInTheStory)
}

// saidToBeSlow: an alert that fires is about speed.
func (s *story) saidToBeSlow() bool {
	for _, alert := range s.record.Alerts {
		name := strings.ToLower(alert.Name)
		slow := strings.Contains(name, "slow") || strings.Contains(name, "straggler") || strings.Contains(name, "bandwidth")
		if slow && s.open[alert.Episode()] {
			return true
		}
	}
	return false
}

// nothingCrosses says that the test found the fault in what all nodes have in
// common.
func (s *story) nothingCrosses() bool { return s.found(incident.CommTestInfrastructure) }

// ruledOut are the questions about what all nodes have in common that were
// answered with no.
func (s *story) ruledOut() []string {
	common := []string{
		incident.PolicyBlocksRanks, incident.PolicyBlocksDNS, incident.InterfaceMissing, incident.NodeNotReady,
		incident.RanksMissing, incident.EnvDiffers,
	}
	var out []string
	for _, finding := range s.record.Findings {
		if finding.State == incident.No && slices.Contains(common, finding.ID) && !slices.Contains(out, finding.ID) {
			out = append(out, finding.ID)
		}
	}
	return out
}

// tellRuledOut tells the person who takes over where not to look again.
func (s *story) tellRuledOut() {
	out := s.ruledOut()
	if s.record.Outcome != incident.Escalated || !s.nothingCrosses() || len(out) == 0 {
		return
	}
	s.record.Next = strings.TrimSpace(s.record.Next + " Nothing that crosses nodes works, so no node is blamed. Ruled out: " +
		strings.ReplaceAll(strings.Join(out, ", "), "-", " ") + ". Look at what the nodes have in common: firewalls, routes, the fabric's manager, the image.")
}
