package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"

	"gpumedic/config"
	"gpumedic/workflows"
)

// stopTimeout is how long running steps get to finish when the worker stops.
const stopTimeout = 10 * time.Second

// run connects, registers and polls until ctx ends. What cannot be reached is
// waited for, aloud.
func run(ctx context.Context, cfg config.Config, log hclog.Logger) error {
	hands, err := newHands(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer hands.close()
	temporal, err := connect(ctx, cfg.Temporal, log)
	if err != nil {
		return err
	}
	defer temporal.Close()
	queue := workflows.TaskQueue(cfg.Incident.Cluster)
	hands.governor.Client, hands.governor.Queue = temporal, queue
	w := worker.New(temporal, queue, worker.Options{
		Interceptors:      []interceptor.WorkerInterceptor{&stepInterceptor{log: log.Named("step")}},
		WorkerStopTimeout: stopTimeout,
		// A workflow that meets a defect of ours stays open for a corrected build.
		WorkflowPanicPolicy:         worker.BlockWorkflow,
		DisableRegistrationAliasing: true,
	})
	workflows.Register(w)
	hands.register(w)
	if err := w.Start(); err != nil {
		return fmt.Errorf("polling task queue %s: %w", queue, err)
	}
	log.Info("worker is ready", "cluster", cfg.Incident.Cluster, "queue", queue, "version", config.Version)
	<-ctx.Done()
	log.Info("worker is stopping")
	w.Stop()
	return nil
}

// connect waits for Temporal for as long as ctx lives.
func connect(ctx context.Context, cfg config.Temporal, log hclog.Logger) (client.Client, error) {
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{ConfigFileProfile: cfg.Profile})
	if err != nil {
		return nil, fmt.Errorf("reading Temporal's environment configuration: %w", err)
	}
	if cfg.Address != "" {
		options.HostPort = cfg.Address
	}
	options.Namespace = cfg.Namespace
	options.Logger = temporalLog{log.Named("temporal")}
	for told := false; ; {
		dialled, err := client.DialContext(ctx, options)
		if err == nil {
			return dialled, nil
		}
		if !told {
			log.Warn("Temporal cannot be reached; waiting for it", "address", options.HostPort, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connecting to Temporal at %s: %w", options.HostPort, err)
		case <-time.After(time.Second):
		}
	}
}
