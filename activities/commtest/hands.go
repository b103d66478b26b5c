package commtest

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Hands carries out the testing steps in one cluster. Kube and Store must be
// set; every other field has a default. Safe for concurrent use.
type Hands struct {
	Kube  kubernetes.Interface
	Store incident.EvidenceStore
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
	job, err := h.ensure(ctx, p)
	if err != nil {
		return steps.RunCommTestResult{}, err
	}
	seen, err := h.wait(ctx, p, job)
	if err != nil {
		return steps.RunCommTestResult{}, err
	}
	logs, entries, err := h.collect(ctx, p, seen)
	if err != nil {
		return steps.RunCommTestResult{}, err
	}
	result := steps.RunCommTestResult{Outcome: conclude(p, seen, logs)}
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

// CleanCommTest deletes the named Jobs; the cluster then collects their pods,
// Services and ConfigMaps. A Job that is not there is success, one that is not
// ours is left alone and reported as a conflict after the others are gone.
func (h *Hands) CleanCommTest(ctx context.Context, p steps.CleanCommTestParams) (steps.CleanCommTestResult, error) {
	var result steps.CleanCommTestResult
	var troubles []error
	for _, name := range p.Names {
		if name == "" {
			continue
		}
		removed, err := h.remove(ctx, p, name)
		if err != nil {
			troubles = append(troubles, err)
		}
		if removed {
			result.Removed++
		}
	}
	return result, errors.Join(troubles...)
}

func (h *Hands) remove(ctx context.Context, p steps.CleanCommTestParams, name string) (bool, error) {
	jobs := h.Kube.BatchV1().Jobs(p.Namespace)
	job, err := jobs.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fault(err, "reading test job %s/%s before its removal", p.Namespace, name)
	}
	if job.Labels[steps.OwnerLabel] != steps.OwnerValue(p.Incident) {
		return false, foreign("job", p.Namespace, name)
	}
	background := metav1.DeletePropagationBackground
	err = jobs.Delete(ctx, name, metav1.DeleteOptions{
		PropagationPolicy: &background, Preconditions: metav1.NewUIDPreconditions(string(job.UID)),
	})
	// A conflict means that the Job we read is gone and its name is used anew.
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return false, fault(err, "deleting test job %s/%s", p.Namespace, name)
	}
	h.log().Info("test job removed", "incident", p.Incident, "job", name)
	return true, nil
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
