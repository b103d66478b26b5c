// Eval measures the diagnosis of text against a corpus of labelled failures:
//
//	go run ./runbooks/eval FILE.jsonl
//
// Each line of the file is an object with id, kind and text, as `gpumedic
// diagnose --jsonl` reads it, and with the labels failure_case, root_cause,
// determinable_from_text and confidence ("high" when the cause was confirmed).
// Root causes are counted where the text decides them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"gpumedic/diagnosis"
	"gpumedic/runbooks"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
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

// options are the flags.
type options struct {
	runbooks string
	only     string
	wrong    bool
	bars     bars
}

// bars are the shares that must be reached; 0 asks for nothing.
type bars struct {
	failureCase, confirmed, determinable, falseAlarms float64
}

var errUnderBar = errors.New("under the bar")

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("eval", flag.ContinueOnError)
	flags.StringVar(&o.runbooks, "runbooks", "", "folder whose signatures/*.yaml are used beside the built-in ones")
	flags.StringVar(&o.only, "only", "", "look at the cases of this failure case alone")
	flags.BoolVar(&o.wrong, "wrong", false, "list every case that is not right")
	flags.Float64Var(&o.bars.failureCase, "bar-case", 0, "least share of failures whose failure case is right")
	flags.Float64Var(&o.bars.confirmed, "bar-confirmed", 0, "least share of right root causes among those confirmed and told by the text")
	flags.Float64Var(&o.bars.determinable, "bar-determinable", 0, "least share of right root causes among all told by the text")
	flags.Float64Var(&o.bars.falseAlarms, "bar-false-alarms", 0, "largest share of benign texts that are called a failure")
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if flags.NArg() != 1 {
		return errors.New("give one file of labelled cases, JSONL")
	}
	cases, err := readCases(flags.Arg(0))
	if err != nil {
		return err
	}
	classifier, err := runbooks.Classifier(o.runbooks)
	if err != nil {
		return err
	}
	answers, err := judge(ctx, classifier, cases, o.only)
	if err != nil {
		return err
	}
	result := measure(answers)
	result.print(out, o.wrong)
	return result.check(o.bars)
}

// judge diagnoses every case.
func judge(ctx context.Context, classifier *diagnosis.Classifier, cases []labelled, only string) ([]answer, error) {
	var out []answer
	for _, c := range cases {
		if only != "" && c.FailureCase != only {
			continue
		}
		verdict, err := classifier.DiagnoseText(ctx, c.Kind, c.log())
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.ID, err)
		}
		out = append(out, answer{labelled: c, verdict: verdict})
	}
	return out, nil
}
