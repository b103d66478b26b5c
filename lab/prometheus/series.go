package prometheus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Series is one time series. Labels do not hold the name.
type Series struct {
	Name   string
	Labels map[string]string
	// At is the value at a time, false where the series is not there: before it
	// began and after it ended. It must give the same answer every time.
	At func(t time.Time) (float64, bool)
}

// Always is a series' value that never changes.
func Always(v float64) func(time.Time) (float64, bool) {
	return func(time.Time) (float64, bool) { return v, true }
}

func (s Series) labels() labels.Labels {
	all := map[string]string{model.MetricNameLabel: s.Name}
	for name, text := range s.Labels {
		all[name] = text
	}
	return labels.FromMap(all)
}

// samples are the scrapes of a series from mint to maxt, in milliseconds.
func (s Series) samples(mint, maxt int64, every time.Duration) []chunks.Sample {
	var out []chunks.Sample
	pace, there := every.Milliseconds(), false
	for at := (mint + pace - 1) / pace * pace; at <= maxt; at += pace {
		v, ok := s.At(time.UnixMilli(at))
		switch {
		case ok:
			out = append(out, sample{at, v})
		case there:
			out = append(out, sample{at, math.Float64frombits(value.StaleNaN)})
		}
		there = ok
	}
	return out
}

// sample is one scrape.
type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// querier reads the series of a server between two times.
type querier struct {
	series     []Series
	every      time.Duration
	mint, maxt int64
}

// Select gives the series that match, sorted by labels.
func (q *querier) Select(_ context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = max(mint, hints.Start), min(maxt, hints.End)
	}
	var found []*storage.SeriesEntry
	for _, series := range q.series {
		names := series.labels()
		if !matches(names, matchers) {
			continue
		}
		if samples := series.samples(mint, maxt, q.every); len(samples) > 0 {
			found = append(found, storage.NewListSeries(names, samples))
		}
	}
	slices.SortFunc(found, func(a, b *storage.SeriesEntry) int { return labels.Compare(a.Lset, b.Lset) })
	for i := 1; i < len(found); i++ {
		if labels.Equal(found[i-1].Lset, found[i].Lset) {
			return storage.ErrSeriesSet(fmt.Errorf("two series of the lab are %s", found[i].Lset))
		}
	}
	return &set{found: found, at: -1}
}

func matches(names labels.Labels, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		if !matcher.Matches(names.Get(matcher.Name)) {
			return false
		}
	}
	return true
}

var errLeftOut = errors.New("the lab's storage answers no questions about labels")

func (q *querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errLeftOut
}

func (q *querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errLeftOut
}

func (q *querier) Close() error { return nil }

// set walks over series that were found.
type set struct {
	found []*storage.SeriesEntry
	at    int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.found) }
func (s *set) At() storage.Series                { return s.found[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }
