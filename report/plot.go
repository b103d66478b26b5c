package report

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"image/color"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"gpumedic/incident"
)

// maxCurves bounds the curves of one test: those with the most nodes are
// drawn, the table below the plot has all.
const maxCurves = 3

// The plot's size in its own units. The page leaves some room at the right for
// the last tick's name, which gonum does not count.
const (
	plotWidth  = 920
	plotHeight = 320
	plotRoom   = 28
)

// Inks stand for the page's colours while gonum draws; the page's style sheet
// decides what they look like, in light and dark.
var inks = map[string]color.RGBA{
	"ink":    {R: 1, G: 2, B: 3, A: 255},
	"grid":   {R: 1, G: 2, B: 4, A: 255},
	"before": {R: 1, G: 2, B: 5, A: 255},
	"after":  {R: 1, G: 2, B: 6, A: 255},
	"wanted": {R: 1, G: 2, B: 7, A: 255},
}

// curve is one sweep to draw.
type curve struct {
	name, class string
	points      []incident.BusBWPoint
	dashes      []vg.Length
}

// drawing is a plot and its key, which the page puts above it.
type drawing struct {
	SVG template.HTML
	Key []keyEntry
}

// keyEntry names a line. Class is before, after or wanted; Dash is an SVG dash
// pattern, "" for a solid line.
type keyEntry struct{ Class, Dash, Name string }

// plotted draws bus bandwidth over message size for the tests before and after
// a change; nil when no test got as far as measuring.
func plotted(rec incident.Record) (*drawing, error) {
	curves, expected := curvesOf(rec)
	if len(curves) == 0 {
		return nil, nil
	}
	p := plot.New()
	style(p)
	for _, c := range curves {
		if err := addCurve(p, c); err != nil {
			return nil, incident.Faultf(incident.Internal, err, "drawing the curve %s", c.name)
		}
	}
	if expected > 0 {
		addExpected(p, curves, expected)
	}
	p.Y.Min, p.Y.Max = 0, top(curves, expected)*1.1
	return rendered(p, keyOf(curves, expected), "plot-title", "Bus bandwidth over message size; the table below has the numbers.")
}

// keyOf names the lines. No name goes into the drawing itself, so nothing in
// it comes from outside.
func keyOf(curves []curve, expected float64) []keyEntry {
	var key []keyEntry
	for _, c := range curves {
		key = append(key, keyEntry{c.class, dashWords(c.dashes), c.name})
	}
	if expected > 0 {
		key = append(key, keyEntry{"wanted", "2 4", fmt.Sprintf("expected: %.0f GB/s at the largest size", expected)})
	}
	return key
}

// dashWords is a pattern of dashes as SVG writes it.
func dashWords(dashes []vg.Length) string {
	var words []string
	for _, length := range dashes {
		words = append(words, fmt.Sprintf("%.0f", length.Points()))
	}
	return strings.Join(words, " ")
}

// curvesOf gives what can be drawn, and the bandwidth that is expected.
func curvesOf(rec incident.Record) (curves []curve, expected float64) {
	for _, side := range []struct {
		test   *incident.CommTest
		class  string
		dashes []vg.Length
	}{
		{rec.CommTest, "before", []vg.Length{vg.Points(5), vg.Points(3)}},
		{rec.Verification, "after", nil},
	} {
		if side.test == nil {
			continue
		}
		measured := measured(*side.test)
		for i, o := range measured[:min(maxCurves, len(measured))] {
			expected = max(expected, o.ExpectedGBps)
			name := fmt.Sprintf("%s: %s (%d nodes)", side.class, clipped(o.ID, 24), len(o.Nodes))
			curves = append(curves, curve{name, side.class, positive(o.Points), shifted(side.dashes, i)})
		}
	}
	return curves, expected
}

// measured are a test's outcomes with points, most nodes first.
func measured(test incident.CommTest) []incident.Outcome {
	var out []incident.Outcome
	for _, round := range test.History {
		for _, o := range round.Outcomes {
			points := positive(o.Points)
			if n := len(points); n > 1 && points[0].Bytes < points[n-1].Bytes {
				out = append(out, o)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b incident.Outcome) int { return cmp.Compare(len(b.Nodes), len(a.Nodes)) })
	return out
}

// positive gives points in order of size, without those that a logarithmic
// axis cannot have and those that no fabric reaches.
func positive(points []incident.BusBWPoint) []incident.BusBWPoint {
	out := slices.DeleteFunc(slices.Clone(points), func(p incident.BusBWPoint) bool {
		return p.Bytes <= 0 || p.BusBWGBps < 0 || p.BusBWGBps > 1e6
	})
	slices.SortFunc(out, func(a, b incident.BusBWPoint) int { return cmp.Compare(a.Bytes, b.Bytes) })
	return out
}

// shifted tells curves of one test apart: further ones are dotted.
func shifted(dashes []vg.Length, i int) []vg.Length {
	if i == 0 {
		return dashes
	}
	return []vg.Length{vg.Points(1), vg.Points(float64(2 + 2*i))}
}

// style gives the plot the page's look.
func style(p *plot.Plot) {
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = "message size", "bus bandwidth, GB/s"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizeTicks{}
	p.Y.Tick.Marker = plot.DefaultTicks{}
	for _, text := range []*draw.TextStyle{&p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		text.Color = inks["ink"]
		text.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
	}
	for _, line := range []*draw.LineStyle{&p.X.LineStyle, &p.Y.LineStyle, &p.X.Tick.LineStyle, &p.Y.Tick.LineStyle} {
		line.Color = inks["ink"]
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = inks["grid"], inks["grid"]
	p.Add(grid)
}

func addCurve(p *plot.Plot, c curve) error {
	xys := make(plotter.XYs, len(c.points))
	for i, point := range c.points {
		xys[i] = plotter.XY{X: float64(point.Bytes), Y: point.BusBWGBps}
	}
	line, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = inks[c.class], vg.Points(2), c.dashes
	dots.Color, dots.Radius, dots.Shape = inks[c.class], vg.Points(2.5), draw.CircleGlyph{}
	p.Add(line, dots)
	return nil
}

func addExpected(p *plot.Plot, curves []curve, expected float64) {
	left, right := curves[0].points[0].Bytes, curves[0].points[0].Bytes
	for _, c := range curves {
		left, right = min(left, c.points[0].Bytes), max(right, c.points[len(c.points)-1].Bytes)
	}
	line := &plotter.Line{XYs: plotter.XYs{{X: float64(left), Y: expected}, {X: float64(right), Y: expected}}}
	line.Color, line.Width, line.Dashes = inks["wanted"], vg.Points(1.5), []vg.Length{vg.Points(2), vg.Points(4)}
	p.Add(line)
}

func top(curves []curve, expected float64) float64 {
	most := max(expected, 1e-3)
	for _, c := range curves {
		for _, point := range c.points {
			most = max(most, point.BusBWGBps)
		}
	}
	return most
}

// sizeTicks puts ticks at powers of two, named in binary units.
type sizeTicks struct{}

// Ticks implements plot.Ticker.
func (sizeTicks) Ticks(low, high float64) []plot.Tick {
	var sizes []int64
	for s := int64(1); float64(s) <= high*1.0001 && s < 1<<50; s *= 2 {
		if float64(s) >= low*0.9999 {
			sizes = append(sizes, s)
		}
	}
	ticks := make([]plot.Tick, len(sizes))
	every := len(sizes)/8 + 1
	for i, s := range sizes {
		ticks[i].Value = float64(s)
		if i%every == 0 {
			ticks[i].Label = size(s)
		}
	}
	return ticks
}

// rendered is a plot as a part of the page.
func rendered(p *plot.Plot, key []keyEntry, id, title string) (*drawing, error) {
	var out bytes.Buffer
	writer, err := p.WriterTo(plotWidth, plotHeight, "svg")
	if err == nil {
		_, err = writer.WriteTo(&out)
	}
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "drawing the plot")
	}
	return &drawing{SVG: inlined(out.String(), id, title), Key: key}, nil
}

var (
	svgHead    = regexp.MustCompile(`(?s)^.*?<svg[^>]*viewBox="[^"]*"[^>]*>`)
	fontFamily = regexp.MustCompile(`font-family:[^;"]*`)
	comment    = regexp.MustCompile(`(?s)<!--.*?-->`)
)

// inlined makes a drawing of gonum's part of the page: without its prologue,
// in the page's font and colours.
func inlined(svg, id, title string) template.HTML {
	svg = comment.ReplaceAllString(svg, "")
	svg = svgHead.ReplaceAllString(svg, fmt.Sprintf(`<svg class="plot" viewBox="0 0 %d %d" role="img" aria-labelledby="%s">`+
		`<title id="%s">%s</title>`, plotWidth+plotRoom, plotHeight, id, id, title))
	svg = fontFamily.ReplaceAllString(svg, "font-family:inherit")
	for name, ink := range inks {
		svg = strings.ReplaceAll(svg, fmt.Sprintf("#%02X%02X%02X", ink.R, ink.G, ink.B), "var(--"+name+")")
	}
	return template.HTML(svg) //nolint:gosec // made above from numbers alone
}

// clipped shortens a name for a place without room.
func clipped(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
