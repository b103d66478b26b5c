package workflows

import "go.temporal.io/sdk/workflow"

// Changes that reorder the commands of a workflow, each with its reason. An
// incident that began before a change goes on as it began.
const (
	// planAsStep: the planner runs as a step, because planning for thousands of
	// nodes takes longer than a workflow task may, and a later planner would
	// plan otherwise than the history says. What the first planner planned inside
	// the workflow cannot be gone on with; no release had it.
	planAsStep = "plan-comm-test as a step"
	// testInTheStory: the incident looks for room before a communication test,
	// hears of its rounds, takes its verdict for findings and, when nothing
	// crosses nodes, asks its checks again.
	testInTheStory = "comm test in the story"
	// leaseBeforeChange: a change asks the governor for a lease first.
	leaseBeforeChange = "lease-before-change"
	// handOverInside: an incident whose cause belongs to another failure case goes
	// on with that one's runbook.
	handOverInside = "hand over inside an incident"
	// probeBeforeCause: a job that waits for its input has its storage measured
	// before causes are ranked.
	probeBeforeCause = "io probe before the cause"
	// plansToRead: cards hold a plan without what only machines do. It reorders
	// nothing, but a replay compares what steps are asked.
	plansToRead = "cards with plans to read"
)

// knows says whether this run has a change: runs that passed this point
// before the change have not.
func knows(ctx workflow.Context, change string) bool {
	return workflow.GetVersion(ctx, change, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}
