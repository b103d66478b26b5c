package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"gpumedic/incident"
)

const (
	// idleShare: GPUs that are busy for less of the time, on the average of all
	// ranks, idle.
	idleShare = 0.2
	// idleWindow is what is averaged: longer than an evaluation or a checkpoint.
	idleWindow = 15 * time.Minute
	// idleLeast is how long a rank must have been seen: it loads before it trains.
	idleLeast = 5 * time.Minute
)

// busyMetric tells how busy a GPU is. Both are gauges: a rate over them says
// nothing.
type busyMetric struct {
	name string
	// whole is the value of a GPU that is busy all the time.
	whole float64
}

// busyMetrics in the order of preference. GR_ENGINE_ACTIVE is a ratio and finer,
// but exported only where profiling is allowed, from Volta on.
var busyMetrics = []busyMetric{{"DCGM_FI_DEV_GPU_UTIL", 100}, {"DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1}}

// idle answers whether the GPUs idle while the ranks run.
func (c *gpuCheck) idle(ctx context.Context) []incident.Finding {
	if len(c.p.running) == 0 {
		return []incident.Finding{c.unknown(incident.GPUsIdle, "no rank was running, so their GPUs have nothing to do")}
	}
	for _, metric := range busyMetrics {
		average := fmt.Sprintf(`avg by ($of) (avg_over_time(%s{$sel}[%s]))`, metric.name, duration(idleWindow))
		found, way := c.first(ctx, average, c.pods(c.p.running))
		if len(found) == 0 {
			continue
		}
		seen := fmt.Sprintf(`max by ($of) (count_over_time(%s{$sel}[%s:1m]))`, metric.name, duration(idleWindow))
		minutes := byName(c.vector(ctx, c.fill(seen, way)), way)
		c.plotBusy(ctx, metric, way)
		return []incident.Finding{c.judgeIdle(metric, byName(found, way), minutes)}
	}
	why := "Prometheus has neither DCGM_FI_DEV_GPU_UTIL nor DCGM_FI_PROF_GR_ENGINE_ACTIVE of the running pods, which dcgm-exporter exports"
	if c.broken != nil {
		why = c.broken.Error()
	}
	return []incident.Finding{c.unknown(incident.GPUsIdle, why)}
}

// byName maps what a series is of to its value.
func byName(found model.Vector, way about) map[string]float64 {
	values := map[string]float64{}
	for _, sample := range found {
		values[string(sample.Metric[model.LabelName(way.label)])] = float64(sample.Value)
	}
	return values
}

// judgeIdle decides even where some ranks have no series, if they cannot change
// the answer: they may be anything from idle to busy.
func (c *gpuCheck) judgeIdle(metric busyMetric, busy, minutes map[string]float64) incident.Finding {
	sum, known := 0.0, []string{}
	for _, pod := range c.p.running {
		if share, there := busy[pod]; there && minutes[pod] >= idleLeast.Minutes() {
			sum += share / metric.whole
			known = append(known, pod)
		}
	}
	all, open := float64(len(c.p.running)), float64(len(c.p.running)-len(known))
	if c.broken != nil {
		return c.unknown(incident.GPUsIdle, c.broken.Error())
	}
	if len(known) == 0 {
		return c.unknown(incident.GPUsIdle, fmt.Sprintf("no running rank has been seen for %s yet, so that loading cannot be told from idling", incident.Short(idleLeast)))
	}
	finding := c.finding(incident.GPUsIdle, incident.Unknown)
	finding.Value, finding.Evidence = percent(sum/float64(len(known))), []string{utilFile}
	switch {
	case (sum+open)/all < idleShare:
		finding.State = incident.Yes
	case sum/all >= idleShare:
		finding.State = incident.No
	}
	finding.Why = c.idleWords(metric, busy, known)
	return finding
}

// idleWords shows the average and the two ends.
func (c *gpuCheck) idleWords(metric busyMetric, busy map[string]float64, known []string) string {
	slices.SortStableFunc(known, func(a, b string) int { return cmp.Compare(busy[a], busy[b]) })
	least, most := known[0], known[len(known)-1]
	why := fmt.Sprintf("over %s the GPUs of %d running ranks were busy between %s (pod %s) and %s (pod %s) of the time, by the average of the gauge %s",
		incident.Short(idleWindow), len(known), percent(busy[least]/metric.whole), least, percent(busy[most]/metric.whole), most, metric.name)
	if open := len(c.p.running) - len(known); open > 0 {
		why += fmt.Sprintf("; %d running ranks have no series, or one shorter than %s", open, incident.Short(idleLeast))
	}
	if most := busy[most] / metric.whole; most > 0.9 && metric.whole == 100 {
		why += "; busy is not useful: a rank that waits in a collective counts as busy"
	}
	return strings.TrimSpace(why)
}

// plotBusy keeps the curves of the running ranks' GPUs.
func (c *gpuCheck) plotBusy(ctx context.Context, metric busyMetric, way about) {
	template := fmt.Sprintf(`max by ($of, gpu, GPU_I_ID) (%s{$sel})`, metric.name)
	pods := c.p.running[:min(len(c.p.running), maxSeries)]
	kept := &incident.Curves{Metric: metric.name, Unit: "percent", At: c.now, StepSeconds: int(c.step().Seconds()), Series: []incident.Curve{}}
	for _, stream := range c.matrix(ctx, c.fill(template, c.narrowed(way, pods))) {
		if len(kept.Series) == maxSeries {
			kept.LeftOut++
			continue
		}
		kept.Series = append(kept.Series, incident.Curve{Pod: string(stream.Metric[model.LabelName(way.label)]), GPU: gpuOf(stream.Metric),
			Points: pointsOf(stream.Values, 100/metric.whole)})
	}
	kept.LeftOut += len(c.p.running) - len(pods)
	c.utilCurve = kept
}
