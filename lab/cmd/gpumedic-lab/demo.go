package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"gpumedic/incident"
	"gpumedic/lab/rig"
	"gpumedic/lab/scenarios"
	"gpumedic/report"
	"gpumedic/workflows"
)

// demoFlags are what make demo passes on.
type demoFlags struct{ scenario, approve, out, bin string }

func demoCommand() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use: "demo", Short: "plays one incident from alert to report",
		Example: "  gpumedic-lab demo --scenario list\n  gpumedic-lab demo --scenario nccl-policy --approve deny --out out/demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.scenario == "list" {
				return list(cmd.OutOrStdout())
			}
			return demo(cmd.Context(), cmd.OutOrStdout(), flags)
		},
	}
	cmd.Flags().StringVar(&flags.scenario, "scenario", "nccl-policy", `which incident; "list" lists them`)
	cmd.Flags().StringVar(&flags.approve, "approve", "", "ask, auto or deny; empty: ask in a terminal, auto without one")
	cmd.Flags().StringVar(&flags.out, "out", "out/demo", "folder for report, bundle and history")
	cmd.Flags().StringVar(&flags.bin, "bin", "bin", "folder of the built programs")
	return cmd
}

func list(out io.Writer) error {
	all, err := scenarios.All()
	if err != nil {
		return err
	}
	for _, s := range all {
		fmt.Fprintf(out, "%-22s %s\n", s.Name, s.Title)
	}
	return nil
}

// demo plays one scenario and says whether it ended as it must.
func demo(ctx context.Context, out io.Writer, flags demoFlags) error {
	scene, err := scenarios.Find(flags.scenario)
	if err != nil {
		return err
	}
	if err := choose(&flags, &scene); err != nil {
		return err
	}
	flags.out, flags.bin = absolute(flags.out), absolute(flags.bin)
	began := time.Now()
	say := speaker(out, began)
	say("Everything runs on this machine. Simulated: GPU nodes, containers, NCCL and Slack's cloud. Real: Kubernetes, Temporal, gpumedic.")
	lab, err := rig.Start(ctx, rig.Options{Dir: filepath.Join(flags.out, "lab"), Bin: flags.bin, Topology: scene.Topology, Progress: say, Log: labLog(flags.out)})
	if err != nil {
		return err
	}
	defer lab.Stop()
	ready := time.Now()
	say(fmt.Sprintf("the lab is up after %.1f s; Slack stand-in %s, Temporal %s, console %s", ready.Sub(began).Seconds(), lab.Slack.URL(), lab.Temporal.UIURL(), lab.Door))
	say("scenario " + scene.Name + ": " + scene.Story)
	ending, err := lab.Play(ctx, scene, listener(out, say, flags, lab))
	if err != nil {
		return err
	}
	if err := lab.Export(ctx, ending, flags.out); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s\n", report.Text(ending.View.Record))
	times(out, ending, began, ready)
	return verdict(ctx, out, lab, ending, flags)
}

// choose settles who answers: a denial changes what the scenario must end as.
func choose(flags *demoFlags, scene *scenarios.Scenario) error {
	if flags.approve == "" {
		flags.approve = "auto"
		if terminal(os.Stdin) && terminal(os.Stdout) {
			flags.approve = "ask"
		}
	}
	switch flags.approve {
	case "ask", "auto":
	case "deny":
		scene.Answer = scenarios.Deny
		if scene.Expect.Changes > 0 {
			scene.Expect = scene.Expect.Denied()
		}
		scene.Crash = false // there is no change to die in
	default:
		return fmt.Errorf("reading --approve %q: it is ask, auto or deny", flags.approve)
	}
	return nil
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// listener prints the story as it unfolds and, in a terminal, asks.
func listener(out io.Writer, say func(string), flags demoFlags, lab *rig.Rig) rig.Listener {
	hear := rig.Listener{Event: func(e incident.Event) { say(fmt.Sprintf("%-8s %s", e.Kind, e.Text)) }}
	if flags.approve == "ask" {
		hear.Ask = func(ctx context.Context, view workflows.View) error { return ask(ctx, out, view, flags, lab) }
	}
	return hear
}

// ask shows the plan and takes the answer of whoever is faster: the terminal,
// or a click on the Slack page.
func ask(ctx context.Context, out io.Writer, view workflows.View, flags demoFlags, lab *rig.Rig) error {
	plan := view.Asking
	fmt.Fprintf(out, "\n%s\nrisk %s, restarts %d pods, costs %.1f GPU-hours, plan %s\n\n%s\n", plan.Summary, plan.Risk, plan.PodsRestarted, plan.GPUHoursLost, plan.Hash, plan.Diff)
	fmt.Fprintf(out, "Click Approve or Deny as the on-call engineer on %s, or answer here.\napprove? [y/N] ", lab.Slack.URL())
	go func() { // ends with the process: a read from a terminal cannot be cancelled
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return
		}
		args := []string{"deny", view.Record.IncidentID, "--reason", "denied in the terminal"}
		if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
			args = []string{"approve", view.Record.IncidentID, "--plan", plan.Hash}
		}
		cmd := exec.CommandContext(ctx, filepath.Join(flags.bin, "gpumedic"), append(args, "--config", lab.ConfigFile)...)
		cmd.Env = append(os.Environ(), "TEMPORAL_TLS=false")
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		_ = cmd.Run() // what went wrong was printed
	}()
	return nil
}

// times prints how long each stage took.
func times(out io.Writer, e *rig.Ending, began, ready time.Time) {
	fmt.Fprintf(out, "start-up of the lab %.1f s; from the alert to the end %.1f s", ready.Sub(began).Seconds(), e.EndedAt.Sub(e.AlertAt).Seconds())
	if !e.AskedAt.IsZero() {
		test := 0.0
		if t := e.View.Record.CommTest; t != nil {
			test = t.EndedAt.Sub(t.StartedAt).Seconds()
		}
		fmt.Fprintf(out, "; alert to approval message %.1f s, %.1f s of it the communication test", e.AskedAt.Sub(e.AlertAt).Seconds(), test)
	}
	fmt.Fprintln(out)
	for _, stage := range e.View.Record.Stages {
		fmt.Fprintf(out, "  %-18s %6.2f s\n", stage.Name, stage.EndedAt.Sub(stage.StartedAt).Seconds())
	}
}

func verdict(ctx context.Context, out io.Writer, lab *rig.Rig, e *rig.Ending, flags demoFlags) error {
	wrong := lab.Check(ctx, e)
	for _, line := range wrong {
		fmt.Fprintln(out, "NOT AS IT MUST BE:", line)
	}
	fmt.Fprintf(out, "\nThe report is %s, the evidence %s, the history %s.\n",
		filepath.Join(flags.out, "report.html"), filepath.Join(flags.out, "bundle"), filepath.Join(flags.out, "history.json"))
	if len(wrong) > 0 {
		return &unmetError{e.Scenario.Name}
	}
	fmt.Fprintf(out, "%s ended as it must: %s\n", e.Scenario.Name, e.View.Record.Outcome)
	return nil
}

func speaker(out io.Writer, began time.Time) func(string) {
	return func(text string) { fmt.Fprintf(out, "%6.1f s  %s\n", time.Since(began).Seconds(), text) }
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// labLog writes what the lab's parts say into a file.
func labLog(out string) hclog.Logger {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return hclog.NewNullLogger()
	}
	file, err := os.Create(filepath.Join(out, "lab.log"))
	if err != nil {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: "lab", Level: hclog.Debug, Output: file})
}
