package metrics

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"gpumedic/incident"
)

const (
	// shortest stretch of a curve from which growth can be told: under it the
	// start of a job, when everything is loaded, looks like growth.
	shortest = 20 * time.Minute
	// leastRise within the window: less is noise of caches and workspaces.
	leastRise = 512 * mib
	// fallShare of the rise that may be lost again: a leak never gives back,
	// steps that come and go do.
	fallShare = 0.1
	// lateShare of the rise must come in the last third of the curve: a job that
	// has loaded, or an allocator that has cached, stops growing.
	lateShare = 0.1
)

// growing answers whether memory grows without falling back.
func (c *gpuCheck) growing(ctx context.Context, way about) []incident.Finding {
	c.memoryCurve = c.curve(ctx, "DCGM_FI_DEV_FB_USED", "bytes", usedCurve, way, mib, c.steepest(ctx, way))
	if c.broken != nil {
		return []incident.Finding{c.unknown(incident.GPUMemoryGrowing, c.broken.Error())}
	}
	var findings []incident.Finding
	told := 0
	for _, series := range c.memoryCurve.Series {
		series.Points = longestRun(series.Points)
		grown, known := growthOf(series.Points)
		if known {
			told++
		}
		if grown.is {
			findings = append(findings, c.growth(series, grown))
		}
	}
	if len(findings) > 0 {
		return bounded(findings)
	}
	return []incident.Finding{c.flat(told)}
}

// flat answers no, or says why not even that can be told.
func (c *gpuCheck) flat(told int) incident.Finding {
	all := len(c.memoryCurve.Series)
	if told < all {
		return c.unknown(incident.GPUMemoryGrowing, fmt.Sprintf(
			"%d of %d curves are shorter than %s within one life of the process, too little to tell growth from loading", all-told, all, incident.Short(shortest)))
	}
	finding := c.finding(incident.GPUMemoryGrowing, incident.No)
	finding.Evidence = []string{incident.GPUMemoryFile}
	finding.Why = fmt.Sprintf("the framebuffer of none of %d GPUs grew by %s or more within %s without falling back", all, size(leastRise), c.span())
	if c.memoryCurve.LeftOut > 0 {
		finding.Why += fmt.Sprintf("; these are the steepest and the fullest, %d others were not looked at", c.memoryCurve.LeftOut)
	}
	return finding
}

func (c *gpuCheck) growth(series incident.Curve, g growth) incident.Finding {
	finding := c.finding(incident.GPUMemoryGrowing, incident.Yes)
	finding.Subject, finding.Evidence = "pod/"+series.Pod, []string{incident.GPUMemoryFile}
	finding.Value = fmt.Sprintf("%.1f GiB/h", g.perHour/gib)
	first, last := series.Points[0], series.Points[len(series.Points)-1]
	finding.Why = fmt.Sprintf("GPU %s of pod %s used %s at %s and %s at %s, and never fell back by more than %s",
		series.GPU, series.Pod, size(first[1]), clock(first[0]), size(last[1]), clock(last[0]), size(g.fall))
	// What has ended does not go on growing.
	ended := float64(c.now.Unix())-last[0] > 2*c.step().Seconds()
	if left := series.Total - last[1]; series.Total > 0 && left > 0 && !ended {
		until := time.Duration(left / g.perHour * float64(time.Hour))
		finding.Why += fmt.Sprintf("; at this pace its %s are full in %s", size(series.Total), incident.Short(until.Round(time.Minute)))
	}
	return finding
}

func clock(unix float64) string { return time.Unix(int64(unix), 0).UTC().Format("15:04 UTC") }

// growth is what a curve does: its slope per hour by Theil and Sen (the median
// of all slopes between two points, which no jump can bend), and the deepest
// fall from what was reached before.
type growth struct {
	is            bool
	perHour, fall float64
}

// growthOf judges a curve of [unix, bytes]. It is not known for a short one.
func growthOf(points [][2]float64) (g growth, known bool) {
	if len(points) < 10 || points[len(points)-1][0]-points[0][0] < shortest.Seconds() {
		return growth{}, false
	}
	first, last := points[0], points[len(points)-1]
	late := points[len(points)*2/3]
	highest := first[1]
	for _, point := range points {
		highest = max(highest, point[1])
		g.fall = max(g.fall, highest-point[1])
	}
	rise := last[1] - first[1]
	g.perHour = median(points) * 3600
	g.is = rise >= leastRise && g.perHour > 0 && g.fall <= fallShare*rise && last[1]-late[1] >= lateShare*rise
	return g, true
}

// longestRun is the longest stretch of a curve within one life of the process:
// where a container dies and starts again, memory falls by more than half from
// one point to the next.
func longestRun(points [][2]float64) [][2]float64 {
	longest, began := points[:0], 0
	for i := range points {
		if i > 0 && points[i][1] < points[i-1][1]/2 {
			began = i
		}
		if i+1-began > len(longest) {
			longest = points[began : i+1]
		}
	}
	return longest
}

// median of the slopes between all pairs of points, per second.
func median(points [][2]float64) float64 {
	slopes := make([]float64, 0, len(points)*(len(points)-1)/2)
	for i, a := range points {
		for _, b := range points[i+1:] {
			slopes = append(slopes, (b[1]-a[1])/(b[0]-a[0]))
		}
	}
	if len(slopes) == 0 {
		return math.NaN()
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2]
}
