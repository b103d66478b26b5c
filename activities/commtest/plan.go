package commtest

import (
	"context"

	"gpumedic/localize"
	"gpumedic/steps"
)

// PlanCommTest asks the planner for the next round or the verdict. It touches
// nothing; the same rounds give the same answer.
func (h *Hands) PlanCommTest(_ context.Context, p steps.PlanCommTestParams) (steps.PlanCommTestResult, error) {
	next := localize.Next(localize.Input{
		Nodes: p.Nodes, Prior: p.Prior, ExpectedGBps: p.ExpectedGBps, MaxRounds: p.MaxRounds,
	}, p.Rounds)
	return steps.PlanCommTestResult{
		Groups: next.Groups, Verdict: next.Verdict, Suspects: next.Suspects, Cleared: next.Cleared,
	}, nil
}
