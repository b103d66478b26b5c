// Command gpumedic-worker carries out the steps of incidents for one cluster:
// it polls the cluster's task queue, runs the workflows and has the hands.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"gpumedic/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gpumedic-worker:", err)
		os.Exit(exitCode(err))
	}
}

func command() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:           "gpumedic-worker",
		Short:         "carries out the steps of incidents for one cluster",
		Example:       "  gpumedic-worker --config /etc/gpumedic/config.yaml",
		Args:          cobra.NoArgs,
		Version:       config.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return &usageError{err}
			}
			return run(cmd.Context(), cfg, newLogger(cfg.Log))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file; without one, the defaults")
	return cmd
}

// usageError marks a mistake of the caller: exit code 2.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	if _, ok := err.(*usageError); ok { //nolint:errorlint // made right above, never wrapped
		return 2
	}
	return 3
}

func newLogger(cfg config.Log) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "gpumedic-worker", Level: hclog.LevelFromString(cfg.Level), JSONFormat: cfg.JSON, Output: os.Stderr,
	})
}
