package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	if err != nil {
		return &exit{notPossible, err}
	}
	if len(logs) == 1 {
		logs[0].Name = "" // lines of a single text are quoted by number alone
	}
	_, err = classifier.RunFiles(cmd.Context(), logs, !asJSON, cmd.OutOrStdout())
	return diagnosed(err)
}

// openLogs opens what is to be read, each when its turn comes, so that a thousand
// ranks need no thousand descriptors. What cannot be read at all is found at once.
func openLogs(stdin io.Reader, names []string) ([]diagnosis.Log, error) {
	var logs []diagnosis.Log
	for _, name := range names {
		if name == "-" {
			logs = append(logs, diagnosis.Log{Name: "standard input", Content: &logText{name: "standard input", open: func() (io.Reader, error) { return stdin, nil }}})
			continue
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("opening a log: %w", err)
		case info.IsDir():
			return nil, fmt.Errorf("%s is a folder: give the logs in it, %s", name, filepath.Join(name, "*"))
		}
		logs = append(logs, diagnosis.Log{Name: name, Content: &logText{name: name, open: func() (io.Reader, error) { return os.Open(name) }}})
	}
	return logs, nil
}

// logText is a log that is opened when it is first read, unpacked when it is
// compressed, and refused when it is no text.
type logText struct {
	name string
	open func() (io.Reader, error)
	file io.Reader
	in   io.Reader
}

func (l *logText) Read(p []byte) (int, error) {
	if l.in == nil {
		var err error
		if l.file, err = l.open(); err != nil {
			return 0, err
		}
		if l.in, err = asText(l.name, l.file); err != nil {
			l.close()
			return 0, err
		}
	}
	n, err := l.in.Read(p)
	if err != nil {
		l.close()
	}
	return n, err
}

func (l *logText) close() {
	if file, ok := l.file.(io.Closer); ok {
		file.Close()
	}
}

// asText looks at the begin of a log.
func asText(name string, in io.Reader) (io.Reader, error) {
	const enough = 512
	begin := bufio.NewReaderSize(in, 64<<10)
	head, _ := begin.Peek(enough)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(begin)
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return nil, fmt.Errorf("%s is UTF-16: give it as UTF-8, iconv -f UTF-16 -t UTF-8 %s", name, name)
	case bytes.IndexByte(head, 0) >= 0:
		return nil, fmt.Errorf("%s is no text: it holds zero bytes", name)
	}
	return begin, nil
}

// diagnosed maps an error to an exit code: input that cannot be understood is
// wrong use, one that cannot be read could not be done.
func diagnosed(err error) error {
	var fault *incident.Fault
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &exit{interrupted, errors.New("interrupted")}
	case errors.As(err, &fault) && fault.Kind == incident.Invalid:
		return &exit{wrongUse, err}
	default:
		return &exit{notPossible, err}
	}
}
