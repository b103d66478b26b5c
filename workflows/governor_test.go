package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"gpumedic/activities/governor"
	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

var nightBudget = incident.GovernorSettings{MaxPerDomain: 1, MaxShare: 0.1, MaxPerHour: 2, LeaseTTL: 30 * time.Minute, IsolatedFor: 24 * time.Hour}

// leaseOf asks for one node under a leaf switch of eight in a cluster of 80.
func leaseOf(cluster string, number int) steps.LeaseParams {
	node := fmt.Sprintf("gpu-%02d", number)
	job := incident.Target{Cluster: cluster, Namespace: "training", Kind: "Job", Name: "job-" + node}
	return steps.LeaseParams{Incident: job.ID(), Cluster: cluster, Settings: nightBudget, Lease: incident.Lease{
		OperationID: job.ID() + "/isolate-node", Incident: job.ID(), Target: job, Remedy: steps.IsolateNode, Nodes: []string{node},
		Domains: []incident.Domain{
			{Kind: "leaf", Name: fmt.Sprintf("leaf-%d", number/8), Size: 8, Nodes: []string{node}},
			{Kind: "cluster", Name: cluster, Size: 80, Nodes: []string{node}},
		}}}
}

// govern runs a worker with the governor of a cluster, and gives its clients' hands.
func govern(t *testing.T, cluster string) *governor.Hands {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: server.Address(), Namespace: server.Namespace(), Logger: quiet{hclog.New(&hclog.LoggerOptions{Level: hclog.Warn})}})
	if err != nil {
		t.Fatal(err)
	}
	hands := &governor.Hands{Client: c, Queue: workflows.TaskQueue(cluster)}
	wk := worker.New(c, hands.Queue, worker.Options{})
	workflows.Register(wk)
	wk.RegisterActivityWithOptions(hands.FindHolder, activity.RegisterOptions{Name: steps.FindHolder})
	if err := wk.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wk.Stop(); c.Close() })
	return hands
}

// TestPromise7ManyIncidentsAtOnceStayWithinTheBudget is the night on which one
// crash makes 77 healthy nodes look bad, each to an incident of its own, all
// at the same moment, on a real Temporal.
func TestPromise7ManyIncidentsAtOnceStayWithinTheBudget(t *testing.T) {
	hands := govern(t, "horror")
	var group sync.WaitGroup
	var mutex sync.Mutex
	granted, refused := 0, 0
	for number := range 77 {
		group.Go(func() {
			result, err := hands.AcquireLease(within(t), leaseOf("horror", number))
			mutex.Lock()
			defer mutex.Unlock()
			switch {
			case err != nil:
				t.Errorf("node %d: %v", number, err)
			case result.Granted:
				granted++
			case len(result.Reasons) > 0:
				refused++
			}
		})
	}
	group.Wait()
	if granted != 2 || refused != 75 {
		t.Errorf("%d leases were granted and %d refused with a reason; the budget is 2 nodes an hour", granted, refused)
	}
}

func TestALeaseIsGivenOnceAndGivenBack(t *testing.T) {
	hands := govern(t, "leases")
	ask := func(number int, alter func(*steps.LeaseParams)) steps.LeaseResult {
		t.Helper()
		params := leaseOf("leases", number)
		if alter != nil {
			alter(&params)
		}
		result, err := hands.AcquireLease(within(t), params)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	only := func(p *steps.LeaseParams) { p.Ask = true }
	if !ask(1, only).Granted || !ask(2, only).Granted {
		t.Error("only asking took something out of the budget")
	}
	for range 2 {
		if !ask(1, nil).Granted {
			t.Error("the same lease asked for twice is not the same")
		}
	}
	if result := ask(2, nil); result.Granted {
		t.Error("two nodes of one leaf switch")
	}
	give := steps.ReleaseParams{Cluster: "leases", OperationID: leaseOf("leases", 1).Lease.OperationID}
	for range 2 {
		if _, err := hands.ReleaseLease(within(t), give); err != nil {
			t.Fatal(err)
		}
	}
	if result := ask(2, nil); !result.Granted {
		t.Errorf("the leaf switch stays full although nothing was applied: %v", result.Reasons)
	}
	give = steps.ReleaseParams{Cluster: "leases", OperationID: leaseOf("leases", 2).Lease.OperationID, Applied: true, Isolated: true}
	if _, err := hands.ReleaseLease(within(t), give); err != nil {
		t.Fatal(err)
	}
	if result := ask(3, nil); result.Granted {
		t.Error("an isolated node does not count any more")
	}
}

// TestAGovernorGoesOnWithItsLeases continues as new and loses nothing.
func TestAGovernorGoesOnWithItsLeases(t *testing.T) {
	env := governorAlone(t, func(steps.FindHolderParams) (steps.FindHolderResult, error) {
		return steps.FindHolderResult{Open: true}, nil
	})
	var ask func(number int)
	ask = func(number int) { // one after the other: the environment holds a thousand callbacks
		params := leaseOf("lab", number%77)
		params.Ask = number > 0
		env.UpdateWorkflow(steps.LeaseUpdate, fmt.Sprint(number), callbacks(t), params)
		if number < 1000 {
			env.RegisterDelayedCallback(func() { ask(number + 1) }, time.Millisecond)
		}
	}
	env.RegisterDelayedCallback(func() { ask(0) }, time.Millisecond)
	env.ExecuteWorkflow(workflows.Governor, steps.GovernorInput{Cluster: "lab"})
	next := continued(t, env.GetWorkflowError())
	if len(next.Leases) != 1 || next.Leases[0].State != incident.LeaseHeld || next.Cluster != "lab" {
		t.Errorf("goes on with %+v", next)
	}
}

// TestADeadIncidentsLeaseIsFreed: after its time the holder is looked for. A
// living one keeps its lease, one that cannot be looked for too.
func TestADeadIncidentsLeaseIsFreed(t *testing.T) {
	asked := 0
	env := governorAlone(t, func(steps.FindHolderParams) (steps.FindHolderResult, error) {
		switch asked++; asked {
		case 1:
			return steps.FindHolderResult{Open: true}, nil
		case 2:
			return steps.FindHolderResult{}, final(incident.Internal)
		}
		return steps.FindHolderResult{}, nil
	})
	at := func(after time.Duration, want incident.LeaseState, count int) {
		env.RegisterDelayedCallback(func() {
			leases := leasesOf(t, env)
			if len(leases) != count || count > 0 && leases[0].State != want {
				t.Errorf("after %s: %+v, want %d in state %q", after, leases, count, want)
			}
		}, after)
	}
	env.RegisterDelayedCallback(func() { env.UpdateWorkflow(steps.LeaseUpdate, "a", callbacks(t), leaseOf("lab", 1)) }, time.Second)
	at(35*time.Minute, incident.LeaseHeld, 1)
	at(65*time.Minute, incident.LeaseHeld, 1)
	at(95*time.Minute, incident.LeaseIsolated, 1) // what it may have isolated goes on counting
	at(27*time.Hour, "", 0)
	env.RegisterDelayedCallback(env.CancelWorkflow, 28*time.Hour)
	env.ExecuteWorkflow(workflows.Governor, steps.GovernorInput{Cluster: "lab"})
	if asked != 3 {
		t.Errorf("the holder was looked for %d times, want 3", asked)
	}
}

// governorAlone is a Temporal that skips time, with a governor.
func governorAlone(t *testing.T, find func(steps.FindHolderParams) (steps.FindHolderResult, error)) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	env := timeless()
	workflows.Register(env)
	env.RegisterActivityWithOptions(func(_ context.Context, p steps.FindHolderParams) (steps.FindHolderResult, error) { return find(p) },
		activity.RegisterOptions{Name: steps.FindHolder})
	return env
}

func leasesOf(t *testing.T, env *testsuite.TestWorkflowEnvironment) []incident.Lease {
	t.Helper()
	value, err := env.QueryWorkflow(workflows.ViewQuery)
	if err != nil {
		t.Fatal(err)
	}
	var leases []incident.Lease
	if err := value.Get(&leases); err != nil {
		t.Fatal(err)
	}
	return leases
}

// continued reads what a workflow goes on with.
func continued(t *testing.T, err error) steps.GovernorInput {
	t.Helper()
	var next *workflow.ContinueAsNewError
	if !errors.As(err, &next) {
		t.Fatalf("ended with %v", err)
	}
	var in steps.GovernorInput
	if err := converter.GetDefaultDataConverter().FromPayloads(next.Input, &in); err != nil {
		t.Fatal(err)
	}
	return in
}
