package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"gpumedic/lab/rig"
)

func upCommand() *cobra.Command {
	var bin, dir string
	cmd := &cobra.Command{
		Use: "up", Short: "leaves the lab running until Ctrl-C",
		Example: "  gpumedic-lab up --dir out/lab",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), cmd.OutOrStdout(), absolute(bin), absolute(dir))
		},
	}
	cmd.Flags().StringVar(&bin, "bin", "bin", "folder of the built programs")
	cmd.Flags().StringVar(&dir, "dir", "out/lab", "folder for what the lab writes")
	return cmd
}

func up(ctx context.Context, out io.Writer, bin, dir string) error {
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
	<-ctx.Done()
	say("stopping")
	return nil
}
