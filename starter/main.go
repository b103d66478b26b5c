// Command gpumedic is the front door and the command line of gpumedic: alerts
// and clicks come in, incidents are started, shown, approved and replayed. It
// talks to Temporal and to the evidence store, never to a cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"gpumedic/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends what cannot be interrupted, a read from a terminal
	os.Exit(run(ctx, command()))
}

// run executes the command line and maps its error to an exit code.
func run(ctx context.Context, cmd *cobra.Command) int {
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var code *exit
	if !errors.As(err, &code) {
		code = &exit{code: wrongUse, err: err} // cobra's own errors are about flags and arguments
	}
	if code.err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "gpumedic:", code.err)
	}
	return code.code
}

// Exit codes, as promised to scripts.
const (
	badNews     = 1 // the answer is bad news that was asked for
	wrongUse    = 2
	notPossible = 3 // no connection, no such incident, ...
	interrupted = 130
)

// exit is an error with its exit code; err nil means that all was said.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func command() *cobra.Command {
	app := &app{}
	root := &cobra.Command{
		Use:           "gpumedic",
		Short:         "an incident engine for GPU workloads on Kubernetes",
		Long:          "gpumedic takes alerts about GPU workloads, keeps the evidence, finds the cause, asks\nbefore it changes anything, verifies, undoes what did not help, and reports.\n\nExit codes: 0 done, 1 the answer is bad news, 2 wrong use, 3 could not be done.",
		Example:       "  gpumedic serve --config /etc/gpumedic/config.yaml\n  gpumedic list\n  gpumedic diagnose rank0.log rank1.log",
		Version:       config.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&app.configFile, "config", os.Getenv("GPUMEDIC_CONFIG"), "configuration file (default $GPUMEDIC_CONFIG, else built-in defaults)")
	root.AddCommand(
		serveCommand(app), startCommand(app), listCommand(app), showCommand(app),
		approveCommand(app), denyCommand(app), cancelCommand(app), reportCommand(app),
		checkCommand(app), replayCommand(), diagnoseCommand(), localizeCommand(),
	)
	return root
}
