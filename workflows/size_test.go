package workflows_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// rackOf64 is 64 nodes behind eight leafs.
func rackOf64() []incident.Node {
	var nodes []incident.Node
	for i := range 64 {
		nodes = append(nodes, incident.Node{
			Name: fmt.Sprintf("gpu-node-%03d", i), Leaf: fmt.Sprintf("leaf-%d", i/8), Rack: fmt.Sprintf("rack-%02d", i/4), Zone: "eu-west-1a",
			Product: "NVIDIA-H100-80GB-HBM3", GPUs: 8, Ready: true, RDMA: map[string]int{"rdma/hca_shared_devices_a": 63},
		})
	}
	return nodes
}

// tenRounds is a planner that tests all nodes once and then, for nine rounds,
// five groups of all of them: far more than it takes to find one bad node.
func tenRounds(p steps.PlanCommTestParams) (steps.PlanCommTestResult, error) {
	number := len(p.Rounds) + 1
	if number > 10 {
		verdict := incident.Verdict{Bad: []incident.BadPart{{Kind: "node", ID: p.Nodes[17].Name, Confidence: 0.99}}, Why: "the node failed with partners that pass elsewhere", Rounds: 10, Tests: 46}
		return steps.PlanCommTestResult{Verdict: &verdict}, nil
	}
	result := steps.PlanCommTestResult{Cleared: 4 * number}
	parts := 5
	if number == 1 {
		parts = 1
	}
	for part := range parts {
		g := incident.Group{ID: fmt.Sprintf("r%d-g%d", number, part+1)}
		for i := part; i < len(p.Nodes); i += parts {
			g.Nodes = append(g.Nodes, p.Nodes[i].Name)
		}
		result.Groups = append(result.Groups, g)
	}
	for i := range 8 {
		result.Suspects = append(result.Suspects, incident.Suspect{Kind: "node", ID: p.Nodes[i].Name, Probability: 0.1})
	}
	return result, nil
}

// outcomeOf is as talkative as a real one: three sweeps and a log per pod, or
// the reason of a failure where the bad node is in the group.
func outcomeOf(p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
	o := incident.Outcome{
		ID: p.Group.ID, Nodes: p.Group.Nodes, Result: incident.TestPass, BusBWGBps: 361.25, ExpectedGBps: 370, Transport: "IB", Tool: "torch",
		Proved: "all-reduce, all-gather and send/recv between these nodes over NCCL gave right sums", Why: "361.3 GB/s at 4 GiB over IB, 98 % of what is expected",
		StartedAt: time.Now().UTC(), EndedAt: time.Now().UTC(),
	}
	for i := range p.Group.Nodes {
		o.Evidence = append(o.Evidence, fmt.Sprintf("commtest/%s/rank-%03d.log", p.Name, i))
	}
	if slices.Contains(p.Group.Nodes, "gpu-node-017") {
		o.Result, o.BusBWGBps, o.FailedNodes, o.Why = incident.TestFail, 0, []string{"gpu-node-017"}, "rank 2 on gpu-node-017 did not arrive at the first all-reduce within 60 s"
		return steps.RunCommTestResult{Outcome: o, Index: ref("commtest/" + p.Name + "/index.json")}, nil
	}
	for _, op := range []string{"all_reduce", "all_gather", "sendrecv"} {
		for size := int64(1 << 20); size <= 4<<30; size *= 8 {
			o.Points = append(o.Points, incident.BusBWPoint{Op: op, Bytes: size, BusBWGBps: 123.456})
		}
	}
	return steps.RunCommTestResult{Outcome: o, Index: ref("commtest/" + p.Name + "/index.json")}, nil
}

// TestOneTestStaysSmall holds the bound of a test's history: 64 nodes, ten
// rounds, 46 groups, on a real server.
func TestOneTestStaysSmall(t *testing.T) {
	w := newWorld()
	w.planTest, w.commTest = tenRounds, outcomeOf
	c := w.serve(t, "size")
	in := workflows.CommTestInput{
		Incident: "incident/size/training/job/llama-70b", Purpose: "diagnose", Prefix: "gpumedic-ct-0011aabb", Namespace: "training", Nodes: rackOf64(),
		Settings: incident.CommTestSettings{
			Enabled: true, Image: "registry.example/pytorch:2.9-cuda13", GPUsPerNode: 8, Resources: map[string]string{"rdma/hca_shared_devices_a": "1"},
			Env: map[string]string{"NCCL_DEBUG": "INFO", "NCCL_IB_HCA": "mlx5"}, Tolerations: []incident.Toleration{{Key: "nvidia.com/gpu", Operator: "Exists"}},
			ExpectedBusBWGBps: 370, SlowBelow: 0.5, StartDeadline: 5 * time.Minute, Deadline: 5 * time.Minute, MaxRounds: 12, MaxBytes: 4 << 30,
		},
		PodLabels: map[string]string{"app": "llama-70b"},
	}
	// The incident around it: a test tells its parent of every round.
	around := worker.New(c, "size-parent", worker.Options{})
	around.RegisterWorkflowWithOptions(func(ctx workflow.Context) (incident.CommTest, error) {
		ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: "size/comm-test", TaskQueue: workflows.TaskQueue("size")})
		var test incident.CommTest
		err := workflow.ExecuteChildWorkflow(ctx, workflows.CommTestType, in).Get(ctx, &test)
		return test, err
	}, workflow.RegisterOptions{Name: "around"})
	if err := around.Start(); err != nil {
		t.Fatal(err)
	}
	defer around.Stop()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "size", TaskQueue: "size-parent"}, "around")
	if err != nil {
		t.Fatal(err)
	}
	var test incident.CommTest
	if err := run.Get(within(t), &test); err != nil || len(test.History) != 10 {
		t.Fatalf("%d rounds, %v", len(test.History), err)
	}
	events, size := 0, 0
	byStep := map[string]int{}
	history := c.GetWorkflowHistory(t.Context(), "size/comm-test", "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			t.Fatal(err)
		}
		events, size = events+1, size+event.Size()
		byStep[event.GetEventType().String()] += event.Size()
		if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
			byStep["scheduled "+a.ActivityType.Name] += event.Size()
		}
	}
	t.Logf("%d events, %d bytes: %v", events, size, byStep)
	if size >= 256<<10 {
		t.Errorf("one test took %d bytes; the bound is 256 KiB", size)
	}
	curves := 0
	for _, round := range test.History {
		for _, o := range round.Outcomes {
			if o.Points != nil {
				curves++
			}
			if (len(o.Evidence) == 1) != (o.Result == incident.TestFail) || len(o.Nodes) != 0 {
				t.Errorf("%s keeps %d names of logs, %d nodes", o.ID, len(o.Evidence), len(o.Nodes))
			}
		}
	}
	if curves != 3 {
		t.Errorf("%d curves are kept for the report, want 3", curves)
	}
}
