package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gpumedic/config"
	"gpumedic/incident"
)

// byHand is what a person says about the target of a new incident.
type byHand struct {
	namespace, kind, name, alert string
	labels                       map[string]string
}

func startCommand(app *app) *cobra.Command {
	var hand byHand
	var wait bool
	cmd := &cobra.Command{
		Use:   "start --name NAME",
		Short: "opens an incident by hand, or joins the open one",
		Long: "start tells gpumedic about a target as an alert would. With --wait it follows the incident\n" +
			"to its end, asks for approval on a terminal, prints the report, and exits with 0 when the\n" +
			"incident was resolved or nothing was wrong, with 1 otherwise.",
		Example: "  gpumedic start --namespace training --name llama-70b --wait\n  gpumedic start --kind Node --name gpu-07 --alert NodeUnhealthy --label severity=critical",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			desk, err := app.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer desk.close()
			id, err := open(cmd, desk, hand)
			if err != nil {
				return err
			}
			if !wait {
				fmt.Fprintln(cmd.OutOrStdout(), id)
				return nil
			}
			return follow(cmd, desk, id)
		},
	}
	cmd.Flags().StringVar(&hand.namespace, "namespace", "", "namespace of the target; none for a node")
	cmd.Flags().StringVar(&hand.kind, "kind", "Job", "Kubernetes kind of the target")
	cmd.Flags().StringVar(&hand.name, "name", "", "name of the target (required)")
	cmd.Flags().StringVar(&hand.alert, "alert", "DistributedTrainingFailure", "name of the alert; it chooses the runbook")
	cmd.Flags().StringToStringVar(&hand.labels, "label", nil, "further label of the alert, key=value (may be repeated)")
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the incident to its end")
	_ = cmd.MarkFlagRequired("name") // fails only for flags that do not exist
	return cmd
}

// open delivers the alert of a person.
func open(cmd *cobra.Command, desk *desk, hand byHand) (string, error) {
	target, alert, err := hand.deliverable(desk.cfg, time.Now())
	if err != nil {
		return "", &exit{wrongUse, err}
	}
	id, err := desk.Deliver(cmd.Context(), target, []incident.Alert{alert})
	if err != nil {
		return "", &exit{notPossible, err}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "told %s; gpumedic show %s tells how it goes\n", target, id)
	return id, nil
}

// deliverable makes the target and the alert. The alert has the labels that
// the same target would have in a real one, since runbooks match on them.
func (h byHand) deliverable(cfg config.Config, now time.Time) (incident.Target, incident.Alert, error) {
	target := incident.Target{Cluster: cfg.Incident.Cluster, Namespace: h.namespace, Kind: h.kind, Name: h.name}
	switch {
	case h.name == "" || h.kind == "" || h.alert == "":
		return target, incident.Alert{}, errors.New("opening an incident: --name, --kind and --alert must not be empty")
	case h.kind == "Node" && h.namespace != "":
		return target, incident.Alert{}, errors.New("opening an incident: a node has no namespace")
	case h.kind != "Node" && h.namespace == "":
		return target, incident.Alert{}, fmt.Errorf("opening an incident: --namespace is needed for a %s", h.kind)
	}
	labels := map[string]string{"alertname": h.alert, "cluster": target.Cluster}
	if h.namespace != "" {
		labels["namespace"] = h.namespace
	}
	for _, kind := range cfg.Targets.Kinds {
		if kind.Kind == h.kind {
			labels[kind.Label] = h.name
			break
		}
	}
	maps.Copy(labels, h.labels)
	return target, incident.Alert{
		Name: h.alert, Status: incident.AlertFiring, Labels: labels, StartsAt: now.UTC(), ReceivedAt: now.UTC(),
		Annotations: map[string]string{"summary": "opened by hand"}, Fingerprint: fingerprint(labels),
	}, nil
}

// fingerprint is a hash of the labels with the shape of Alertmanager's, 16 hex
// digits; the same labels give the same one.
func fingerprint(labels map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%s\x00%s\x00", key, labels[key])
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}
