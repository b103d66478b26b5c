package metrics

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/prometheus/common/model"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Bounds of what is kept, and where.
const (
	maxPoints = 240
	maxSeries = 64
	utilFile  = "metrics/gpu-util.json"
	gpuAsked  = "metrics/gpu-queries.json"
	dataAsked = "metrics/data-queries.json"
)

// curve asks for the curves of some GPUs, named pod/gpu.
func (c *gpuCheck) curve(ctx context.Context, metric, unit, template string, way about, scale float64, wanted []string) *incident.Curves {
	totals, pods := map[string]float64{}, map[string]bool{}
	for _, gpu := range c.found {
		name := gpu.pod + "/" + gpu.gpu
		totals[name] = gpu.total
		if slices.Contains(wanted, name) {
			pods[gpu.pod] = true
		}
	}
	kept := &incident.Curves{Metric: metric, Unit: unit, At: c.now, StepSeconds: int(c.step().Seconds()), Series: []incident.Curve{}, LeftOut: len(c.found) - len(wanted)}
	for _, stream := range c.matrix(ctx, c.fill(template, c.narrowed(way, sortedKeys(pods)))) {
		if name := key(stream.Metric, way); slices.Contains(wanted, name) {
			kept.Series = append(kept.Series, incident.Curve{
				Pod: string(stream.Metric[model.LabelName(way.label)]), GPU: gpuOf(stream.Metric),
				Total: totals[name], Points: pointsOf(stream.Values, scale)})
		}
	}
	return kept
}

// narrowed is the same way to name pods, for fewer of them.
func (c *gpuCheck) narrowed(way about, pods []string) about {
	for _, other := range c.pods(pods) {
		if other.label == way.label {
			return other
		}
	}
	return way
}

func pointsOf(values []model.SamplePair, scale float64) [][2]float64 {
	points := make([][2]float64, 0, len(values))
	for _, pair := range values {
		if v := float64(pair.Value); !math.IsNaN(v) && !math.IsInf(v, 0) {
			points = append(points, [2]float64{float64(pair.Timestamp.Unix()), v * scale})
		}
	}
	return points
}

// steepest chooses the GPUs whose curves are looked at: all, or where there are
// too many, half of them the steepest and half the fullest.
func (c *gpuCheck) steepest(ctx context.Context, way about) []string {
	var names []string
	if len(c.found) > maxSeries {
		steep := c.vector(ctx, c.fill(steepQuery, way))
		slices.SortStableFunc(steep, func(a, b *model.Sample) int { return cmp.Compare(b.Value, a.Value) })
		for _, sample := range steep[:min(len(steep), maxSeries/2)] {
			names = append(names, key(sample.Metric, way))
		}
	}
	for _, gpu := range c.found {
		if name := gpu.pod + "/" + gpu.gpu; len(names) < maxSeries && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// file is a value that is kept as evidence under a name.
type file struct {
	name  string
	value any
}

// files are what a run of G1 leaves: the curves, and what was asked.
func (c *gpuCheck) files() []file {
	files := []file{{gpuAsked, c.asked}}
	if c.memoryCurve != nil && len(c.memoryCurve.Series) > 0 {
		files = append(files, file{incident.GPUMemoryFile, c.memoryCurve})
	}
	if c.utilCurve != nil && len(c.utilCurve.Series) > 0 {
		files = append(files, file{utilFile, c.utilCurve})
	}
	return files
}

// keepAll stores files and adds their references to a result.
func (h *Hands) keepAll(ctx context.Context, result *steps.CheckResult, files []file) error {
	result.Evidence = []incident.EvidenceRef{}
	for _, f := range files {
		ref, err := h.keep(ctx, f.name, f.value)
		if err != nil {
			return err
		}
		result.Evidence = append(result.Evidence, ref)
	}
	return nil
}
