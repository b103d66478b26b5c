package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"gpumedic/config"
	"gpumedic/knobs"
	"gpumedic/runbooks"
)

func checkCommand(app *app) *cobra.Command {
	var asJSON bool
	var dir string
	var manifests []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "checks configuration, runbooks and signatures without network",
		Long: "check reads the configuration, the runbooks and the signatures as serve and the worker\n" +
			"would, and lists every problem with file and line. It asks nothing over the network.\n" +
			"With --manifest it also checks the knobs that manifests of workloads declare (docs/KNOBS.md).",
		Example: "  gpumedic check --config config.yaml --runbooks ./runbooks\n  gpumedic check --json\n  gpumedic check --manifest job.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result := check(app.configFile, dir, cmd.Flags().Changed("runbooks"))
			for _, file := range manifests {
				result.manifest(file)
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), result); err != nil {
					return &exit{notPossible, err}
				}
			} else {
				result.print(cmd)
			}
			if len(result.Problems) > 0 {
				return &exit{badNews, nil}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&dir, "runbooks", "", "folder of your runbooks (default: the one that the configuration names)")
	cmd.Flags().StringSliceVar(&manifests, "manifest", nil, "manifest of a workload whose knobs are checked too; may be repeated")
	return cmd
}

// checked is what check found. The lists are never null.
type checked struct {
	Problems   []problem `json:"problems"`
	Runbooks   []string  `json:"runbooks"`
	Signatures int       `json:"signatures"`
	// Manifests and Knobs count files and the declarations found in them.
	Manifests int `json:"manifests,omitempty"`
	Knobs     int `json:"knobs,omitempty"`
}

// problem is one thing wrong with one file. Line counts from 1, 0 is the file
// as a whole.
type problem struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	Text string `json:"text"`
}

func (p problem) String() string {
	switch {
	case p.File == "":
		return p.Text
	case p.Line == 0:
		return p.File + ": " + p.Text
	default:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
}

// check looks at everything that would be read, also when the first of it is
// broken: a person wants the whole list.
func check(configFile, dir string, given bool) checked {
	result := checked{Problems: []problem{}, Runbooks: []string{}}
	cfg, err := config.Load(configFile)
	result.add(configFile, err)
	if !given {
		dir = cfg.Runbooks
	}
	books, err := runbooks.Load(dir)
	result.add(dir, err)
	for _, book := range books {
		result.Runbooks = append(result.Runbooks, book.Name)
	}
	signatures, err := runbooks.LoadSignatures(dir)
	result.add(dir, err)
	result.Signatures = len(signatures)
	if err == nil {
		_, err = runbooks.Classifier(dir)
		result.add(dir, err)
	}
	return result
}

// manifest checks what the workloads of one file declare.
func (c *checked) manifest(file string) {
	c.Manifests++
	data, err := os.ReadFile(file)
	if err != nil {
		c.add(file, err)
		return
	}
	count, problems := knobs.Manifest(data)
	c.Knobs += count
	for _, p := range problems {
		c.Problems = append(c.Problems, problem{File: file, Line: p.Line, Text: p.Text})
	}
}

// add takes problems apart, so that each has its place. Place is said of an
// error that has none.
func (c *checked) add(place string, err error) {
	var inConfig config.Problems
	var inRunbooks runbooks.Problems
	switch {
	case err == nil:
	case errors.As(err, &inConfig):
		for _, p := range inConfig {
			c.Problems = append(c.Problems, problem(p))
		}
	case errors.As(err, &inRunbooks):
		for _, p := range inRunbooks {
			c.Problems = append(c.Problems, problem(p))
		}
	default:
		c.Problems = append(c.Problems, problem{File: place, Text: err.Error()})
	}
}

func (c checked) print(cmd *cobra.Command) {
	for _, p := range c.Problems {
		fmt.Fprintln(cmd.OutOrStdout(), p)
	}
	if len(c.Problems) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d problems\n", len(c.Problems))
		return
	}
	fmt.Fprintf(cmd.OutOrStdout(), "no problems in the configuration, %d runbooks and %d signatures\n", len(c.Runbooks), c.Signatures)
	if c.Manifests > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "no problems in %d declarations of knobs in %d manifests\n", c.Knobs, c.Manifests)
	}
}
