package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"gpumedic/workflows/replay"
)

func replayCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay HISTORY.json|DIR",
		Short: "runs recorded histories against the workflows of this build",
		Long: "replay runs recorded Temporal histories against the code of this build and names those\n" +
			"that it would not have written: another order of steps, another input, another result.\n" +
			"Of a folder it replays every *.json below it.",
		Example: "  gpumedic replay out/demo/history.json\n  gpumedic replay workflows/testdata/histories --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			replayed, err := replayAll(cmd.Context(), args[0])
			if err != nil {
				return &exit{notPossible, err}
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), replayed); err != nil {
					return &exit{notPossible, err}
				}
			} else {
				printReplayed(cmd.OutOrStdout(), cmd.ErrOrStderr(), replayed)
			}
			return verdictOf(replayed)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// replayed is one history. Same false and no differences means that it could
// not be replayed; Problem says why.
type replayed struct {
	File        string              `json:"file"`
	Workflow    string              `json:"workflow_id,omitempty"`
	Same        bool                `json:"same"`
	Differences []replay.Difference `json:"differences,omitempty"`
	Problem     string              `json:"problem,omitempty"`
}

// replayAll replays a file, or every history of a folder in the order of names.
func replayAll(ctx context.Context, place string) ([]replayed, error) {
	folder, names, err := histories(place)
	if err != nil {
		return nil, err
	}
	all := make([]replayed, 0, len(names))
	for _, name := range names {
		one := replayed{File: filepath.Join(folder, filepath.FromSlash(name))}
		err := replay.File(ctx, os.DirFS(folder), name)
		var different *replay.Different
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("replaying %s: %w", one.File, ctx.Err())
		case err == nil:
			one.Same = true
		case errors.As(err, &different):
			one.Workflow, one.Differences = different.Workflow, different.Differences
		default:
			one.Problem = err.Error()
		}
		all = append(all, one)
	}
	return all, nil
}

func histories(place string) (folder string, names []string, err error) {
	info, err := os.Stat(place)
	if err != nil {
		return "", nil, fmt.Errorf("looking for histories: %w", err)
	}
	if !info.IsDir() {
		return filepath.Dir(place), []string{filepath.Base(place)}, nil
	}
	err = fs.WalkDir(os.DirFS(place), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && path.Ext(name) == ".json" {
			names = append(names, name)
		}
		return err
	})
	if err == nil && len(names) == 0 {
		err = errors.New("there is no *.json below " + place)
	}
	if err != nil {
		return "", nil, fmt.Errorf("looking for histories: %w", err)
	}
	return place, names, nil
}

func printReplayed(out, problems io.Writer, all []replayed) {
	same := 0
	for _, one := range all {
		switch {
		case one.Same:
			same++
		case one.Problem != "":
			fmt.Fprintf(problems, "gpumedic: %s: %s\n", one.File, one.Problem)
		default:
			fmt.Fprintf(out, "%s (%s) is not what this build does:\n", one.File, one.Workflow)
			for _, difference := range one.Differences {
				fmt.Fprintln(out, "  "+difference.String())
			}
		}
	}
	fmt.Fprintf(out, "%d of %d histories replay the same\n", same, len(all))
}

// verdictOf is the exit code. A history that differs is the answer that was
// asked for, and stands above one that could not be read.
func verdictOf(all []replayed) error {
	code := 0
	for _, one := range all {
		switch {
		case len(one.Differences) > 0:
			return &exit{badNews, nil}
		case one.Problem != "":
			code = notPossible
		}
	}
	if code != 0 {
		return &exit{code, nil}
	}
	return nil
}
