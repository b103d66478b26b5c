package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"gpumedic/report"
	"gpumedic/report/bundle"
	"gpumedic/workflows"
)

func listCommand(app *app) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "lists incidents, newest first",
		Example: "  gpumedic list\n  gpumedic list --json | jq .",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			desk, err := app.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer desk.close()
			entries, err := desk.List(cmd.Context(), limit)
			if err != nil {
				return &exit{notPossible, err}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), entries)
			}
			for _, entry := range entries {
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %-8s %s\n", entry.OpenedAt.Format(time.DateTime), entry.Status, entry.ID)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}

func showCommand(app *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "shows an incident: what is known, what it waits for",
		Example: "  gpumedic show incident/prod/training/job/llama-70b",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			desk, err := app.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer desk.close()
			view, err := desk.View(cmd.Context(), args[0])
			if err != nil {
				return &exit{notPossible, err}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), view)
			}
			waiting, err := desk.waiting(cmd.Context(), args[0])
			if err != nil {
				return &exit{notPossible, err}
			}
			printView(cmd.OutOrStdout(), view, waiting)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printView writes the state for people: first what waits for them.
func printView(out io.Writer, view workflows.View, waiting []string) {
	fmt.Fprintf(out, "%s is %s\n", view.Record.IncidentID, view.State)
	for _, line := range waiting {
		fmt.Fprintln(out, "trying again:", line)
	}
	if view.Testing != nil {
		fmt.Fprintf(out, "\ntesting the network: %s\n%s", cmp.Or(view.Testing.Progress(), "planning the first round"), report.RoundsTable(*view.Testing))
	}
	if view.Asking != nil {
		fmt.Fprintf(out, "\nwaits for approval until %s\n%s\nrisk %s, restarts %d pods, costs %.1f GPU-hours\n\n%s\n  gpumedic approve %s --plan %s\n  gpumedic deny %s --reason \"...\"\n",
			view.Deadline.Format(time.DateTime+" MST"), view.Asking.Summary, view.Asking.Risk, view.Asking.PodsRestarted, view.Asking.GPUHoursLost,
			view.Asking.Diff, view.Record.IncidentID, view.Asking.Hash, view.Record.IncidentID)
	}
	fmt.Fprintln(out)
	fmt.Fprint(out, report.Text(view.Record))
}

func reportCommand(app *app) *cobra.Command {
	var asJSON, asHTML bool
	var dir string
	cmd := &cobra.Command{
		Use:     "report ID",
		Short:   "prints an incident's report, or exports its bundle",
		Example: "  gpumedic report incident/prod/training/job/llama-70b\n  gpumedic report incident/prod/training/job/llama-70b --html > report.html\n  gpumedic report incident/prod/training/job/llama-70b --bundle ./bundle",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			desk, err := app.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer desk.close()
			view, err := desk.View(cmd.Context(), args[0])
			if err != nil {
				return &exit{notPossible, err}
			}
			if dir != "" {
				return exportBundle(cmd.Context(), cmd.ErrOrStderr(), desk, view, dir)
			}
			return printReport(cmd.OutOrStdout(), cmd.Context(), desk, view, asJSON, asHTML)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print report.json")
	cmd.Flags().BoolVar(&asHTML, "html", false, "print the HTML page")
	cmd.Flags().StringVar(&dir, "bundle", "", "write the whole evidence bundle into this folder")
	return cmd
}

func printReport(out io.Writer, ctx context.Context, desk *desk, view workflows.View, asJSON, asHTML bool) error {
	switch {
	case asJSON:
		data, err := report.JSON(view.Record)
		if err != nil {
			return &exit{notPossible, err}
		}
		_, err = out.Write(data)
		return err
	case asHTML:
		return writeHTML(ctx, out, desk, view)
	default:
		_, err := io.WriteString(out, report.Text(view.Record))
		return err
	}
}

// writeHTML prints the page that the worker rendered; it has the picture of
// the ranks, which only the evidence knows.
func writeHTML(ctx context.Context, out io.Writer, desk *desk, view workflows.View) error {
	if view.Report.HTML.SHA256 == "" {
		return &exit{badNews, fmt.Errorf("printing the report of %s: it is written when the incident ends; it is %s", view.Record.IncidentID, view.State)}
	}
	store, err := bundle.Open(ctx, desk.cfg.Evidence.URL)
	if err != nil {
		return &exit{notPossible, err}
	}
	defer store.Close()
	html, err := store.Read(ctx, view.Report.HTML)
	if err != nil {
		return &exit{notPossible, err}
	}
	_, err = out.Write(html)
	return err
}

func exportBundle(ctx context.Context, progress io.Writer, desk *desk, view workflows.View, dir string) error {
	if view.Report.Manifest.SHA256 == "" {
		return &exit{badNews, fmt.Errorf("exporting the bundle of %s: it is sealed when the incident ends; it is %s", view.Record.IncidentID, view.State)}
	}
	store, err := bundle.Open(ctx, desk.cfg.Evidence.URL)
	if err != nil {
		return &exit{notPossible, err}
	}
	defer store.Close()
	if err := store.Export(ctx, view.Report.Manifest, dir); err != nil {
		return &exit{notPossible, err}
	}
	fmt.Fprintln(progress, "the bundle is in", dir)
	return nil
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
