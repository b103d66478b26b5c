package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// patience bounds all questions of one check, so that its findings are told
	// before the step itself times out.
	patience = 25 * time.Second
	mib      = 1 << 20
	gib      = 1 << 30
)

// Questions about the framebuffer, in MiB; all are gauges. $sel chooses the
// pods, $of is the label that names them. RESERVED is exported by default only
// since dcgm-exporter 4.4; without it the sum is some hundred MiB too small. The
// three come in one scrape and their sum never changes, so the sum of their
// averages is exact, and far cheaper than the average of the sum.
const (
	usedQuery  = `max by ($of, gpu, GPU_I_ID) (max_over_time(DCGM_FI_DEV_FB_USED{$sel}[$window]))`
	totalQuery = `max by ($of, gpu, GPU_I_ID) (avg_over_time(DCGM_FI_DEV_FB_USED{$sel}[$window]) + avg_over_time(DCGM_FI_DEV_FB_FREE{$sel}[$window])` +
		` + (avg_over_time(DCGM_FI_DEV_FB_RESERVED{$sel}[$window]) or avg_over_time(DCGM_FI_DEV_FB_USED{$sel}[$window]) * 0))`
	steepQuery = `max by ($of, gpu, GPU_I_ID) (deriv(DCGM_FI_DEV_FB_USED{$sel}[$window]))`
	usedCurve  = `max by ($of, gpu, GPU_I_ID) (DCGM_FI_DEV_FB_USED{$sel})`
	// anyQuery tells whether the exporter is there at all.
	anyQuery = `count(DCGM_FI_DEV_FB_USED{$sel})`
)

var gpuQuestions = []string{incident.GPUMemoryFull, incident.GPUMemoryGrowing, incident.GPUsIdle, incident.GPUForeignProcess}

// CheckGPUMetrics answers G1: whether the framebuffers of the ranks' GPUs are
// full or fill up, and whether the GPUs idle while the ranks run. Whose memory
// it is cannot be told from DCGM, which counts per GPU.
func (h *Hands) CheckGPUMetrics(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	return h.answer(ctx, steps.CheckGPUMetrics, params, gpuQuestions, func(ctx context.Context, a *asker, p patients) ([]incident.Finding, []file) {
		c := &gpuCheck{asker: a, p: p}
		findings := c.memory(ctx)
		findings = append(findings, c.idle(ctx)...)
		findings = append(findings, c.foreign(ctx)...)
		return findings, c.files()
	})
}

// gpuCheck is one run of G1.
type gpuCheck struct {
	*asker
	p patients
	// way is how the series name the pods.
	way about
	// found are the GPUs that have series, fullest first; curves are of some.
	found       []framebuffer
	memoryCurve *incident.Curves
	utilCurve   *incident.Curves
}

// framebuffer is the memory of one GPU of one pod, in bytes. Total is 0 where it
// cannot be told.
type framebuffer struct {
	pod, gpu    string
	used, total float64
}

// share is 0 where the total is not known.
func (f framebuffer) share() float64 {
	if f.total <= 0 {
		return 0
	}
	return f.used / f.total
}

func (f framebuffer) String() string { return fmt.Sprintf("GPU %s of pod %s", f.gpu, f.pod) }

// memory answers full and growing.
func (c *gpuCheck) memory(ctx context.Context) []incident.Finding {
	used, way := c.first(ctx, usedQuery, c.pods(c.p.pods))
	if len(used) == 0 {
		why := c.noSeries(ctx, "DCGM_FI_DEV_FB_USED")
		return []incident.Finding{c.unknown(incident.GPUMemoryFull, why), c.unknown(incident.GPUMemoryGrowing, why)}
	}
	c.way = way
	totals := map[string]float64{}
	for _, sample := range c.vector(ctx, c.fill(totalQuery, way)) {
		totals[key(sample.Metric, way)] = float64(sample.Value) * mib
	}
	for _, sample := range used {
		c.found = append(c.found, framebuffer{
			pod: string(sample.Metric[model.LabelName(way.label)]), gpu: gpuOf(sample.Metric),
			used: float64(sample.Value) * mib, total: totals[key(sample.Metric, way)]})
	}
	slices.SortFunc(c.found, byShare)
	full := c.full()
	return append(full, c.growing(ctx, way)...)
}

// key names one GPU of one pod.
func key(metric model.Metric, way about) string {
	return string(metric[model.LabelName(way.label)]) + "/" + gpuOf(metric)
}

// gpuOf is the GPU's index on its node, with the MIG instance where there is one.
func gpuOf(metric model.Metric) string {
	if instance := metric["GPU_I_ID"]; instance != "" {
		return fmt.Sprintf("%s/%s", metric["gpu"], instance)
	}
	return string(metric["gpu"])
}

// byShare sorts the fullest first, then by name.
func byShare(a, b framebuffer) int {
	return cmp.Or(cmp.Compare(b.share(), a.share()), cmp.Compare(b.used, a.used), cmp.Compare(a.pod+"/"+a.gpu, b.pod+"/"+b.gpu))
}

// noSeries says which metric is missing, and what that may mean.
func (a *asker) noSeries(ctx context.Context, metric string) string {
	anywhere := a.vector(ctx, a.fill(anyQuery, about{selector: a.selector()}))
	switch {
	case a.broken != nil:
		return a.broken.Error()
	case len(anywhere) > 0:
		return fmt.Sprintf("Prometheus has %s, but not of these pods: dcgm-exporter must map GPUs to pods (DCGM_EXPORTER_KUBERNETES=true), "+
			"and prometheus.labels.pods must name the labels in use", metric)
	}
	return fmt.Sprintf("Prometheus has no %s, which dcgm-exporter exports", metric)
}

func (c *gpuCheck) finding(id string, state incident.State) incident.Finding {
	return incident.Finding{ID: id, Check: steps.CheckGPUMetrics, State: state, Subject: subjectOf(c.target)}
}

func (c *gpuCheck) unknown(id, why string) incident.Finding {
	finding := c.finding(id, incident.Unknown)
	finding.Why = why
	return finding
}
