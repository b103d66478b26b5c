package commtest

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Hands carries out the testing steps in one cluster. Kube and Store must be
// set; every other field has a default. Safe for concurrent use.
type Hands struct {
	Kube  kubernetes.Interface
	Store incident.EvidenceStore
	// Dynamic reaches MPIJobs; nil = nccl-tests cannot be run.
	Dynamic dynamic.Interface
	// Log is nil for silence.
	Log hclog.Logger
	// Now is the clock of outcomes; nil is time.Now.
	Now func() time.Time
	// Heartbeat is called every few seconds while a test is waited for, with a
	// sentence that says for what; nil when somebody else beats.
	Heartbeat func(ctx context.Context, details ...any)
}

// RunCommTest creates the group's test or joins the one that an earlier
// attempt created under the same name, waits for its end, keeps its logs and
// judges them. It may be repeated. That nodes failed is an outcome; an error
// means that the cluster or the evidence store could not be asked.
func (h *Hands) RunCommTest(ctx context.Context, p steps.RunCommTestParams) (steps.RunCommTestResult, error) {
	started := h.now()
	p.Settings = settled(p.Settings)
	if err := validate(p); err != nil {
		return steps.RunCommTestResult{}, err
	}
	outcome, entries, err := h.run(ctx, p)
	if err != nil {
		return steps.RunCommTestResult{}, err
	}
	result := steps.RunCommTestResult{Outcome: outcome}
	if result.Index, err = h.keepIndex(ctx, p.Name, entries); err != nil {
		return steps.RunCommTestResult{}, err
	}
	for _, entry := range entries {
		result.Outcome.Evidence = append(result.Outcome.Evidence, entry.Name)
	}
	result.Outcome.StartedAt, result.Outcome.EndedAt = started, h.now()
	h.log().Info("communication test ended", "incident", p.Incident, "job", p.Name,
		"result", result.Outcome.Result, "why", result.Outcome.Why)
	return result, nil
}

// run creates or joins the test, waits for it and judges it.
func (h *Hands) run(ctx context.Context, p steps.RunCommTestParams) (incident.Outcome, []incident.IndexEntry, error) {
	machine, err := h.choose(ctx, p.Group, p.Settings)
	if err != nil {
		return incident.Outcome{}, nil, err
	}
	job, err := machine.ensure(ctx, h, p)
	if err != nil {
		return incident.Outcome{}, nil, err
	}
	seen, err := h.wait(ctx, p, machine, job)
	if err != nil {
		return incident.Outcome{}, nil, err
	}
	return machine.finish(ctx, h, p, seen)
}

// conclude lets what the cluster said overrule what the pods said: a test
// whose pods never stood where they should is no test, whatever they printed.
func conclude(p steps.RunCommTestParams, seen sight, logs []RankLog) incident.Outcome {
	if seen.trouble != "" {
		outcome := blank(p, ToolTorch)
		outcome.Why = seen.trouble
		for _, log := range logs {
			outcome.Simulated = outcome.Simulated || log.Simulated
		}
		return outcome
	}
	want := wantOf(p)
	want.TimedOut, want.StartSpread = seen.timedOut, seen.spread
	return Parse(logs, want)
}

func (h *Hands) now() time.Time {
	if h.Now != nil {
		return h.Now().UTC()
	}
	return time.Now().UTC()
}

func (h *Hands) log() hclog.Logger {
	if h.Log != nil {
		return h.Log
	}
	return hclog.NewNullLogger()
}

func (h *Hands) beat(ctx context.Context, saying string) {
	if h.Heartbeat != nil {
		h.Heartbeat(ctx, saying)
	}
}
