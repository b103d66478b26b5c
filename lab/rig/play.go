package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/lab/scenarios"
	"gpumedic/lab/slack"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// Ending is how a played incident ended.
type Ending struct {
	Scenario scenarios.Scenario
	Incident string
	Result   workflows.Result
	View     workflows.View
	// Before and After are the cluster's objects, fields that the server counts
	// apart.
	Before, After map[string]string
	// AlertAt is when the front door had accepted the alert, AskedAt when the
	// message with the buttons was in the channel.
	AlertAt, AskedAt, EndedAt time.Time
	// Kills is how often the worker was killed.
	Kills int
}

// Listener is told what happens while a scenario is played.
type Listener struct {
	// Event is called for every new line of the timeline.
	Event func(incident.Event)
	// Ask answers a plan, and is asked again while one more must agree; nil
	// answers as the scenario says, by clicks in Slack.
	Ask func(ctx context.Context, view workflows.View) error
	// Silent does not wait for the message with the buttons, for when Slack
	// is away.
	Silent bool
}

// Play puts a scenario into the cluster, waits for its symptom, sends its
// alert, answers, and returns when the incident has ended.
func (r *Rig) Play(ctx context.Context, s scenarios.Scenario, hear Listener) (*Ending, error) {
	r.opts.Progress("setting the scene: " + s.Title)
	if err := r.setScene(ctx, s); err != nil {
		return nil, err
	}
	e := &Ending{Scenario: s}
	var err error
	if e.Before, err = r.objects(ctx); err != nil {
		return nil, err
	}
	if s.Crash {
		go r.crash(ctx, e)
	}
	r.opts.Progress("the alert fires")
	if e.Incident, err = r.Alert(ctx, s.Alert, incident.AlertFiring, time.Now()); err != nil {
		return nil, err
	}
	e.AlertAt = time.Now()
	if err := r.follow(ctx, e, hear); err != nil {
		return e, err
	}
	e.EndedAt = time.Now()
	e.After, err = r.objects(ctx)
	return e, err
}

// setScene applies the manifests and waits until the symptom shows.
func (r *Rig) setScene(ctx context.Context, s scenarios.Scenario) error {
	if err := r.Model.SetScript(s.Faults); err != nil {
		return err
	}
	r.measure(s)
	if err := r.Cluster.Apply(ctx, s.Manifests); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		pods, err := r.Admin.CoreV1().Pods(scenarios.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("waiting for the symptom: %w", err)
		}
		if s.Settled(pods.Items, r.Model.Steps(scenarios.Namespace, scenarios.Job)) {
			return nil
		}
		if !pause(ctx, pollEvery) {
			return fmt.Errorf("waiting for the symptom of %s: %w; pods: %s", s.Name, ctx.Err(), phases(pods.Items))
		}
	}
}

func phases(pods []corev1.Pod) string {
	var words []string
	for _, pod := range pods {
		words = append(words, pod.Name+" "+string(pod.Status.Phase))
	}
	return strings.Join(words, ", ")
}

// Alert sends one alert as Alertmanager would and returns the incident's id.
func (r *Rig) Alert(ctx context.Context, labels map[string]string, status incident.AlertStatus, startsAt time.Time) (string, error) {
	alert := map[string]any{
		"status": status, "labels": labels, "annotations": map[string]string{"summary": "sent by the lab"},
		"startsAt": startsAt.UTC(), "endsAt": time.Time{}, "fingerprint": fingerprint(labels), "generatorURL": "http://prometheus.lab/graph",
	}
	if status == incident.AlertResolved {
		alert["endsAt"] = time.Now().UTC()
	}
	body, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": `{}:{alertname="` + labels["alertname"] + `"}`, "status": status, "receiver": "gpumedic",
		"groupLabels": map[string]string{"alertname": labels["alertname"]}, "commonLabels": labels, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager.lab", "alerts": []any{alert},
	})
	if err != nil {
		return "", fmt.Errorf("writing the alert: %w", err)
	}
	return r.post(ctx, body)
}

func (r *Rig) post(ctx context.Context, body []byte) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Door+"/alerts", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("sending the alert: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+r.Token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("sending the alert: %w", err)
	}
	defer answer.Body.Close()
	var accepted struct{ Incidents []string }
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("sending the alert: the front door answered %s", answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&accepted); err != nil || len(accepted.Incidents) != 1 {
		return "", fmt.Errorf("sending the alert: the front door named %d incidents (%w)", len(accepted.Incidents), err)
	}
	return accepted.Incidents[0], nil
}

// fingerprint has the shape of Alertmanager's: 16 hex digits of the labels.
func fingerprint(labels map[string]string) string {
	sum := fnv.New64a()
	fmt.Fprint(sum, labels) // fmt sorts the keys of maps
	return fmt.Sprintf("%016x", sum.Sum64())
}

// follow watches the incident to its end, tells what happens and answers.
func (r *Rig) follow(ctx context.Context, e *Ending, hear Listener) error {
	told, answered := 0, ""
	for {
		view, err := r.view(ctx, e.Incident)
		if err == nil {
			e.View = view
			for ; told < len(view.Record.Story); told++ {
				if hear.Event != nil {
					hear.Event(view.Record.Story[told])
				}
			}
			if view.State == "closed" {
				return r.Client.GetWorkflow(ctx, e.Incident, "").Get(ctx, &e.Result)
			}
			if question := question(view); question != "" && question != answered {
				answered = question
				if err := r.answer(ctx, e, view, hear); err != nil {
					return err
				}
			}
		}
		if !pause(ctx, pollEvery) {
			return fmt.Errorf("following %s, which is %s: %w", e.Incident, e.View.State, errors.Join(ctx.Err(), err))
		}
	}
}

// question names what waits for an answer: a plan, and how many have answered
// it; "" when nothing does. One that enough agreed to only has yet to go on.
func question(view workflows.View) string {
	if view.Asking == nil || votes(view) >= quorum(view.Asking.Risk) {
		return ""
	}
	return fmt.Sprintf("%s/%d", view.Asking.Hash, votes(view))
}

// votes counts the answers to the plan that waits.
func votes(view workflows.View) int {
	count := 0
	for _, vote := range view.Record.Approvals {
		if vote.PlanHash == view.Asking.Hash {
			count++
		}
	}
	return count
}

func (r *Rig) view(ctx context.Context, id string) (workflows.View, error) {
	var view workflows.View
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // without a worker, a query waits
	defer cancel()
	value, err := r.Client.QueryWorkflow(ctx, id, "", workflows.ViewQuery)
	if err != nil {
		return view, fmt.Errorf("looking at %s: %w", id, err)
	}
	return view, value.Get(&view)
}

// answer waits for the message with the buttons and answers it.
func (r *Rig) answer(ctx context.Context, e *Ending, view workflows.View, hear Listener) error {
	if hear.Silent {
		return hear.Ask(ctx, view)
	}
	message, err := r.buttons(ctx)
	if err != nil {
		return err
	}
	if e.AskedAt.IsZero() {
		e.AskedAt = time.Now()
	}
	if hear.Ask != nil {
		return hear.Ask(ctx, view)
	}
	action := steps.ButtonApprove
	if e.Scenario.Answer == scenarios.Deny {
		action = steps.ButtonDeny
	}
	who := Approver
	if votes(view) > 0 {
		who = Second
	}
	return r.Slack.Click(ctx, who, message.TS, action)
}

func (r *Rig) buttons(ctx context.Context) (slack.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return r.Slack.WaitForButtons(ctx)
}

// crash kills the worker when the change has been applied and nobody knows
// yet, then starts it again.
func (r *Rig) crash(ctx context.Context, e *Ending) {
	held := r.Gate.Hold(func(request *http.Request) bool {
		changes := request.Method == http.MethodPatch || request.Method == http.MethodPost
		return changes && strings.Contains(request.URL.Path, "/networkpolicies") && request.URL.Query().Get("dryRun") == ""
	})
	select {
	case <-held:
	case <-ctx.Done():
		return
	}
	r.opts.Progress("killing the worker: the change is applied, but nobody knows yet")
	if err := r.KillWorker(); err != nil {
		r.opts.Log.Error("the crash did not happen", "error", err)
		return
	}
	e.Kills++
	if err := r.StartWorker(); err != nil {
		r.opts.Log.Error("the worker did not start again", "error", err)
	}
}

// pollEvery is how often the lab looks at what it follows.
const pollEvery = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
