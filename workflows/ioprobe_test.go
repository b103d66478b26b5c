package workflows_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// probing is an incident whose settings allow the probe.
func probing(t *testing.T, alerts ...incident.Alert) workflows.IncidentInput {
	t.Helper()
	in := input(t, alerts...)
	in.Settings.IOProbe = incident.IOProbeSettings{Enabled: true, MaxBytes: 1 << 30, SlowMBps: 100, SlowSmallRead: 5 * time.Millisecond}
	return in
}

func measured(id string, state incident.State, value string) incident.Finding {
	return incident.Finding{ID: id, Check: steps.RunIOProbe, State: state, Subject: "pvc/web-images", Value: value, Why: id}
}

// waiting is what the check of logs says of who waits longest.
func waiting() incident.Finding {
	return incident.Finding{ID: incident.InputWaits, Check: steps.CheckRankLogs, State: incident.Yes, Subject: "job/llama-70b", Value: "80 %",
		Evidence: []string{"logs/rank-003.log", "logs/rank-001.log"}}
}

// TestProbeComesBeforeTheCause: what it measured decides which remedy is first.
func TestProbeComesBeforeTheCause(t *testing.T) {
	for measures, first := range map[string]string{incident.StorageSlow: steps.FasterStorage, incident.SmallFilesSlow: steps.CacheDataset} {
		w := newWorld()
		w.check = starved()
		var asked steps.RunIOProbeParams
		w.probe = func(p steps.RunIOProbeParams) (steps.RunIOProbeResult, error) {
			asked = p
			return steps.RunIOProbeResult{Findings: []incident.Finding{measured(measures, incident.Yes, "41 MB/s, 38 ms")}, Why: "read", Evidence: ref("ioprobe/x.log")}, nil
		}
		var tried []string
		w.plan = func(p steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
			tried = append(tried, p.Remedy)
			return steps.PlanRemedyResult{WhyNot: "not here"}, nil
		}
		finish(t, w.environment(t), probing(t, alertOf("DatasetLoadingSlow")))
		if order := []int{w.order(steps.CheckLoading), w.order(steps.RunIOProbe), w.order(steps.CleanIOProbe), w.order(steps.PlanRemedy)}; !slices.IsSorted(order) || order[0] < 0 {
			t.Errorf("order of steps: %v", w.log)
		}
		if len(tried) == 0 || tried[0] != first {
			t.Errorf("%s: tried %v, want %s first", measures, tried, first)
		}
		if asked.Workload != ref("workload.json") || asked.Index != ref("index.json") || !strings.HasPrefix(asked.Name, "gpumedic-io-") || asked.Namespace != "training" {
			t.Errorf("asked %+v", asked)
		}
		if !slices.ContainsFunc(w.reported.Findings, func(f incident.Finding) bool { return f.ID == measures && f.Value == "41 MB/s, 38 ms" }) || !slices.Contains(w.reported.Evidence, ref("ioprobe/x.log")) {
			t.Errorf("the record lacks what was measured: %+v", w.reported.Evidence)
		}
	}
}

// TestProbeGoesWhereTheWaitIsLongest.
func TestProbeGoesWhereTheWaitIsLongest(t *testing.T) {
	w := newWorld()
	w.check = func(name string, _ steps.CheckParams) (steps.CheckResult, error) {
		if name == steps.CheckRankLogs {
			return steps.CheckResult{Findings: []incident.Finding{waiting()}}, nil
		}
		return steps.CheckResult{}, nil
	}
	var logs []string
	w.probe = func(p steps.RunIOProbeParams) (steps.RunIOProbeResult, error) {
		logs = p.Logs
		return steps.RunIOProbeResult{Why: "read"}, nil
	}
	finish(t, w.environment(t), probing(t, alertOf("DatasetLoadingSlow")))
	if !slices.Equal(logs, []string{"logs/rank-003.log", "logs/rank-001.log"}) {
		t.Errorf("logs %v", logs)
	}
}

// TestNoProbe where nothing waits, where it is switched off, and in other cases.
func TestNoProbe(t *testing.T) {
	calm := func(name string, p steps.CheckParams) (steps.CheckResult, error) {
		result, err := starved()(name, p)
		for i := range result.Findings {
			if result.Findings[i].ID == incident.InputWaits {
				result.Findings[i].State = incident.No
			}
		}
		return result, err
	}
	for name, c := range map[string]struct {
		check func(string, steps.CheckParams) (steps.CheckResult, error)
		in    workflows.IncidentInput
		said  bool
	}{
		"nothing waits":  {calm, probing(t, alertOf("DatasetLoadingSlow")), false},
		"switched off":   {starved(), input(t, alertOf("DatasetLoadingSlow")), true},
		"another matter": {outOfMemory("memory-fragmentation"), probing(t, alertOf("CUDAOutOfMemory")), false},
	} {
		w := newWorld()
		w.check = c.check
		w.plan = func(steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
			return steps.PlanRemedyResult{WhyNot: "not here"}, nil
		}
		finish(t, w.environment(t), c.in)
		said := slices.ContainsFunc(w.reported.Story, func(e incident.Event) bool { return strings.Contains(e.Text, "no probe of storage") })
		if w.did(steps.RunIOProbe) || w.did(steps.CleanIOProbe) || said != c.said {
			t.Errorf("%s: steps %v, said %v", name, w.log, said)
		}
	}
}

// TestProbeThatCannotBeRun is unknown, is cleaned up after, and does not end the
// incident.
func TestProbeThatCannotBeRun(t *testing.T) {
	w := newWorld()
	w.check = starved(incident.Finding{ID: incident.CacheMissing, Check: steps.CheckLoading, State: incident.Yes})
	w.probe = func(steps.RunIOProbeParams) (steps.RunIOProbeResult, error) {
		return steps.RunIOProbeResult{}, final(incident.Forbidden)
	}
	env := w.environment(t)
	answer(t, env, time.Minute, incident.Approve, "ada")
	w.plan = templatePlan
	result := finish(t, env, probing(t, alertOf("DatasetLoadingSlow")))
	if result.Outcome != incident.Resolved || !w.did(steps.CleanIOProbe) {
		t.Errorf("outcome %s, steps %v", result.Outcome, w.log)
	}
	unknown := 0
	for _, f := range w.reported.Findings {
		if f.Check == steps.RunIOProbe && f.State == incident.Unknown && strings.Contains(f.Why, "could not ask") {
			unknown++
		}
	}
	if unknown != 2 {
		t.Errorf("%d of 2 answers are unknown: %+v", unknown, w.reported.Findings)
	}
}

// probe plays the probe's Job as a file that outlives the worker.
func (j jobs) probe(ctx context.Context, p steps.RunIOProbeParams) (steps.RunIOProbeResult, error) {
	return steps.RunIOProbeResult{Findings: []incident.Finding{measured(incident.StorageSlow, incident.Yes, "41 MB/s")}, Why: "read"}, j.join(ctx, p.Name, true)
}

func (j jobs) cleanProbe(ctx context.Context, p steps.CleanIOProbeParams) (steps.CleanIOProbeResult, error) {
	_, err := j.clean(ctx, steps.CleanCommTestParams{Names: []string{p.Name}})
	return steps.CleanIOProbeResult{Removed: true}, err
}

// inProbe opens an incident of a starved job and waits until its probe is there.
func inProbe(t *testing.T, c client.Client, cluster string, j jobs) incident.Target {
	t.Helper()
	in, alert, job := onServer(t, cluster)
	in.Settings.IOProbe = probing(t).Settings.IOProbe
	alert.Name, alert.Labels = "DatasetLoadingSlow", map[string]string{"alertname": "DatasetLoadingSlow"}
	deliver(t, c, in, alert)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if len(j.left(t)) == 1 {
			return job
		}
	}
	t.Fatalf("no probe was seen: %s", storyOf(t, c, job.ID()))
	return job
}

// TestPromise5WorkerKilledInTheMiddleOfAProbe: another worker joins the Job that
// is there, and nothing is left in the end.
func TestPromise5WorkerKilledInTheMiddleOfAProbe(t *testing.T) {
	t.Setenv(workerStarves, "1")
	c, j := dial(t), jobs{t.TempDir()}
	first := startWorker(t, "probe-killed", j)
	job := inProbe(t, c, "probe-killed", j)
	kill(first)
	startWorker(t, "probe-killed", j)
	if err := os.WriteFile(filepath.Join(j.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); len(j.left(t)) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("left behind: %v\n%s", j.left(t), storyOf(t, c, job.ID()))
		}
	}
	if created := strings.Fields(j.book(t, "created")); len(created) != 1 {
		t.Errorf("created %v: a Job was made twice", created)
	}
	stopIncident(t, c, job)
}

// TestCancelInTheMiddleOfAProbe: the Job is removed before the incident ends.
func TestCancelInTheMiddleOfAProbe(t *testing.T) {
	t.Setenv(workerStarves, "1")
	c, j := dial(t), jobs{t.TempDir()}
	startWorker(t, "probe-cancelled", j)
	job := inProbe(t, c, "probe-cancelled", j)
	stopIncident(t, c, job)
	if left := j.left(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// stopIncident cancels an incident, where it is still open, and waits for its end.
func stopIncident(t *testing.T, c client.Client, job incident.Target) {
	t.Helper()
	handle, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: job.ID(), UpdateName: workflows.CancelUpdate, Args: []any{workflows.CancelInput{By: "ada", Reason: "enough"}}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	var result workflows.Result
	if err := c.GetWorkflow(t.Context(), job.ID(), "").Get(within(t), &result); err != nil || result.Outcome != incident.Cancelled {
		t.Errorf("outcome %q, %v", result.Outcome, err)
	}
}
