package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

// Settings say how series name things and how far back to look.
type Settings struct {
	// Window is how far back curves go; 0 = an hour.
	Window time.Duration
	// Timeout bounds one query; 0 = 10 s.
	Timeout time.Duration
	// Matchers are added to every selector, label to value.
	Matchers map[string]string
	// Pods and Nodes are the labels that name pods and nodes, tried in order.
	Pods  []PodLabels
	Nodes []string
}

// PodLabels are the two labels that name a pod together.
type PodLabels struct{ Namespace, Pod string }

// Hands asks one Prometheus. All fields are needed, but API: nil where no
// Prometheus is configured. It may be used from several goroutines.
type Hands struct {
	API      v1.API
	Settings Settings
	Store    incident.EvidenceStore
	Log      hclog.Logger
	Now      func() time.Time
}

// New returns hands with the real clock and, when log is nil, a silent logger.
func New(api v1.API, settings Settings, store incident.EvidenceStore, log hclog.Logger) *Hands {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if settings.Window == 0 {
		settings.Window = time.Hour
	}
	if settings.Timeout == 0 {
		settings.Timeout = 10 * time.Second
	}
	return &Hands{API: api, Settings: settings, Store: store, Log: log.Named("metrics"), Now: time.Now}
}

// answer carries out a check: it reads whom to ask about, bounds the asking and
// keeps what was asked. Where nothing can be asked, everything is unknown.
func (h *Hands) answer(ctx context.Context, check string, params steps.CheckParams, questions []string,
	ask func(context.Context, *asker, patients) ([]incident.Finding, []file)) (steps.CheckResult, error) {
	p, err := h.patients(ctx, params)
	if err != nil {
		return steps.CheckResult{}, err
	}
	target := p.workload.Target
	if why := h.unable(p); why != "" {
		return unanswered(check, target, why, questions...), nil
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := h.asker(target)
	findings, files := ask(asking, a, p)
	if err := stopped(ctx, check, target); err != nil {
		return steps.CheckResult{}, err
	}
	result := steps.CheckResult{Findings: a.doubted(findings)}
	err = h.keepAll(ctx, &result, files)
	return result, err
}

// unable says why nothing can be asked about the target, "" when it can.
func (h *Hands) unable(p patients) string {
	switch {
	case h.API == nil:
		return "no Prometheus is configured (prometheus.url); only its metrics could tell"
	case len(p.pods) == 0:
		return fmt.Sprintf("%s had no pods when it was looked at", p.workload.Target)
	}
	return ""
}

// unanswered is the answer to questions that could not be asked.
func unanswered(check string, target incident.Target, why string, questions ...string) steps.CheckResult {
	var result steps.CheckResult
	for _, id := range questions {
		result.Findings = append(result.Findings, incident.Finding{
			ID: id, Check: check, State: incident.Unknown, Subject: subjectOf(target), Why: redact.String(why)})
	}
	return result
}

func subjectOf(target incident.Target) string {
	return strings.ToLower(target.Kind) + "/" + target.Name
}

// stopped is the error of a check that is being stopped: it has no answer at all.
func stopped(ctx context.Context, check string, target incident.Target) error {
	if ctx.Err() == nil {
		return nil
	}
	return incident.Faultf(incident.TimedOut, ctx.Err(), "carrying out %s for %s", check, target)
}

// keep stores a value as JSON.
func (h *Hands) keep(ctx context.Context, name string, value any) (incident.EvidenceRef, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return incident.EvidenceRef{}, incident.Faultf(incident.Internal, err, "encoding %s", name)
	}
	return incident.KeepJSON(ctx, h.Store, name, data)
}
