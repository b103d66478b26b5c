// Eval measures the planner of communication tests in simulated sites, beside
// other ways to search:
//
//	go run ./localize/eval -sizes 16,232 -seeds 20
//
// It prints, for each fault model and size, which share of the verdicts is
// exact, blames a healthy node, misses something, or is inconclusive, and what
// they cost; then how often confident verdicts are wrong. The exit code is 1
// when the planner is under a bar.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"gpumedic/localize/simulate"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case errors.Is(err, errUnderBar):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "eval:", err)
		os.Exit(3)
	}
}

var errUnderBar = errors.New("under the bar")

// options are the flags.
type options struct {
	models []string
	sizes  []int
	noises []float64
	seeds  int
	first  uint64
	prior  string
	// beside adds the baselines.
	beside bool
	wrong  bool
	// bars: the least share of exact verdicts, and the largest of false blame.
	exact, falseBlame float64
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	searches := []simulate.Baseline{{Name: "gpumedic", Search: simulate.Planned}}
	if o.beside {
		searches = append(searches, simulate.Baselines()...)
	}
	var ours []simulate.Mark
	for i, search := range searches {
		marks, err := playAll(ctx, o, search, progress)
		if err != nil {
			return err
		}
		if i == 0 {
			ours = marks
		}
		printTable(out, search.Name, o, marks)
	}
	printCalibration(out, ours)
	if o.wrong {
		printWrong(out, ours)
	}
	return o.judge(ours)
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("eval", flag.ContinueOnError)
	models := flags.String("models", strings.Join(simulate.Models(), ","), "fault models")
	sizes := flags.String("sizes", "16,64,232,1024", "numbers of nodes")
	noises := flags.String("noise", "0,0.02,0.05", "how often a healthy group fails")
	flags.IntVar(&o.seeds, "seeds", 4, "cases of each model, size and noise")
	flags.Uint64Var(&o.first, "first", 1, "first seed")
	flags.StringVar(&o.prior, "prior", "", "right or wrong: a hint at a bad or at a healthy node")
	flags.BoolVar(&o.beside, "beside", false, "also play the baselines")
	flags.BoolVar(&o.wrong, "wrong", false, "list the verdicts that are not exact")
	flags.Float64Var(&o.exact, "min-exact", 0, "least share of exact verdicts")
	flags.Float64Var(&o.falseBlame, "max-false-blame", 1, "largest share of verdicts that blame a healthy node")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.models = strings.Split(*models, ",")
	var errs []error
	for word := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(word)
		o.sizes, errs = append(o.sizes, n), append(errs, err)
	}
	for word := range strings.SplitSeq(*noises, ",") {
		n, err := strconv.ParseFloat(word, 64)
		o.noises, errs = append(o.noises, n), append(errs, err)
	}
	return o, errors.Join(errs...)
}

func (o options) judge(marks []simulate.Mark) error {
	s := sum(marks)
	if s.exact < o.exact || s.falseBlame > o.falseBlame {
		return fmt.Errorf("%w: exact %.4f (at least %.4f), a healthy node blamed %.4f (at most %.4f)", errUnderBar, s.exact, o.exact, s.falseBlame, o.falseBlame)
	}
	return nil
}
