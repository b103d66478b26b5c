package main

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"gpumedic/incident"
	"gpumedic/workflows"
)

func approveCommand(app *app) *cobra.Command {
	var hash string
	cmd := &cobra.Command{
		Use:     "approve ID",
		Short:   "agrees to exactly one plan",
		Long:    "approve agrees to the plan with this hash, as the login you are. gpumedic show prints\nthe plan that waits, its diff and its hash.",
		Example: "  gpumedic approve incident/prod/training/job/llama-70b --plan 3f9a1c0d5e7b2a64",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return castVote(cmd, app, args[0], incident.Vote{PlanHash: hash, Verdict: incident.Approve})
		},
	}
	cmd.Flags().StringVar(&hash, "plan", "", "hash of the plan you looked at (required)")
	_ = cmd.MarkFlagRequired("plan") // fails only for flags that do not exist
	return cmd
}

func denyCommand(app *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "deny ID",
		Short:   "refuses the plan that waits; nothing is changed",
		Example: `  gpumedic deny incident/prod/training/job/llama-70b --reason "maintenance at six"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return castVote(cmd, app, args[0], incident.Vote{Verdict: incident.Deny, Reason: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the report (required)")
	_ = cmd.MarkFlagRequired("reason") // fails only for flags that do not exist
	return cmd
}

// castVote votes as the login at this machine. A denial is about whatever
// plan waits; an approval names its plan.
func castVote(cmd *cobra.Command, app *app, id string, vote incident.Vote) error {
	desk, err := app.desk(cmd.Context())
	if err != nil {
		return err
	}
	defer desk.close()
	me, err := approver(desk.cfg)
	if err != nil {
		return err
	}
	vote.By, vote.Via = me.Name, "cli"
	if vote.PlanHash == "" {
		if vote.PlanHash, err = waitingPlan(cmd, desk, id); err != nil {
			return err
		}
	}
	result, err := desk.Vote(cmd.Context(), id, "cli-"+uuid.NewString(), vote)
	if err != nil {
		return answered(err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s by %s counts", vote.Verdict, vote.By)
	if !result.Decided {
		fmt.Fprintf(cmd.OutOrStdout(), "; %d of %d approvals are there", result.Approvals, result.Needed)
	}
	fmt.Fprintln(cmd.OutOrStdout())
	return nil
}

func waitingPlan(cmd *cobra.Command, desk *desk, id string) (string, error) {
	view, err := desk.View(cmd.Context(), id)
	if err != nil {
		return "", &exit{notPossible, err}
	}
	if view.Asking == nil {
		return "", &exit{badNews, fmt.Errorf("denying a plan of %s: none waits for an approval", id)}
	}
	return view.Asking.Hash, nil
}

// answered maps an error of an update: the incident's own no is bad news that
// was asked for, everything else could not be done.
func answered(err error) error {
	var no *rejected
	if errors.As(err, &no) {
		return &exit{badNews, no.err}
	}
	return &exit{notPossible, err}
}

func cancelCommand(app *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "cancel ID",
		Short:   "stops an incident; a change that is not verified yet is undone",
		Example: `  gpumedic cancel incident/prod/training/job/llama-70b --reason "we take over"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			desk, err := app.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer desk.close()
			me, err := approver(desk.cfg)
			if err != nil {
				return err
			}
			if err := desk.Cancel(cmd.Context(), args[0], workflows.CancelInput{By: me.Name, Reason: reason}); err != nil {
				return answered(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "cancelled; gpumedic show", args[0], "tells when it has ended")
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the report")
	return cmd
}
