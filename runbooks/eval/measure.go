package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// answer is a case and what was said of it.
type answer struct {
	labelled
	verdict diagnosis.Verdict
}

func (a answer) caseRight() bool { return a.verdict.FailureCase == a.FailureCase }

func (a answer) causeRight() bool { return a.caseRight() && a.verdict.RootCause == a.RootCause }

// right is what counts for calibration: the named cause where one is named, else
// the failure case.
func (a answer) right() bool {
	if a.verdict.FailureCase == incident.NoneOfThese || a.verdict.RootCause == incident.UnknownCause {
		return a.caseRight()
	}
	return a.causeRight()
}

// share is so many of so many.
type share struct{ part, whole int }

func (s *share) count(hit bool) {
	s.whole++
	if hit {
		s.part++
	}
}

func (s share) ratio() float64 {
	if s.whole == 0 {
		return 0
	}
	return float64(s.part) / float64(s.whole)
}

func (s share) String() string {
	if s.whole == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", s.part, s.whole, 100*s.ratio())
}

// score holds the counts behind precision and recall of one label.
type score struct {
	label                     string
	hits, falseAlarms, misses int
}

func (s score) precision() float64 { return share{s.hits, s.hits + s.falseAlarms}.ratio() }
func (s score) recall() float64    { return share{s.hits, s.hits + s.misses}.ratio() }
func (s score) f1() float64 {
	p, r := s.precision(), s.recall()
	if p+r == 0 {
		return 0
	}
	return 2 * p * r / (p + r)
}

// bin is one row of the calibration table.
type bin struct {
	from, to float64
	right    share
	sum      float64
}

// pair is a confusion: what it was and what was said.
type pair struct{ want, got string }

type result struct {
	answers                           []answer
	failures, told, confirmed, benign share
	cases, causes                     []score
	confusions                        map[pair]int
	bins                              []bin
	// sureWrong counts guesses with confidence of at least 0.8 that are wrong.
	sureWrong int
}

func measure(answers []answer) result {
	r := result{answers: answers, confusions: map[pair]int{}, bins: calibrationBins()}
	cases, causes := map[string]*score{}, map[string]*score{}
	for _, a := range answers {
		r.tally(a)
		tally(cases, a.FailureCase, a.verdict.FailureCase)
		if a.told() {
			tally(causes, a.RootCause, a.verdict.RootCause)
		}
	}
	r.cases, r.causes = sorted(cases), sorted(causes)
	return r
}

func (r *result) tally(a answer) {
	if a.failure() {
		r.failures.count(a.caseRight())
	} else {
		r.benign.count(!a.caseRight())
	}
	if a.told() {
		r.told.count(a.causeRight())
	}
	if a.confirmed() {
		r.confirmed.count(a.causeRight())
	}
	if !a.caseRight() {
		r.confusions[pair{a.FailureCase, a.verdict.FailureCase}]++
	} else if a.told() && !a.causeRight() {
		r.confusions[pair{a.RootCause, a.verdict.RootCause}]++
	}
	if !a.right() && a.verdict.Confidence >= 0.8 {
		r.sureWrong++
	}
	for i := range r.bins {
		if b := &r.bins[i]; a.verdict.Confidence >= b.from && a.verdict.Confidence < b.to {
			b.right.count(a.right())
			b.sum += a.verdict.Confidence
		}
	}
}

func calibrationBins() []bin {
	edges := []float64{0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01}
	var out []bin
	for i := range len(edges) - 1 {
		out = append(out, bin{from: edges[i], to: edges[i+1]})
	}
	return out
}

// tally counts one answer for the label it had and for the one it was given.
func tally(scores map[string]*score, want, got string) {
	for _, label := range []string{want, got} {
		if scores[label] == nil {
			scores[label] = &score{label: label}
		}
	}
	if want == got {
		scores[want].hits++
		return
	}
	scores[want].misses++
	scores[got].falseAlarms++
}

func sorted(scores map[string]*score) []score {
	var out []score
	for _, label := range slices.Sorted(maps.Keys(scores)) {
		out = append(out, *scores[label])
	}
	return out
}

// often returns the confusions, the commonest first.
func (r result) often() []pair {
	pairs := slices.Collect(maps.Keys(r.confusions))
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(r.confusions[b], r.confusions[a]), cmp.Compare(a.want, b.want), cmp.Compare(a.got, b.got))
	})
	return pairs
}

// check says which bars are not reached.
func (r result) check(b bars) error {
	var under []string
	for _, bar := range []struct {
		what  string
		got   share
		least float64
	}{{"failure case", r.failures, b.failureCase}, {"confirmed root causes", r.confirmed, b.confirmed}, {"root causes told by the text", r.told, b.determinable}} {
		if bar.least > 0 && bar.got.ratio() < bar.least {
			under = append(under, fmt.Sprintf("%s right in %s, %.1f %% wanted", bar.what, bar.got, 100*bar.least))
		}
	}
	if b.falseAlarms > 0 && r.benign.ratio() > b.falseAlarms {
		under = append(under, fmt.Sprintf("benign texts called a failure: %s, at most %.1f %% wanted", r.benign, 100*b.falseAlarms))
	}
	if len(under) > 0 {
		return fmt.Errorf("%w: %v", errUnderBar, under)
	}
	return nil
}
