package replay_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"gpumedic/embedded"
	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// update records the histories below testdata again, on a real server:
// go test ./workflows/replay -update
var update = flag.Bool("update", false, "record testdata again")

// TestRecord writes the histories that the other tests replay: an incident
// whose target is gone, one that joins the job of its pod, and the job's own,
// which no runbook knows.
func TestRecord(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	server, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	c, err := client.Dial(client.Options{HostPort: server.Address(), Namespace: server.Namespace(), Logger: quiet{hclog.NewNullLogger()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := worker.New(c, workflows.TaskQueue("lab"), worker.Options{DisableRegistrationAliasing: true})
	workflows.Register(w)
	play(w)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	job := incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"}
	gone, pod := job, job
	gone.Name, pod.Kind, pod.Name = "gone", "Pod", "llama-70b-0-x7k2p"
	run(t, c, gone)
	run(t, c, pod)
	await(t, c, job)
	for name, target := range map[string]incident.Target{"gone": gone, "joined": pod, "job": job} {
		write(t, name, fetch(t, c, target.ID()))
	}
}

type quiet struct{ hclog.Logger }

func (q quiet) With(pairs ...any) log.Logger { return quiet{q.Logger.With(pairs...)} }

func run(t *testing.T, c client.Client, target incident.Target) {
	t.Helper()
	books, err := runbooks.Load("")
	if err != nil {
		t.Fatal(err)
	}
	alert := incident.Alert{
		Name: "NobodyKnowsThis", Status: incident.AlertFiring, Labels: map[string]string{"alertname": "NobodyKnowsThis"},
		StartsAt: time.Now().UTC(), ReceivedAt: time.Now().UTC(), Fingerprint: "0123456789abcdef",
	}
	in := workflows.IncidentInput{Hint: target, Runbooks: books, Settings: incident.Settings{Cluster: "lab", StaleAfter: time.Hour, Build: "test", SlackChannel: "C1"}}
	_, err = c.SignalWithStartWorkflow(t.Context(), target.ID(), workflows.AlertSignal, workflows.AlertSignalInput{Alerts: []incident.Alert{alert}},
		client.StartWorkflowOptions{TaskQueue: workflows.TaskQueue("lab")}, workflows.IncidentType, in)
	if err != nil {
		t.Fatal(err)
	}
	await(t, c, target)
}

// await waits until an incident has ended, but not for ever.
func await(t *testing.T, c client.Client, target incident.Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.GetWorkflow(ctx, target.ID(), "").Get(ctx, nil); err != nil {
		t.Fatalf("%s: %v\n%v", target, err, fetch(t, c, target.ID()).Events)
	}
}

// play answers the few steps that these incidents come to.
func play(w worker.Worker) {
	register(w, steps.ResolveTarget, func(p steps.ResolveTargetParams) steps.ResolveTargetResult {
		job := p.Hint
		job.Kind, job.Name = "Job", "llama-70b"
		return steps.ResolveTargetResult{
			Found: p.Hint.Name != "gone", Supported: true, Target: job,
			Workload: incident.EvidenceRef{Name: "workload.json", SHA256: "aa", Bytes: 2}, Simulated: []string{"everything"},
		}
	})
	register(w, steps.CollectEvidence, func(steps.CollectEvidenceParams) steps.CollectEvidenceResult {
		return steps.CollectEvidenceResult{Index: incident.EvidenceRef{Name: "index.json", SHA256: "bb", Bytes: 2}, Files: 2, Bytes: 4}
	})
	register(w, steps.PostCard, func(steps.PostCardParams) steps.PostCardResult {
		return steps.PostCardResult{Ref: steps.MessageRef{Channel: "C1", TS: "1.0"}}
	})
	register(w, steps.PostStory, func(steps.PostStoryParams) steps.PostStoryResult { return steps.PostStoryResult{} })
	register(w, steps.WriteReport, func(steps.WriteReportParams) steps.WriteReportResult {
		return steps.WriteReportResult{JSON: incident.EvidenceRef{Name: "report.json", SHA256: "cc", Bytes: 2}}
	})
}

func register[P, R any](w worker.Worker, name string, fn func(P) R) {
	w.RegisterActivityWithOptions(func(_ context.Context, p P) (R, error) { return fn(p), nil }, activity.RegisterOptions{Name: name})
}

func fetch(t *testing.T, c client.Client, id string) *historypb.History {
	t.Helper()
	history := &historypb.History{}
	for events := c.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		event, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		history.Events = append(history.Events, event)
	}
	return history
}

func write(t *testing.T, name string, history *historypb.History) {
	t.Helper()
	data, err := temporalproto.CustomJSONMarshalOptions{Indent: " "}.Marshal(history)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name+".json"), append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
