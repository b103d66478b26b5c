// Command gpumedic-lab plays incidents on one machine: a real control plane
// with simulated GPU nodes, a real Temporal, a stand-in for Slack.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "gpumedic-lab", Short: "plays incidents on one machine; GPUs, NCCL and Slack's cloud are simulated",
		Example:      "  gpumedic-lab demo --scenario nccl-policy --approve auto\n  gpumedic-lab up",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(demoCommand(), upCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "gpumedic-lab:", err)
	var unmet *unmetError
	if errors.As(err, &unmet) {
		os.Exit(1)
	}
	os.Exit(3)
}

// unmetError says that an incident did not end as its scenario must.
type unmetError struct{ scenario string }

func (e *unmetError) Error() string {
	return fmt.Sprintf("scenario %s did not end as it must; what differs is above", e.scenario)
}
