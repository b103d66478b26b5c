package ioprobe

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/kubernetes"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Hands probes storage in one cluster. Kube and Store must be set; every other
// field has a default. Safe for concurrent use.
type Hands struct {
	Kube  kubernetes.Interface
	Store incident.EvidenceStore
	// Log is nil for silence.
	Log hclog.Logger
	// Heartbeat is called every few seconds while a probe is waited for; nil
	// when somebody else beats.
	Heartbeat func(ctx context.Context, details ...any)
}

// RunIOProbe creates the probe or joins the one that an earlier attempt created
// under the same name, waits for its end, keeps its log and judges it. It may be
// repeated. That a probe could not be run is an answer (unknown, with the
// reason); an error means that the cluster or the evidence store could not be asked.
func (h *Hands) RunIOProbe(ctx context.Context, p steps.RunIOProbeParams) (steps.RunIOProbeResult, error) {
	if err := validate(p); err != nil {
		return steps.RunIOProbeResult{}, err
	}
	place, why, err := h.choose(ctx, p)
	if err != nil {
		return steps.RunIOProbeResult{}, err
	}
	switch {
	case why != "":
		return unknown(place, why), nil
	case len(place.volumes) == 0 && len(place.refused) == 0:
		return steps.RunIOProbeResult{Why: "the ranks mount no volume over the network, so no storage was probed"}, nil
	case len(place.volumes) == 0:
		return unknown(place, "the storage was not probed: "+incident.Some(place.refused)), nil
	}
	job, err := h.ensure(ctx, p, place)
	if err != nil {
		return steps.RunIOProbeResult{}, err
	}
	return h.follow(ctx, p, place, job)
}

// follow waits for the probe and reads what it says, however it ended.
func (h *Hands) follow(ctx context.Context, p steps.RunIOProbeParams, place place, job *batchv1.Job) (steps.RunIOProbeResult, error) {
	seen, err := h.wait(ctx, p, job)
	if err != nil {
		return steps.RunIOProbeResult{}, err
	}
	said, evidence, err := h.read(ctx, p, seen)
	if err != nil {
		return steps.RunIOProbeResult{}, err
	}
	result := judge(said, seen, place, p.Settings)
	result.Evidence = evidence
	for i := range result.Findings {
		if evidence.Name != "" {
			result.Findings[i].Evidence = []string{evidence.Name}
		}
	}
	h.log().Info("probe of storage ended", "incident", p.Incident, "job", p.Name, "node", place.node, "why", result.Why)
	return result, nil
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

// beatEvery is far under any heartbeat time-out we would set.
const beatEvery = 2 * time.Second
