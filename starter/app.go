package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"gpumedic/config"
	"gpumedic/incident"
)

// app is what commands share: the configuration and the way to Temporal.
type app struct{ configFile string }

// load reads the configuration; every problem is told at once.
func (a *app) load() (config.Config, error) {
	cfg, err := config.Load(a.configFile)
	if err != nil {
		return cfg, &exit{wrongUse, err}
	}
	return cfg, nil
}

// desk connects to Temporal, or says that it cannot.
func (a *app) desk(ctx context.Context) (*desk, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	temporal, err := dial(cfg, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := temporal.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
		temporal.Close()
		return nil, &exit{notPossible, fmt.Errorf("connecting to Temporal (is it running, and is temporal.address right?): %w", err)}
	}
	return newDesk(cfg, temporal)
}

// dial makes a client that connects when it is first used, so that the front
// door can open while Temporal is away.
func dial(cfg config.Config, logger hclog.Logger) (client.Client, error) {
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{ConfigFileProfile: cfg.Temporal.Profile})
	if err != nil {
		return nil, &exit{wrongUse, fmt.Errorf("reading Temporal's environment configuration: %w", err)}
	}
	if cfg.Temporal.Address != "" {
		options.HostPort = cfg.Temporal.Address
	}
	options.Namespace = cfg.Temporal.Namespace
	options.Logger = temporalLog{logger}
	temporal, err := client.NewLazyClient(options)
	if err != nil {
		return nil, &exit{wrongUse, fmt.Errorf("reading Temporal's settings: %w", err)}
	}
	return temporal, nil
}

// temporalLog makes an hclog logger one that Temporal's SDK can extend.
type temporalLog struct{ hclog.Logger }

func (l temporalLog) Debug(msg string, pairs ...any) { l.Logger.Debug(msg, pairs...) }
func (l temporalLog) Info(msg string, pairs ...any)  { l.Logger.Info(msg, pairs...) }
func (l temporalLog) Warn(msg string, pairs ...any)  { l.Logger.Warn(msg, pairs...) }
func (l temporalLog) Error(msg string, pairs ...any) { l.Logger.Error(msg, pairs...) }

// With returns a logger that adds these pairs to every line.
func (l temporalLog) With(pairs ...any) log.Logger { return temporalLog{l.Logger.With(pairs...)} }

// approver is who sits at this machine: the login must be an approver's.
func approver(cfg config.Config) (incident.Approver, error) {
	login := os.Getenv("USER")
	if current, err := user.Current(); err == nil {
		login = current.Username
	}
	at := slices.IndexFunc(cfg.Incident.Approval.Approvers, func(a incident.Approver) bool { return a.Login != "" && a.Login == login })
	if at < 0 {
		return incident.Approver{}, &exit{notPossible, fmt.Errorf("voting as %q: this login is no approver; incident.approval.approvers lists who is", login)}
	}
	return cfg.Incident.Approval.Approvers[at], nil
}
