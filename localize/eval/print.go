package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"gpumedic/localize/simulate"
)

// summary is the means over some cases.
type summary struct {
	cases                                   int
	exact, falseBlame, missed, inconclusive float64
	rounds, tests, nodeTests                float64
}

func sum(marks []simulate.Mark) summary {
	s := summary{cases: len(marks)}
	one := 1 / math.Max(1, float64(len(marks)))
	add := func(to *float64, yes bool) {
		if yes {
			*to += one
		}
	}
	for _, m := range marks {
		add(&s.exact, m.Exact)
		add(&s.falseBlame, m.FalseBlame)
		add(&s.missed, m.Missed)
		add(&s.inconclusive, m.Inconclusive)
		s.rounds += one * float64(m.Rounds)
		s.tests += one * float64(m.Tests)
		s.nodeTests += one * float64(m.NodeTests) / float64(m.Nodes)
	}
	return s
}

const columns = "%-9s %6s %6s %7s %7s %7s %7s %7s %7s %7s %6s\n"

// printTable prints a row for each model and size, and one for all. Bits is
// what telling one of the model's possible faults takes at least, as tests that
// answer yes or no.
func printTable(out io.Writer, name string, o options, marks []simulate.Mark) {
	fmt.Fprintf(out, "%s\n", name)
	fmt.Fprintf(out, columns, "model", "nodes", "cases", "exact", "blamed", "missed", "incon.", "rounds", "tests", "n-tests", "bits")
	for _, model := range o.models {
		for _, nodes := range o.sizes {
			some := filter(marks, func(m simulate.Mark) bool { return m.Model == model && m.Nodes == nodes })
			if len(some) > 0 {
				row(out, model, fmt.Sprint(nodes), sum(some), fmt.Sprintf("%.1f", simulate.Bits(model, nodes)))
			}
		}
	}
	row(out, "all", "", sum(marks), "")
	fmt.Fprintln(out)
}

func row(out io.Writer, model, nodes string, s summary, bits string) {
	share := func(x float64) string { return fmt.Sprintf("%.4f", x) }
	fmt.Fprintf(out, columns, model, nodes, fmt.Sprint(s.cases), share(s.exact), share(s.falseBlame), share(s.missed), share(s.inconclusive),
		fmt.Sprintf("%.1f", s.rounds), fmt.Sprintf("%.1f", s.tests), fmt.Sprintf("%.1f", s.nodeTests), bits)
}

func filter(marks []simulate.Mark, keep func(simulate.Mark) bool) []simulate.Mark {
	return slices.DeleteFunc(slices.Clone(marks), func(m simulate.Mark) bool { return !keep(m) })
}

// printCalibration tells how often verdicts that name somebody are wrong, by
// their confidence. Wrong is one that names a part that is not bad.
func printCalibration(out io.Writer, marks []simulate.Mark) {
	fmt.Fprintf(out, "confidence  verdicts  wrong  share\n")
	for _, bin := range [][2]float64{{0, 0.9}, {0.9, 0.95}, {0.95, 0.98}, {0.98, 0.99}, {0.99, 1.01}} {
		some := filter(marks, func(m simulate.Mark) bool {
			return len(m.Verdict.Bad) > 0 && m.Confidence >= bin[0] && m.Confidence < bin[1]
		})
		wrong := 0
		for _, m := range some {
			if namesInnocent(m) {
				wrong++
			}
		}
		fmt.Fprintf(out, "%.2f-%.2f   %8d  %5d  %.4f\n", bin[0], min(1, bin[1]), len(some), wrong, float64(wrong)/math.Max(1, float64(len(some))))
	}
	fmt.Fprintln(out)
}

func namesInnocent(m simulate.Mark) bool {
	for _, part := range m.Verdict.Bad {
		if !slices.Contains(m.Bad, part.Kind+" "+part.ID) {
			return true
		}
	}
	return false
}

func printWrong(out io.Writer, marks []simulate.Mark) {
	for _, m := range marks {
		if !m.Exact {
			fmt.Fprintf(out, "%s, %d nodes, noise %.2f, seed %d, %d rounds: bad is [%s]: %s\n",
				m.Model, m.Nodes, m.Noise, m.Seed, m.Rounds, strings.Join(m.Bad, ", "), m.Verdict.Why)
		}
	}
}
