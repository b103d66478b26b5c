package workflows_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"gpumedic/embedded"
	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// server is a real Temporal, shared by the tests that need one.
var server *embedded.Server

func TestMain(m *testing.M) {
	if address := os.Getenv(workerProcess); address != "" {
		beWorker(address)
		return
	}
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var err error
		if server, err = embedded.Start(ctx, embedded.Options{}); err != nil {
			println(err.Error())
			return 1
		}
		defer server.Stop()
		return m.Run()
	}())
}

// registry takes what a world registers; both the test environment and a
// worker can.
type registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

var _ registry = (*testsuite.TestWorkflowEnvironment)(nil)

// serve plays the world behind a real server; cluster keeps tests apart.
func (w *world) serve(t *testing.T, cluster string) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: server.Address(), Namespace: server.Namespace(), Logger: quiet{hclog.New(&hclog.LoggerOptions{Level: hclog.Warn})}})
	if err != nil {
		t.Fatal(err)
	}
	wk := worker.New(c, workflows.TaskQueue(cluster), worker.Options{})
	w.register(wk)
	if err := wk.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wk.Stop(); c.Close() })
	return c
}

func deliver(t *testing.T, c client.Client, in workflows.IncidentInput, alerts ...incident.Alert) {
	t.Helper()
	_, err := c.SignalWithStartWorkflow(t.Context(), in.Hint.ID(), workflows.AlertSignal, workflows.AlertSignalInput{Alerts: alerts},
		client.StartWorkflowOptions{TaskQueue: workflows.TaskQueue(in.Hint.Cluster)}, workflows.IncidentType, in)
	if err != nil {
		t.Fatal(err)
	}
}

// onServer is input with everything in a cluster of its own, and alerts that
// are fresh by the real clock.
func onServer(t *testing.T, cluster string) (workflows.IncidentInput, incident.Alert, incident.Target) {
	t.Helper()
	in := input(t)
	in.Hint.Cluster, in.Settings.Cluster = cluster, cluster
	alert := alertNow()
	alert.StartsAt, alert.ReceivedAt = time.Now().Add(-time.Minute), time.Now()
	job := target
	job.Cluster = cluster
	return in, alert, job
}

// TestPromise2 sends alerts that name pods and the job, at once: one incident
// of the job takes them all, whoever comes first.
func TestPromise2OneTargetOneIncident(t *testing.T) {
	in, alert, job := onServer(t, "promise2")
	w := newWorld()
	resolve := w.resolve
	w.resolve = func(p steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		result, err := resolve(p)
		result.Target = job
		return result, err
	}
	c := w.serve(t, "promise2")
	for _, name := range []string{"llama-70b-0-abcde", "llama-70b-1-fghij", "llama-70b-2-klmno"} {
		pod := in
		pod.Hint.Kind, pod.Hint.Name = "Pod", name
		other := alert
		other.Fingerprint = name
		deliver(t, c, pod, other)
	}
	deliver(t, c, in, alert)
	deliver(t, c, in, alert)
	for _, name := range []string{"llama-70b-0-abcde", "llama-70b-1-fghij", "llama-70b-2-klmno"} {
		var result workflows.Result
		id := incident.Target{Cluster: "promise2", Namespace: "training", Kind: "Pod", Name: name}.ID()
		if err := c.GetWorkflow(t.Context(), id, "").Get(within(t), &result); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, storyOf(t, c, id))
		}
		if result.JoinedTo != job.ID() {
			t.Errorf("%s joined %q", name, result.JoinedTo)
		}
	}
	view := untilAsking(t, c, job.ID())
	if len(view.Record.Alerts) != 4 {
		t.Errorf("the job's incident has %d alerts, want 4", len(view.Record.Alerts))
	}
	vote(t, c, job.ID(), incident.Vote{By: "ada", Via: "cli", PlanHash: view.Asking.Hash, Verdict: incident.Deny})
	if err := c.GetWorkflow(t.Context(), job.ID(), "").Get(within(t), nil); err != nil {
		t.Error(err)
	}
}

// within bounds a wait for something that should take a moment.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// storyOf is the history of an incident that did not do as it should.
func storyOf(t *testing.T, c client.Client, id string) string {
	var lines []string
	history := c.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			return err.Error()
		}
		lines = append(lines, fmt.Sprint(event))
	}
	return strings.Join(lines[max(0, len(lines)-6):], "\n")
}

func untilAsking(t *testing.T, c client.Client, id string) workflows.View {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		value, err := c.QueryWorkflow(t.Context(), id, "", workflows.ViewQuery)
		if err != nil {
			continue
		}
		var view workflows.View
		if err := value.Get(&view); err != nil {
			t.Fatal(err)
		}
		if view.Asking != nil {
			return view
		}
	}
	t.Fatalf("%s never asked", id)
	return workflows.View{}
}

func vote(t *testing.T, c client.Client, id string, v incident.Vote) {
	t.Helper()
	handle, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: workflows.VoteUpdate, Args: []any{v}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := handle.Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// TestOneIncidentStaysSmall holds the bounds that docs/BENCHMARKS.md states.
func TestOneIncidentStaysSmall(t *testing.T) {
	in, alert, job := onServer(t, "small")
	w := newWorld()
	resolve := w.resolve
	w.resolve = func(p steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		result, err := resolve(p)
		result.Target = job
		return result, err
	}
	c := w.serve(t, "small")
	deliver(t, c, in, alert)
	view := untilAsking(t, c, job.ID())
	vote(t, c, job.ID(), incident.Vote{By: "ada", Via: "cli", PlanHash: view.Asking.Hash, Verdict: incident.Approve})
	var result workflows.Result
	if err := c.GetWorkflow(t.Context(), job.ID(), "").Get(within(t), &result); err != nil || result.Outcome != incident.Resolved {
		t.Fatalf("outcome %q, %v", result.Outcome, err)
	}
	events, size := 0, 0
	history := c.GetWorkflowHistory(t.Context(), job.ID(), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			t.Fatal(err)
		}
		events, size = events+1, size+event.Size()
	}
	t.Logf("%d events, %d bytes", events, size)
	if events >= 500 || size >= 256<<10 {
		t.Errorf("one incident took %d events and %d bytes; the bounds are 500 and 256 KiB", events, size)
	}
}
