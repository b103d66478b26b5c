package diagnosis

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"gpumedic/incident"
)

// Log is one text to diagnose. Several are taken for the logs of several ranks,
// in their order.
type Log struct {
	// Name is the file's name, for people; "" when there is only one.
	Name    string
	Content io.Reader
}

// Verdict is a diagnosis of text alone, without a cluster to ask.
type Verdict struct {
	ID          string          `json:"id,omitempty"`
	FailureCase string          `json:"failure_case"`
	RootCause   string          `json:"root_cause"`
	Confidence  float64         `json:"confidence"`
	Blamed      incident.Blamed `json:"blamed"`
	// Evidence quotes the lines the verdict rests on, in the order of the text.
	Evidence     []Quote       `json:"evidence"`
	Alternatives []Alternative `json:"alternatives"`

	// Cause is the whole answer behind the verdict.
	Cause incident.Cause `json:"-"`
	// Seen is everything that was recognised.
	Seen []incident.Observation `json:"-"`
}

// Quote is one line of evidence. Line counts from 1 within its file; File is
// empty when there is only one.
type Quote struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line"`
	Text      string `json:"text"`
	Signature string `json:"signature"`
}

// Alternative is another cause that remains possible.
type Alternative struct {
	FailureCase string  `json:"failure_case"`
	RootCause   string  `json:"root_cause"`
	Confidence  float64 `json:"confidence"`
}

// Kinds of text: a log, the events of an object, a fired metric alert.
const (
	KindLog         = "log"
	KindEvent       = "event"
	KindMetricAlert = "metric-alert"
)

// DiagnoseText reads logs to their end, several side by side, and says what they
// tell. Text alone
// cannot show that a job is healthy, only that nothing in it is known to matter:
// its "none-of-these" is less sure than Diagnose's.
func (c *Classifier) DiagnoseText(ctx context.Context, kind string, logs ...Log) (Verdict, error) {
	if kind != KindLog && kind != KindEvent && kind != KindMetricAlert {
		return Verdict{}, fmt.Errorf("kind %q is none of %s, %s, %s", kind, KindLog, KindEvent, KindMetricAlert)
	}
	h := &hearing{collector: NewCollector(), texts: make([]heard, len(logs))}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, log := range logs {
		group.Go(func() error {
			content := &counted{in: log.Content, bytes: &h.bytes}
			if err := c.Scan(ctx, content, func(m Match) error { h.add(i, log.Name, m); return nil }); err != nil {
				return fmt.Errorf("reading %s: %w", orCase(log.Name, "the text"), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Verdict{}, err
	}
	return h.verdict(), nil
}

// hearing collects the matches of the texts of one verdict. Texts are read side by
// side; each has a place of its own, so that the verdict does not depend on which
// is read first.
type hearing struct {
	collector *Collector
	texts     []heard
	bytes     atomic.Int64
}

// counted counts what is read through it.
type counted struct {
	in    io.Reader
	bytes *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// heard is what is kept of one text.
type heard struct {
	quotes []Quote
	kept   map[kindOfLine]keeping
	ranks  map[int]bool
}

// maxRank bounds the numbers that are taken for ranks: no job has more, and a text
// may hold any number.
const maxRank = 1<<16 - 1

// maxQuotes bounds the lines kept of one verdict, per signature.
const maxQuotes = 3

// add records a match. The launchers' prefix tells the ranks of a single text.
func (h *hearing) add(text int, file string, m Match) {
	into, rank, single := &h.texts[text], text, len(h.texts) == 1
	if single && m.Process != noRank && m.Process <= maxRank {
		rank = m.Process
	}
	if into.kept == nil {
		into.kept, into.ranks = map[kindOfLine]keeping{}, map[int]bool{}
	}
	into.ranks[rank] = true
	h.collector.Add(rank, orCase(file, textName), m)
	quote := Quote{Line: m.Line, Text: strings.ToValidUTF8(cut(m.Text, maxQuote), "\uFFFD"), Signature: m.Signature}
	if !single {
		quote.File = file
	}
	kind := kindOf(m)
	kept := into.kept[kind]
	switch {
	case kept.lines < maxQuotes:
		into.quotes = append(into.quotes, quote)
		kept.lines, kept.at = kept.lines+1, len(into.quotes)-1
	case m.weight() > kept.weight: // the line that says most is always shown
		into.quotes[kept.at] = quote
	}
	kept.weight = max(kept.weight, m.weight())
	into.kept[kind] = kept
}

// keeping is what is kept of one kind of line: how many, the weight of the surest
// and where the latest stands.
type keeping struct {
	lines, at int
	weight    float64
}

func (h *hearing) verdict() Verdict {
	seen := h.collector.Observations()
	in := Input{Ranks: len(h.texts), Observations: seen, Texts: len(h.texts)}
	if len(h.texts) == 1 {
		in.Spoke = slices.Sorted(maps.Keys(h.texts[0].ranks))
		in.Ranks = len(in.Spoke)
	}
	cause, others := judgeText(in)
	if h.bytes.Load() == 0 {
		cause.Reasons = []string{"There is no text: nothing was read."}
	}
	v := Verdict{
		FailureCase: cause.FailureCase, RootCause: cause.RootCause, Confidence: cause.Confidence, Blamed: cause.Blamed,
		Evidence: h.evidence(cause), Alternatives: []Alternative{}, Cause: cause, Seen: seen,
	}
	for _, other := range others[:min(5, len(others))] {
		v.Alternatives = append(v.Alternatives, Alternative{other.FailureCase, other.RootCause, other.Confidence})
	}
	return v
}

// evidence quotes the lines that speak for the cause, in the order of the texts.
func (h *hearing) evidence(cause incident.Cause) []Quote {
	out, kept := []Quote{}, map[string]int{}
	for _, text := range h.texts {
		for _, quote := range text.quotes {
			if kept[quote.Signature] < maxQuotes && speaksFor(cause, quote.Signature) {
				kept[quote.Signature]++
				out = append(out, quote)
			}
		}
	}
	return out
}

func speaksFor(cause incident.Cause, signature string) bool {
	for _, id := range cause.For {
		if id == signature {
			return true
		}
	}
	return false
}

// judgeText is Diagnose for text: there are no findings, so that the absence of
// symptoms is all that can be said for "nothing wrong".
func judgeText(in Input) (incident.Cause, []incident.Cause) {
	f := gather(in)
	if f.FailureCase == "" {
		f.FailureCase = caseOf(f)
	}
	leads := weigh(f).ranked()
	harmless, found := excuse(f)
	switch {
	case len(leads) > 0 && leads[0].Confidence >= sure:
		return leads[0], leads[1:]
	case found && strongest(f) < faint:
		return harmless, leads
	case len(f.symptoms) > 0:
		return open(f, leads), leads
	}
	return nothingTold(f), leads
}

// faint is the weight under which symptoms are what a plain error of a program
// leaves behind: a launcher that says that a process failed.
const faint = 0.38

// strongest is the weight of the strongest symptom, 0 without one.
func strongest(f facts) float64 {
	best := 0.0
	for _, o := range f.symptoms {
		best = max(best, o.Weight)
	}
	return best
}

// caseOf is the failure case of the first origin that tells, else of the
// strongest symptom, that of NCCL without one.
func caseOf(f facts) string {
	if first, told := firstOrigin(f); told {
		return first.FailureCase
	}
	best, id := 0.0, communication
	for _, o := range f.symptoms {
		if o.Weight > best {
			best, id = o.Weight, o.FailureCase
		}
	}
	return id
}

// excuse is the answer that the best known harmless line gives, false without
// one.
func excuse(f facts) (incident.Cause, bool) {
	var best incident.Observation
	for _, o := range f.benign {
		if o.Weight > best.Weight {
			best = o
		}
	}
	if best.Weight == 0 {
		return incident.Cause{}, false
	}
	return incident.Cause{FailureCase: incident.NoneOfThese, RootCause: best.Causes[0], Confidence: round(max(0.6, best.Weight)),
		Reasons: []string{sentence(quote(f, best))}, For: []string{best.Signature}}, true
}

// nothingTold is the answer for text without a symptom; seen progress and lines
// that are known to be harmless make it surer.
func nothingTold(f facts) incident.Cause {
	answer, found := excuse(f)
	if !found {
		answer = incident.Cause{FailureCase: incident.NoneOfThese, Confidence: 0.5, Reasons: []string{"No line is known to matter."}}
	}
	if o, seen := f.observed(SignatureProgress); seen {
		answer.Confidence = max(answer.Confidence, 0.75)
		answer.For = append(answer.For, o.Signature)
		answer.Reasons = append(answer.Reasons, sentence("training goes on: "+quote(f, o)))
	}
	return answer
}
