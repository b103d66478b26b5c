package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
)

func (r result) print(out io.Writer, wrong bool) {
	fmt.Fprintf(out, "cases                                       %d\n", len(r.answers))
	fmt.Fprintf(out, "failure case right, of the failures         %s\n", r.failures)
	fmt.Fprintf(out, "root cause right, confirmed and told        %s\n", r.confirmed)
	fmt.Fprintf(out, "root cause right, all told by the text      %s\n", r.told)
	fmt.Fprintf(out, "benign texts called a failure               %s\n", r.benign)
	fmt.Fprintf(out, "wrong with a confidence of 0.8 and more     %d\n", r.sureWrong)
	printScores(out, "failure case", r.cases)
	printScores(out, "root cause, where the text tells it", r.causes)
	r.printConfusions(out)
	r.printCalibration(out)
	if wrong {
		r.printWrong(out)
	}
}

func printScores(out io.Writer, title string, scores []score) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "%s\tcases\tprecision\trecall\tF1\n", title)
	for _, s := range scores {
		fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.2f\n", cmp.Or(s.label, "(none)"), s.hits+s.misses, s.precision(), s.recall(), s.f1())
	}
	table.Flush()
}

func (r result) printConfusions(out io.Writer) {
	if len(r.confusions) == 0 {
		return
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "it was\tand was called\ttimes")
	for _, p := range r.often() {
		fmt.Fprintf(table, "%s\t%s\t%d\n", p.want, cmp.Or(p.got, "(none)"), r.confusions[p])
	}
	table.Flush()
}

// printCalibration: of the answers given with 0.9, about nine in ten ought to be
// right. An unnamed cause counts as right when the failure case is.
func (r result) printCalibration(out io.Writer) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "confidence\tanswers\tmean confidence\tright")
	for _, b := range r.bins {
		if b.right.whole == 0 {
			continue
		}
		fmt.Fprintf(table, "%.1f to %.1f\t%d\t%.2f\t%.2f\n", b.from, min(b.to, 1), b.right.whole, b.sum/float64(b.right.whole), b.right.ratio())
	}
	table.Flush()
}

func (r result) printWrong(out io.Writer) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "not right\tit was\twas called\tconfidence\ttext tells")
	for _, a := range r.answers {
		if a.caseRight() && (a.causeRight() || !a.told()) {
			continue
		}
		fmt.Fprintf(table, "%s\t%s: %s\t%s: %s\t%.2f\t%v\n", a.ID, a.FailureCase, a.RootCause,
			a.verdict.FailureCase, cmp.Or(a.verdict.RootCause, "(none)"), a.verdict.Confidence, a.Determinable)
	}
	table.Flush()
}
