package report

import (
	"bytes"
	"cmp"
	_ "embed" // the page's template and style sheet
	"fmt"
	"html/template"
	"slices"
	"time"

	"gpumedic/incident"
)

var (
	//go:embed page.html
	pageSource string
	//go:embed page.css
	pageStyle string
)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock": clock, "stamp": stamp, "size": size, "seconds": seconds, "few": few, "blamedWords": blamedWords,
	"voteWords": voteWords, "outcomeWords": outcomeWords, "verdictWords": verdictWords, "purposeWords": purposeWords, "nodesOf": nodesOf, "classOf": classOf,
	"or2": func(a, b string) string { return cmp.Or(a, b) },
	"pct": func(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) },
	"iso": func(at time.Time) string { return at.Format(time.RFC3339Nano) },
}).Parse(pageSource))

// page is what the template shows.
type page struct {
	incident.Record
	Style             template.CSS
	End               outcome
	Lasted, CauseText string
	NextText          string
	Best              incident.Cause
	Others            []incident.Cause
	Bars              []bar
	Done              []done
	Proposed          *incident.Plan
	ProposedDiff      []diffLine
	Picture           *picture
	Ranks             []placedRank
	Plot, Memory      *drawing
	Tests             []tested
	Events            []event
	EvidenceBytes     int64
}

// bar is a stage on the common time axis, in percent of the incident.
type bar struct {
	stage
	Left, Wide string
	Kind       string // people, open or work
}

// done is a change with its diff in lines.
type done struct {
	incident.Change
	Words, Tone string
	Lines       []diffLine
}

// event is a line of the story with the time since the incident opened.
type event struct {
	incident.Event
	Since string
}

// tested is a communication test with its picture.
type tested struct {
	incident.CommTest
	Rounds template.HTML
	Proved []string
}

// placedRank is a row of the table that says what the picture shows.
type placedRank struct {
	incident.Rank
	Leaf, Rack string
}

// HTML gives the report as one page that needs nothing else: no script, no
// network, no file beside it. A workload without ranks is one that could not
// be read; the page says that there is no picture. Memory are the measurements of GPU
// memory in the order in which they were made. An error is a defect of ours.
func HTML(rec incident.Record, w incident.Workload, memory ...incident.Curves) ([]byte, error) {
	rec, w = shown(rec), shown(w)
	p := page{
		Record: rec, Style: template.CSS(pageStyle), //nolint:gosec // our own style sheet
		End: ending(rec), Lasted: lasted(rec), CauseText: causeWords(rec), NextText: nextWords(rec),
		Bars: bars(rec), Events: events(rec), Picture: drawn(rec, w), Ranks: placed(w),
	}
	p.Best, p.Others = reasons(rec)
	p.changes(rec)
	for _, ref := range rec.Evidence {
		p.EvidenceBytes += ref.Bytes
	}
	if err := p.tests(rec, w); err != nil {
		return nil, err
	}
	var err error
	if p.Plot, err = plotted(rec); err != nil {
		return nil, err
	}
	if p.Memory, err = memoryPlot(rec, memory); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		return nil, incident.Faultf(incident.Internal, err, "rendering the page of %s", rec.IncidentID)
	}
	return out.Bytes(), nil
}

// tests draws the communication tests before and after the change.
func (p *page) tests(rec incident.Record, w incident.Workload) error {
	nodes := w.Nodes
	if len(nodes) == 0 {
		nodes = rec.Workload.Nodes
	}
	for _, test := range []*incident.CommTest{rec.CommTest, rec.Verification} {
		if test == nil {
			continue
		}
		picture, err := RoundsPicture(*test, nodes)
		if err != nil {
			return err
		}
		one := tested{CommTest: *test, Rounds: picture}
		for _, round := range test.History {
			for _, o := range round.Outcomes {
				if o.Proved != "" && !slices.Contains(one.Proved, o.Proved) {
					one.Proved = append(one.Proved, o.Proved)
				}
			}
		}
		p.Tests = append(p.Tests, one)
	}
	return nil
}

func (p *page) changes(rec incident.Record) {
	for _, change := range rec.Changes {
		words, tone := changeWords(change)
		p.Done = append(p.Done, done{change, words, tone, diffLines(change.Diff)})
	}
	if rec.Plan != nil && len(rec.Changes) == 0 {
		p.Proposed, p.ProposedDiff = rec.Plan, diffLines(rec.Plan.Diff)
	}
}

// bars puts the stages on one axis. What has not ended reaches to its end.
func bars(rec incident.Record) []bar {
	from, to := span(rec)
	whole := max(to.Sub(from).Seconds(), 0.001)
	var out []bar
	for _, s := range stages(rec) {
		b := bar{stage: s, Kind: "work"}
		if s.Name == "approval" {
			b.Kind = "people"
		}
		ended := s.EndedAt
		if ended.IsZero() {
			b.Kind, ended = "open", to
		}
		left := min(max(s.StartedAt.Sub(from).Seconds()/whole, 0), 0.995)
		wide := min(max(ended.Sub(s.StartedAt).Seconds()/whole, 0.003), 1-left)
		b.Left, b.Wide = fmt.Sprintf("%.2f", 100*left), fmt.Sprintf("%.2f", 100*wide)
		out = append(out, b)
	}
	return out
}

// span is the time the stages took together.
func span(rec incident.Record) (from, to time.Time) {
	for i, s := range rec.Stages {
		if i == 0 || s.StartedAt.Before(from) {
			from = s.StartedAt
		}
		for _, at := range []time.Time{s.StartedAt, s.EndedAt, rec.ClosedAt} {
			if at.After(to) {
				to = at
			}
		}
	}
	return from, to
}

func events(rec incident.Record) []event {
	out := make([]event, len(rec.Story))
	for i, e := range rec.Story {
		out[i] = event{Event: e}
		if since := e.At.Sub(rec.OpenedAt); !rec.OpenedAt.IsZero() && since >= 0 {
			out[i].Since = "+" + duration(since.Truncate(100*time.Millisecond))
		}
	}
	return out
}

func placed(w incident.Workload) []placedRank {
	nodes := map[string]incident.Node{}
	for _, node := range w.Nodes {
		nodes[node.Name] = node
	}
	out := make([]placedRank, len(w.Ranks))
	for i, rank := range w.Ranks {
		out[i] = placedRank{rank, nodes[rank.Node].Leaf, nodes[rank.Node].Rack}
	}
	return out
}
