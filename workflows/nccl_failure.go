package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"
)

// ncclFailure is the story of a distributed job that reports NCCL errors,
// hangs or crawls. It differs from the standard one in asking the network
// itself: what the logs say about a peer may be an echo, a test between the
// nodes is not.
func (s *story) ncclFailure(ctx workflow.Context) {
	s.check(ctx)
	s.diagnose(ctx)
	if s.book.CommTest && s.asksTheNetwork() {
		s.testTheNetwork(ctx)
		s.diagnose(ctx)
	}
	s.remedy(ctx)
}

// asksTheNetwork says whether a communication test can tell more. A rank that
// died by itself, or a healthy job, is not worth the GPUs.
func (s *story) asksTheNetwork() bool {
	open := []string{
		"unknown", "network-unreachable-or-port-blocked", "rdma-or-net-plugin-unavailable",
		"ib-link-error", "roce-gid-or-hca-misconfig", "rank-straggler-timeout",
	}
	return slices.Contains(open, s.cause().RootCause)
}
