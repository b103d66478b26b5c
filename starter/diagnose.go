package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/runbooks"
)

func diagnoseCommand() *cobra.Command {
	var asJSON, asJSONL bool
	var dir string
	cmd := &cobra.Command{
		Use:   "diagnose FILE... | - | --jsonl",
		Short: "finds the cause in logs, without a cluster",
		Long: "diagnose reads logs and says what went wrong, how sure it is, and which lines say so.\n" +
			"Several files are taken for the logs of several ranks of one job; - is standard input.\n" +
			"With --jsonl, every line of standard input is one text to diagnose by itself:\n" +
			`{"id":"...","kind":"log|event|metric-alert","text":"..."}; answers come a line each, in order.`,
		Example: "  gpumedic diagnose rank0.log rank1.log\n  kubectl logs llama-70b-0-x7k2p | gpumedic diagnose -\n  gpumedic diagnose --jsonl < texts.jsonl > causes.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := inputOf(args, asJSON, asJSONL); err != nil {
				return &exit{wrongUse, err}
			}
			classifier, err := signaturesOf(cmd, dir)
			if err != nil {
				return &exit{notPossible, err}
			}
			if asJSONL {
				return diagnosed(classifier.RunJSONL(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout()))
			}
			return diagnoseLogs(cmd, classifier, args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the verdict as one JSON object")
	cmd.Flags().BoolVar(&asJSONL, "jsonl", false, "read one JSON object a line, write one a line")
	cmd.Flags().StringVar(&dir, "runbooks", "", "folder whose signatures/*.yaml are used beside the built-in ones")
	return cmd
}

// signaturesOf compiles the built-in signatures and those of dir. Broken ones of
// dir are told on stderr and left out: the rest still helps.
func signaturesOf(cmd *cobra.Command, dir string) (*diagnosis.Classifier, error) {
	classifier, err := runbooks.Classifier(dir)
	if err == nil {
		return classifier, nil
	}
	if classifier == nil { // the built-in ones are tested; this build is broken
		return nil, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%v\nthese signatures are left out; gpumedic check --runbooks %s lists them\n", err, dir)
	return classifier, nil
}

func inputOf(args []string, asJSON, asJSONL bool) error {
	stdin := 0
	for _, arg := range args {
		if arg == "-" {
			stdin++
		}
	}
	switch {
	case asJSONL && len(args) > 0:
		return errors.New("diagnose --jsonl reads standard input and takes no files")
	case asJSONL && asJSON:
		return errors.New("give either --json or --jsonl")
	case !asJSONL && len(args) == 0:
		return errors.New("diagnose needs the logs' files, or - for standard input")
	case stdin > 1:
		return errors.New("- can be given once: there is one standard input")
	}
	return nil
}

func diagnoseLogs(cmd *cobra.Command, classifier *diagnosis.Classifier, names []string, asJSON bool) error {
	logs, err := openLogs(cmd.InOrStdin(), names)
	defer closeLogs(logs)
	if err != nil {
		return &exit{notPossible, err}
	}
	if len(logs) == 1 {
		logs[0].Name = "" // lines of a single text are quoted by number alone
	}
	_, err = classifier.RunFiles(cmd.Context(), logs, !asJSON, cmd.OutOrStdout())
	return diagnosed(err)
}

func openLogs(stdin io.Reader, names []string) ([]diagnosis.Log, error) {
	var logs []diagnosis.Log
	for _, name := range names {
		if name == "-" {
			logs = append(logs, diagnosis.Log{Name: "standard input", Content: io.NopCloser(stdin)})
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			return logs, fmt.Errorf("opening a log: %w", err)
		}
		logs = append(logs, diagnosis.Log{Name: name, Content: file})
	}
	return logs, nil
}

func closeLogs(logs []diagnosis.Log) {
	for _, log := range logs {
		if file, ok := log.Content.(io.Closer); ok {
			file.Close()
		}
	}
}

// diagnosed maps an error to an exit code: input that cannot be understood is
// wrong use, one that cannot be read could not be done.
func diagnosed(err error) error {
	var fault *incident.Fault
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &fault) && fault.Kind == incident.Invalid:
		return &exit{wrongUse, err}
	default:
		return &exit{notPossible, err}
	}
}
