package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/slack-go/slack"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/report/bundle"
	"gpumedic/starter/clicks"
	"gpumedic/starter/frontdoor"
	"gpumedic/workflows"
)

func serveCommand(app *app) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "opens the front door: alerts in, Slack in, console",
		Long: "serve listens for Alertmanager's webhook (POST /alerts), for clicks in Slack, and shows\n" +
			"the console under /. It listens on loopback unless front_door.listen says otherwise,\n" +
			"and beyond loopback only with a token.",
		Example: "  gpumedic serve --config /etc/gpumedic/config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := app.load()
			if err != nil {
				return err
			}
			log := hclog.New(&hclog.LoggerOptions{
				Name: "gpumedic", Level: hclog.LevelFromString(cfg.Log.Level), JSONFormat: cfg.Log.JSON, Output: os.Stderr,
			})
			return serve(cmd.Context(), cfg, log)
		},
	}
}

// serve runs the door and, where Slack is configured, the ear for clicks.
func serve(ctx context.Context, cfg config.Config, log hclog.Logger) error {
	temporal, err := dial(cfg, log.Named("temporal"))
	if err != nil {
		return err
	}
	desk, err := newDesk(cfg, temporal)
	if err != nil {
		return err
	}
	defer desk.close()
	door, err := frontdoor.New(cfg, desk, log)
	if err != nil {
		return &exit{wrongUse, err}
	}
	store, err := bundle.Open(ctx, cfg.Evidence.URL)
	if err != nil {
		log.Warn("reports cannot be shown in the console", "error", err)
	} else {
		defer store.Close()
		door.Report = func(ctx context.Context, view workflows.View) ([]byte, error) {
			return store.Read(ctx, view.Report.HTML)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	if err := listenToSlack(ctx, group, cfg, desk, door, log); err != nil {
		return err
	}
	group.Go(func() error { return door.Run(ctx) })
	if err := group.Wait(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return &exit{notPossible, err}
	}
	return nil
}

// listenToSlack starts receiving clicks, where Slack is configured.
func listenToSlack(ctx context.Context, group *errgroup.Group, cfg config.Config, desk *desk, door *frontdoor.Door, log hclog.Logger) error {
	if !cfg.Slack.BotToken.Set() {
		log.Info("Slack is not configured; approvals come by command line only")
		return nil
	}
	receiver, err := newReceiver(cfg, desk, log.Named("slack"))
	if err != nil {
		return &exit{wrongUse, err}
	}
	if cfg.Slack.Mode == "http" {
		door.Clicks = receiver
	} else {
		door.SlackReady = func() error {
			if receiver.Connections() == 0 {
				return errors.New("no connection to Slack")
			}
			return nil
		}
	}
	group.Go(func() error { return receiver.Run(ctx) })
	return nil
}

func newReceiver(cfg config.Config, desk *desk, log hclog.Logger) (*clicks.Receiver, error) {
	var secrets [3]string
	for i, secret := range []config.Secret{cfg.Slack.BotToken, cfg.Slack.AppToken, cfg.Slack.SigningSecret} {
		value, err := secret.Read()
		if err != nil {
			return nil, fmt.Errorf("listening to Slack: %w", err)
		}
		secrets[i] = value
	}
	options := []slack.Option{slack.OptionAppLevelToken(secrets[1])}
	if cfg.Slack.APIURL != "" {
		options = append(options, slack.OptionAPIURL(cfg.Slack.APIURL))
	}
	return clicks.New(clicks.Options{
		Client: slack.New(secrets[0], options...), Sink: &clickSink{desk: desk, approvers: cfg.Incident.Approval.Approvers},
		Log: log, Socket: cfg.Slack.Mode == "socket", SigningSecret: secrets[2],
	})
}

// clickSink makes votes of clicks.
type clickSink struct {
	desk      *desk
	approvers []incident.Approver
}

// Vote casts the vote of the Slack user id that clicked; a name proves nothing.
func (c *clickSink) Vote(ctx context.Context, click clicks.Click) (string, error) {
	at := slices.IndexFunc(c.approvers, func(a incident.Approver) bool { return a.Slack == click.UserID })
	if at < 0 {
		return "Your vote does not count: you are not an approver of this cluster.", nil
	}
	vote := incident.Vote{By: c.approvers[at].Name, Via: "slack", PlanHash: click.PlanHash, Verdict: string(click.Action)}
	result, err := c.desk.Vote(ctx, click.Incident, click.ID, vote)
	var no *rejected
	switch {
	case errors.As(err, &no):
		return "Your vote does not count: " + no.Error(), nil
	case err != nil:
		return "", err
	case click.Action == clicks.Deny:
		return "Denied. Nothing will be changed.", nil
	case result.Decided:
		return "Approved. The change begins now.", nil
	default:
		return fmt.Sprintf("Your approval counts; %d of %d are there.", result.Approvals, result.Needed), nil
	}
}

// Evidence tells the person who asks what the incident found.
func (c *clickSink) Evidence(ctx context.Context, click clicks.Click) (string, error) {
	view, err := c.desk.View(ctx, click.Incident)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, finding := range view.Record.Findings {
		fmt.Fprintf(&b, "%-7s %s (%s) %s\n", finding.State, finding.ID, finding.Subject, finding.Why)
	}
	for _, seen := range view.Record.Observed {
		fmt.Fprintf(&b, "log     ranks %s, %s: %s\n", seen.Ranks, seen.Evidence, seen.Line)
	}
	return b.String(), nil
}
