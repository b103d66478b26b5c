package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gpumedic/incident"
	"gpumedic/lab/rig"
	"gpumedic/lab/scenarios"
	"gpumedic/workflows"
)

func upCommand() *cobra.Command {
	var bin, dir, scenario string
	cmd := &cobra.Command{
		Use: "up", Short: "leaves the lab running until Ctrl-C",
		Example: "  gpumedic-lab up --dir out/lab\n  gpumedic-lab up --scenario nccl-policy    # and wait for your click",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), cmd.OutOrStdout(), absolute(bin), absolute(dir), scenario)
		},
	}
	cmd.Flags().StringVar(&bin, "bin", "bin", "folder of the built programs")
	cmd.Flags().StringVar(&dir, "dir", "out/lab", "folder for what the lab writes")
	cmd.Flags().StringVar(&scenario, "scenario", "", "play this incident as well, and leave the answer to whoever clicks")
	return cmd
}

func up(ctx context.Context, out io.Writer, bin, dir, scenario string) error {
	say := speaker(out, time.Now())
	lab, err := rig.Start(ctx, rig.Options{Dir: dir, Bin: bin, Progress: say, Log: labLog(dir)})
	if err != nil {
		return err
	}
	defer lab.Stop()
	fmt.Fprintf(out, `
The lab runs. GPU nodes, containers, NCCL and Slack's cloud are simulated.

  kubeconfig      %s
  Slack stand-in  %s
  Temporal        %s
  console         %s
  alerts          POST %s/alerts, bearer token %s
  configuration   %s

Ctrl-C stops everything.
`, lab.Cluster.Kubeconfig, lab.Slack.URL(), lab.Temporal.UIURL(), lab.Door, lab.Door, lab.Token, filepath.Clean(lab.ConfigFile))
	if scenario != "" {
		if err := playIn(ctx, lab, say, scenario); err != nil && ctx.Err() == nil {
			return err
		}
	}
	<-ctx.Done()
	say("stopping")
	return nil
}

// playIn plays a scenario in a running lab; people answer.
func playIn(ctx context.Context, lab *rig.Rig, say func(string), name string) error {
	scene, err := scenarios.Find(name)
	if err != nil {
		return err
	}
	ending, err := lab.Play(ctx, scene, rig.Listener{
		Event: func(e incident.Event) { say(fmt.Sprintf("%-8s %s", e.Kind, e.Text)) },
		Ask: func(context.Context, workflows.View) error {
			say("waiting for a click on " + lab.Slack.URL())
			return nil
		},
	})
	if err == nil {
		say("ended: " + ending.View.Record.Outcome)
	}
	return err
}
