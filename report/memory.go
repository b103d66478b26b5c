package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"gpumedic/incident"
)

const (
	gib = 1 << 30
	// cardBytes is more than any card has; what is beyond it was not measured.
	cardBytes = 1 << 50
)

// changedAt is when the last change was applied, zero when none was.
func changedAt(rec incident.Record) time.Time {
	var at time.Time
	for _, change := range rec.Changes {
		if change.AppliedAt.After(at) {
			at = change.AppliedAt
		}
	}
	return at
}

// memoryPlot draws the fullest GPUs before a change and after it over time; nil when
// nothing was measured.
func memoryPlot(rec incident.Record, measured []incident.Curves) (*drawing, error) {
	at := changedAt(rec)
	before := fullest(measured, func(unix float64) bool { return at.IsZero() || unix < float64(at.Unix()) })
	var after []incident.Curve
	origin := at
	if at.IsZero() {
		origin = rec.OpenedAt
	} else {
		after = fullest(measured, func(unix float64) bool { return unix >= float64(at.Unix()) })
	}
	if len(before)+len(after) == 0 {
		return nil, nil
	}
	p := plot.New()
	style(p)
	p.X.Scale, p.X.Tick.Marker = plot.LinearScale{}, plot.DefaultTicks{}
	p.X.Label.Text, p.Y.Label.Text = "minutes since the change", "GPU memory in use, GiB"
	if at.IsZero() {
		p.X.Label.Text = "minutes since the incident was opened"
	}
	most, total, key := 0.0, 0.0, []keyEntry{}
	for _, side := range []struct {
		class  string
		curves []incident.Curve
		dashes []vg.Length
	}{{"before", before, []vg.Length{vg.Points(5), vg.Points(3)}}, {"after", after, nil}} {
		for i, c := range side.curves {
			dashes := shifted(side.dashes, i)
			if err := addMemory(p, c, side.class, dashes, float64(origin.Unix())); err != nil {
				return nil, incident.Faultf(incident.Internal, err, "drawing the memory of pod %s", c.Pod)
			}
			most, total = max(most, highest(c)), max(total, c.Total)
			key = append(key, keyEntry{side.class, dashWords(dashes), fmt.Sprintf("%s: pod %s, GPU %s, at most %.1f GiB", side.class, clipped(c.Pod, 40), clipped(c.GPU, 12), highest(c)/gib)})
		}
	}
	if total > 0 && total < cardBytes {
		p.Add(level(p, total/gib))
		key = append(key, keyEntry{"wanted", "2 4", fmt.Sprintf("the card has %.1f GiB", total/gib)})
	}
	p.Y.Min, p.Y.Max = 0, max(most, total)/gib*1.1
	return rendered(p, key, "memory-title", "GPU memory in use over time, before and after the change; the key has the highest values.")
}

// fullest are the curves with the highest use among the points that count, of a GPU
// of a pod the latest measurement.
func fullest(measured []incident.Curves, counts func(unix float64) bool) []incident.Curve {
	byGPU := map[string]int{}
	var out []incident.Curve
	for _, m := range measured {
		for _, c := range m.Series {
			c.Points = slices.DeleteFunc(slices.Clone(c.Points), func(p [2]float64) bool { return !counts(p[0]) || p[1] < 0 || p[1] > cardBytes || p[0] > 1<<40 })
			if len(c.Points) < 2 {
				continue
			}
			name := c.Pod + "/" + c.GPU
			if at, known := byGPU[name]; known {
				out[at] = c
				continue
			}
			byGPU[name] = len(out)
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b incident.Curve) int { return cmp.Compare(highest(b), highest(a)) })
	return out[:min(maxCurves, len(out))]
}

func highest(c incident.Curve) float64 {
	most := 0.0
	for _, point := range c.Points {
		most = max(most, point[1])
	}
	return most
}

func addMemory(p *plot.Plot, c incident.Curve, class string, dashes []vg.Length, origin float64) error {
	xys := make(plotter.XYs, len(c.Points))
	for i, point := range c.Points {
		xys[i] = plotter.XY{X: (point[0] - origin) / 60, Y: point[1] / gib}
	}
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = inks[class], vg.Points(2), dashes
	p.Add(line)
	return nil
}

// level is a line over the whole width of what is drawn so far.
func level(p *plot.Plot, y float64) *plotter.Line {
	line := &plotter.Line{XYs: plotter.XYs{{X: p.X.Min, Y: y}, {X: p.X.Max, Y: y}}}
	line.LineStyle = draw.LineStyle{Color: inks["wanted"], Width: vg.Points(1.5), Dashes: []vg.Length{vg.Points(2), vg.Points(4)}}
	return line
}
