package workflows_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// workerProcess is the variable that makes this test binary a worker: the
// address of the tests' Temporal. The others tell it what to play.
const (
	workerProcess   = "GPUMEDIC_TEST_WORKER"
	workerNamespace = "GPUMEDIC_TEST_NAMESPACE"
	workerCluster   = "GPUMEDIC_TEST_CLUSTER"
	workerJobs      = "GPUMEDIC_TEST_JOBS"
	// workerStarves makes its world that of a job that waits for its input.
	workerStarves = "GPUMEDIC_TEST_STARVES"
)

// jobs plays the cluster's test Jobs as files of a folder, which outlives the
// worker that made them, as Jobs do. Jobs of a second round wait for the file
// "go"; every creation is noted in "created".
type jobs struct{ dir string }

func (j jobs) path(name string) string { return filepath.Join(j.dir, "job-"+name) }

// run creates the Job or joins it, and waits for its end.
func (j jobs) run(ctx context.Context, p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
	if err := j.join(ctx, p.Name, strings.Contains(p.Name, "-d2-")); err != nil {
		return steps.RunCommTestResult{}, err
	}
	return steps.RunCommTestResult{Outcome: incident.Outcome{ID: p.Group.ID, Nodes: p.Group.Nodes, Result: incident.TestPass, BusBWGBps: 300, Why: "passed"}}, nil
}

// join creates a Job or takes the one that is there, and waits for "go".
func (j jobs) join(ctx context.Context, name string, waits bool) error {
	file, err := os.OpenFile(j.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		file.Close()
		err = j.note("created", name)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for waits && !exists(filepath.Join(j.dir, "go")) {
		activity.RecordHeartbeat(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

func (j jobs) clean(_ context.Context, p steps.CleanCommTestParams) (steps.CleanCommTestResult, error) {
	for _, name := range p.Names {
		if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return steps.CleanCommTestResult{}, err
		}
	}
	return steps.CleanCommTestResult{Removed: len(p.Names)}, nil
}

func (j jobs) note(book, line string) error {
	file, err := os.OpenFile(filepath.Join(j.dir, book), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintln(file, line)
	return err
}

// left are the Jobs that are there now.
func (j jobs) left(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(j.path("*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// book is what was noted.
func (j jobs) book(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(j.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// except takes what a world registers, without the steps that jobs play.
type except struct{ registry }

func (e except) RegisterActivityWithOptions(a any, options activity.RegisterOptions) {
	played := []string{steps.RunCommTest, steps.CleanCommTest, steps.RunIOProbe, steps.CleanIOProbe}
	if !slices.Contains(played, options.Name) {
		e.registry.RegisterActivityWithOptions(a, options)
	}
}

// beWorker serves until it is killed.
func beWorker(address string) {
	c, err := client.Dial(client.Options{HostPort: address, Namespace: os.Getenv(workerNamespace), Logger: quiet{hclog.NewNullLogger()}})
	if err != nil {
		panic(err)
	}
	w := worker.New(c, workflows.TaskQueue(os.Getenv(workerCluster)), worker.Options{})
	j := jobs{os.Getenv(workerJobs)}
	world := twoRounds(os.Getenv(workerCluster))
	world.card = func(p steps.PostCardParams) (steps.PostCardResult, error) {
		return steps.PostCardResult{Ref: steps.MessageRef{Channel: "C1", TS: "1"}}, j.note("cards", p.Card.Progress)
	}
	if os.Getenv(workerStarves) != "" {
		world.check = starved()
	}
	world.register(except{w})
	w.RegisterActivityWithOptions(j.probe, activity.RegisterOptions{Name: steps.RunIOProbe})
	w.RegisterActivityWithOptions(j.cleanProbe, activity.RegisterOptions{Name: steps.CleanIOProbe})
	w.RegisterActivityWithOptions(j.run, activity.RegisterOptions{Name: steps.RunCommTest})
	w.RegisterActivityWithOptions(j.clean, activity.RegisterOptions{Name: steps.CleanCommTest})
	if err := w.Start(); err != nil {
		panic(err)
	}
	fmt.Println("serving")
	select {}
}

// twoRounds is a world whose test has two rounds, the second of two groups.
func twoRounds(cluster string) *world {
	w := newWorld()
	w.check = unexplained
	w.planTest = script(incident.Verdict{Clean: true, Why: "all passed"}, everybody,
		[]incident.Group{group("r2-g1", "gpu-00", "gpu-01"), group("r2-g2", "gpu-08", "gpu-09")})
	resolve := w.resolve
	w.resolve = func(p steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		result, err := resolve(p)
		result.Target.Cluster = cluster
		return result, err
	}
	return w
}

// startWorker starts a worker process and waits until it serves.
func startWorker(t *testing.T, cluster string, j jobs) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerProcess+"="+server.Address(), workerNamespace+"="+server.Namespace(), workerCluster+"="+cluster, workerJobs+"="+j.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("the worker did not start")
	}
	return cmd
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // SIGKILL; it may be dead already
	_ = cmd.Wait()
}

// inSecondRound opens an incident and waits until both Jobs of the second
// round are there; it gives what the incident shows then.
func inSecondRound(t *testing.T, c client.Client, cluster string, j jobs) (workflows.View, incident.Target) {
	t.Helper()
	in, alert, job := onServer(t, cluster)
	deliver(t, c, in, alert)
	var view workflows.View
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		value, err := c.QueryWorkflow(t.Context(), job.ID(), "", workflows.ViewQuery)
		if err != nil || len(j.left(t)) < 2 {
			continue
		}
		view = workflows.View{}
		if err := value.Get(&view); err != nil {
			t.Fatal(err)
		}
		if view.Testing != nil && len(view.Testing.History) == 2 {
			return view, job
		}
	}
	t.Fatalf("the second round was not seen: %+v", view.Testing)
	return view, job
}

func dial(t *testing.T) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: server.Address(), Namespace: server.Namespace(), Logger: quiet{hclog.NewNullLogger()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestPromise5WorkerKilledInTheMiddleOfARound: another worker joins the Jobs
// that are there, the test goes on to its verdict, and no Job is left.
func TestPromise5WorkerKilledInTheMiddleOfARound(t *testing.T) {
	c, j := dial(t), jobs{t.TempDir()}
	first := startWorker(t, "killed", j)
	within := within(t)
	view, job := inSecondRound(t, c, "killed", j)
	if got, want := view.Testing.Progress(), "Round 2: 2 groups over 4 nodes; still suspected: gpu-01 (20 %); 1 node cleared"; got != want || view.State != "testing" {
		t.Errorf("state %q, progress %q, want %q", view.State, got, want)
	}
	if done := view.Testing.History[0].Outcomes; len(done) != 1 || done[0].Result != incident.TestPass {
		t.Errorf("the first round shows %+v", done)
	}
	for !strings.Contains(j.book(t, "cards"), view.Testing.Progress()) {
		if time.Sleep(50 * time.Millisecond); within.Err() != nil {
			t.Fatalf("the card told %q", j.book(t, "cards"))
		}
	}
	kill(first)
	startWorker(t, "killed", j)
	if err := os.WriteFile(filepath.Join(j.dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var test incident.CommTest
	if err := c.GetWorkflow(t.Context(), job.ID()+"/comm-test/diagnose", "").Get(within, &test); err != nil {
		t.Fatal(err)
	}
	if !test.Verdict.Clean || len(test.History) != 2 || len(test.History[1].Outcomes) != 2 || test.History[1].Outcomes[1].Result != incident.TestPass {
		t.Errorf("test %+v", test)
	}
	if err := c.GetWorkflow(t.Context(), job.ID(), "").Get(within, nil); err != nil {
		t.Fatal(err)
	}
	if left := j.left(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	created := strings.Fields(j.book(t, "created"))
	slices.Sort(created)
	if len(created) != 3 || len(slices.Compact(created)) != 3 {
		t.Errorf("created %v: a Job was made twice", created)
	}
}

// TestCancelInTheMiddleOfARound: the Jobs are removed before the incident ends.
func TestCancelInTheMiddleOfARound(t *testing.T) {
	c, j := dial(t), jobs{t.TempDir()}
	startWorker(t, "cancelled", j)
	_, job := inSecondRound(t, c, "cancelled", j)
	handle, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
		WorkflowID: job.ID(), UpdateName: workflows.CancelUpdate, Args: []any{workflows.CancelInput{By: "ada", Reason: "enough"}}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := handle.Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var result workflows.Result
	if err := c.GetWorkflow(t.Context(), job.ID(), "").Get(within(t), &result); err != nil || result.Outcome != incident.Cancelled {
		t.Errorf("outcome %q, %v", result.Outcome, err)
	}
	if left := j.left(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	value, err := c.QueryWorkflow(t.Context(), job.ID(), "", workflows.ViewQuery)
	if err != nil {
		t.Fatal(err)
	}
	var view workflows.View
	if err := value.Get(&view); err != nil {
		t.Fatal(err)
	}
	if test := view.Record.CommTest; test == nil || !test.Verdict.Inconclusive || len(test.History) != 1 || view.Testing != nil {
		t.Errorf("the record has %+v: what the first round showed is lost", test)
	}
}
