package diagnosis

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"gpumedic/incident"
)

// maxQuote bounds the line that an observation quotes, in bytes.
const maxQuote = 400

// Collector folds the matches of many ranks into observations. It holds one
// entry per signature and a few bytes per rank, however many lines match. It
// may be used from several goroutines; the result does not depend on their
// order. The zero value is not ready, use NewCollector.
type Collector struct {
	mu   sync.Mutex
	seen map[kindOfLine]*tally
	// steps is the last training step told in each log.
	steps map[string]int
}

// kindOfLine tells lines of one signature apart that say different things by
// their numbers.
type kindOfLine struct{ signature, failureCase, cause string }

func kindOf(m Match) kindOfLine {
	k := kindOfLine{signature: m.Signature}
	if m.Reading != nil && len(m.Reading.Causes) > 0 {
		k.failureCase, k.cause = m.Reading.FailureCase, m.Reading.Causes[0]
	}
	return k
}

// NewCollector returns an empty collector.
func NewCollector() *Collector {
	return &Collector{seen: map[kindOfLine]*tally{}, steps: map[string]int{}}
}

// tally is what is known of one signature.
type tally struct {
	first    Match
	rank     int
	evidence string
	ranks    map[int]struct{}
	lines    int
	// surest is the line of which readers made most, numbers what the lines of each
	// log tell together.
	surest  *heardLine
	numbers map[string]*series
	// said holds, per speaker and group of ranks, the first values of the
	// captures that are compared.
	said map[speaker]map[string]string
	// afterStep is the highest step that its log had told before a line, logs are
	// those of each rank that hold one.
	afterStep int
	logs      map[int]map[string]struct{}
}

// speaker is one process in one communicator; ranks of different groups (data
// parallel, tensor parallel) do different things by right.
type speaker struct {
	rank, process int
	group         string
	// evidence tells a rank's earlier log from its present one.
	evidence string
}

// Add records a match in the log of a rank. Evidence is the log's place in the
// bundle, "logs/rank-003.log".
func (c *Collector) Add(rank int, evidence string, m Match) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := kindOf(m)
	t := c.seen[kind]
	if t == nil {
		t = &tally{first: m, rank: rank, evidence: evidence, ranks: map[int]struct{}{}, logs: map[int]map[string]struct{}{}}
		c.seen[kind] = t
	} else if earlier(m, rank, evidence, t) {
		t.first, t.rank, t.evidence = m, rank, evidence
	}
	t.ranks[rank] = struct{}{}
	t.lines += 1 + m.Skipped
	t.compare(rank, evidence, m)
	t.read(rank, evidence, m)
	if step, told := StepOf(m); told {
		c.steps[evidence] = step
	}
	t.place(rank, evidence, c.steps[evidence])
}

// StepOf is the training step that a line tells, false when it tells none: not
// every form of a step's line numbers it.
func StepOf(m Match) (int, bool) {
	if m.Signature != SignatureProgress {
		return 0, false
	}
	step, err := strconv.Atoi(m.Captures["step"])
	return step, err == nil
}

// place notes in which log a line is, and after which step.
func (t *tally) place(rank int, evidence string, step int) {
	t.afterStep = max(t.afterStep, step)
	if t.logs[rank] == nil {
		t.logs[rank] = map[string]struct{}{}
	}
	t.logs[rank][evidence] = struct{}{}
}

// heardLine is a line with its place.
type heardLine struct {
	Match
	rank     int
	evidence string
}

// read takes in what the numbers of the line say.
func (t *tally) read(rank int, evidence string, m Match) {
	line := heardLine{m, rank, evidence}
	if m.Reading != nil && (t.surest == nil || line.surer(*t.surest)) {
		t.surest = &line
	}
	if m.Of == nil || readers[m.Of.Read].whole == nil {
		return
	}
	if t.numbers == nil {
		t.numbers = map[string]*series{}
	}
	whose := fmt.Sprintf("%s %06d", evidence, m.Process)
	if t.numbers[whose] == nil {
		t.numbers[whose] = &series{}
	}
	t.numbers[whose].note(m)
}

// surer orders lines by what was read from them, then by their places, so that the
// surest does not depend on chance.
func (l heardLine) surer(than heardLine) bool {
	return cmp.Or(cmp.Compare(than.weight(), l.weight()), cmp.Compare(l.evidence, than.evidence), cmp.Compare(l.Line, than.Line), cmp.Compare(l.rank, than.rank)) < 0
}

// conclude is what the numbers say, nil when nobody read any.
func (t *tally) conclude() *Reading {
	of := t.first.Of
	if of == nil || readers[of.Read].whole == nil {
		if t.surest == nil {
			return nil
		}
		return t.surest.Reading
	}
	ranks := make([]*series, 0, len(t.numbers))
	for _, whose := range slices.Sorted(maps.Keys(t.numbers)) {
		ranks = append(ranks, t.numbers[whose])
	}
	return readers[of.Read].whole(ranks)
}

// earlier orders matches by stamp (an unstamped line comes last), then by their
// log, line and rank, so that the first one does not depend on chance: within one
// log, which may hold several ranks, the line tells what came first.
func earlier(m Match, rank int, evidence string, t *tally) bool {
	return cmp.Or(compareTimes(m.At, t.first.At), cmp.Compare(evidence, t.evidence),
		cmp.Compare(m.Line, t.first.Line), cmp.Compare(rank, t.rank)) < 0
}

func compareTimes(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}

// compare keeps what this speaker said first.
func (t *tally) compare(rank int, evidence string, m Match) {
	if m.Of == nil || len(m.Of.Compare) == 0 {
		return
	}
	who := speaker{rank: rank, process: m.Process, group: m.Captures["group"], evidence: evidence}
	if _, spoken := t.said[who]; spoken {
		return
	}
	if t.said == nil {
		t.said = map[speaker]map[string]string{}
	}
	values := map[string]string{}
	for _, name := range m.Of.Compare {
		if value, ok := m.Captures[name]; ok {
			values[name] = value
		}
	}
	t.said[who] = values
}

// InputShare is the share of the steps' time that the ranks of a log waited for
// input, as its lines tell, over so many lines; of every log where evidence is "". The
// first told step of each does not count, since workers have to start.
func (c *Collector) InputShare(evidence string) (share float64, lines int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var took, waited float64
	for _, t := range c.seen {
		for whose, s := range t.numbers {
			log, _, _ := strings.Cut(whose, " ")
			if evidence != "" && log != evidence || t.first.Signature != SignatureStepTimes || s.other == nil || s.other.count < 2 {
				continue
			}
			took, waited, lines = took+s.sum-s.first, waited+s.other.sum-s.other.first, lines+s.other.count-1
		}
	}
	if took <= 0 {
		return 0, 0
	}
	return min(waited/took, 1), lines
}

// differs lists the captures in which speakers of one group disagree. Of a rank
// with several logs the first by name speaks: an earlier run of the rank is another
// story.
func (t *tally) differs() []string {
	logs := map[speaker]string{}
	for who := range t.said {
		whose := who
		whose.evidence = ""
		if first, known := logs[whose]; !known || who.evidence < first {
			logs[whose] = who.evidence
		}
	}
	values := map[string]map[string]string{}
	found := map[string]bool{}
	for whose, evidence := range logs {
		group := whose.group
		whose.evidence = evidence
		if values[group] == nil {
			values[group] = map[string]string{}
		}
		for name, value := range t.said[whose] {
			if other, ok := values[group][name]; ok && other != value {
				found[name] = true
			}
			values[group][name] = value
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Observations returns one entry per signature, in the order of their first
// match.
func (c *Collector) Observations() []incident.Observation {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]incident.Observation, 0, len(c.seen))
	for _, t := range c.seen {
		out = append(out, t.observation())
	}
	sort.Slice(out, func(i, j int) bool { return before(out[i], out[j]) })
	return out
}

func before(a, b incident.Observation) bool {
	logA, _, _ := strings.Cut(a.Evidence, "#L")
	logB, _, _ := strings.Cut(b.Evidence, "#L")
	return cmp.Or(compareTimes(a.FirstAt, b.FirstAt), cmp.Compare(logA, logB), cmp.Compare(lineOf(a.Evidence), lineOf(b.Evidence)),
		cmp.Compare(a.FirstRank, b.FirstRank), cmp.Compare(a.Signature, b.Signature), slices.Compare(a.Causes, b.Causes)) < 0
}

// lineOf reads the line number from "logs/rank-003.log#L120", 0 without one.
func lineOf(evidence string) int {
	_, line, _ := strings.Cut(evidence, "#L")
	number, _ := strconv.Atoi(line)
	return number
}

func (t *tally) observation() incident.Observation {
	o := incident.Observation{
		Signature: t.first.Signature,
		Role:      t.first.Role,
		Captures:  t.first.Captures,
		Ranks:     incident.Ranges(slices.Sorted(maps.Keys(t.ranks))),
		RankCount: len(t.ranks),
		Count:     t.lines,
		FirstAt:   t.first.At,
		FirstRank: t.rank,
		Line:      cut(t.first.Text, maxQuote),
		Evidence:  fmt.Sprintf("%s#L%d", t.evidence, t.first.Line),
		Differs:   t.differs(),
		AfterStep: t.afterStep,
	}
	for _, logs := range t.logs {
		if len(logs) > 1 {
			o.Times = max(o.Times, len(logs))
		}
	}
	if of := t.first.Of; of != nil {
		o.Meaning, o.FailureCase, o.Causes, o.Weight = of.Meaning, of.FailureCase, of.Causes, of.Weight
	}
	t.conclude().over(&o)
	if t.surest != nil { // what is told is told of this line
		o.Line, o.Evidence = cut(t.surest.Text, maxQuote), fmt.Sprintf("%s#L%d", t.surest.evidence, t.surest.Line)
	}
	return o
}

// over puts the reading in place of what the signature says.
func (r *Reading) over(o *incident.Observation) {
	if r == nil {
		return
	}
	if r.Meaning != "" {
		o.Meaning = r.Meaning
	}
	if r.FailureCase != "" {
		o.FailureCase = r.FailureCase
	}
	if len(r.Causes) > 0 {
		o.Causes = r.Causes
	}
	if r.Weight > 0 {
		o.Weight = r.Weight
	}
	if r.Role != "" {
		o.Role = r.Role
	}
}
