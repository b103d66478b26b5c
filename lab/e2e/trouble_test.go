package e2e_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/lab/rig"
	"gpumedic/lab/scenarios"
	"gpumedic/lab/slack"
	"gpumedic/steps"
	"gpumedic/workflows"
)

// ours are the policies that gpumedic made.
func ours(t *testing.T, h *house) []networkingv1.NetworkPolicy {
	t.Helper()
	list, err := h.Admin.NetworkingV1().NetworkPolicies(scenarios.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: steps.OwnerLabel})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// TestPromise5AppliedAtMostOnce kills the worker when the API server has
// carried out the change and the worker does not know.
func TestPromise5AppliedAtMostOnce(t *testing.T) {
	h := open(t)
	ending := h.play(scene(t, "crash"), rig.Listener{})
	h.mustEndAsTold(ending)
	policies := ours(t, h)
	if len(policies) != 1 || policies[0].Generation != 1 {
		t.Fatalf("policies after the crash: %+v", policies)
	}
	if policies[0].Annotations[steps.OperationAnnotation] != ending.View.Record.Changes[0].OperationID {
		t.Errorf("operation %q in the object, %q in the record", policies[0].Annotations[steps.OperationAnnotation], ending.View.Record.Changes[0].OperationID)
	}
}

// TestPromise5UndoneAtMostOnce kills the worker when the API server has
// carried out the undo and the worker does not know.
func TestPromise5UndoneAtMostOnce(t *testing.T) {
	h := open(t)
	held := h.Gate.Hold(func(r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/networkpolicies/")
	})
	var killer sync.WaitGroup
	killer.Go(func() {
		select {
		case <-held:
		case <-time.After(time.Minute):
			t.Error("nothing was undone")
			return
		}
		if err := h.KillWorker(); err != nil {
			t.Error(err)
		}
		if err := h.StartWorker(); err != nil {
			t.Error(err)
		}
	})
	ending := h.play(scene(t, "nccl-policy-useless"), rig.Listener{})
	killer.Wait()
	h.mustEndAsTold(ending)
}

// TestAPIServerAwayInTheMiddle shuts the API server while people are asked;
// the change waits for it.
func TestAPIServerAwayInTheMiddle(t *testing.T) {
	h := open(t)
	var back sync.WaitGroup
	ending := h.play(scene(t, "nccl-policy"), rig.Listener{Ask: func(ctx context.Context, view workflows.View) error {
		h.Gate.Shut(true)
		back.Go(func() { time.Sleep(4 * time.Second); h.Gate.Shut(false) })
		return h.approve(ctx)
	}})
	back.Wait()
	h.mustEndAsTold(ending)
}

// TestAPIServerAwayAtTheStart lets the alert come while nobody can ask.
func TestAPIServerAwayAtTheStart(t *testing.T) {
	h := open(t)
	s := scene(t, "false-alarm")
	var back sync.WaitGroup
	h.Gate.Shut(true)
	back.Go(func() { time.Sleep(8 * time.Second); h.Gate.Shut(false) })
	ending := h.play(s, rig.Listener{})
	back.Wait()
	h.mustEndAsTold(ending)
}

// TestTemporalAwayInTheMiddle stops Temporal while people are asked: alerts
// are answered with 503 until it is back, and the incident goes on where it was.
func TestTemporalAwayInTheMiddle(t *testing.T) {
	h := open(t)
	s := scene(t, "nccl-policy")
	ending := h.play(s, rig.Listener{Ask: func(ctx context.Context, view workflows.View) error {
		err := h.TemporalAway(ctx, func() {
			if _, err := h.Alert(ctx, s.Alert, incident.AlertFiring, view.Record.Alerts[0].StartsAt); err == nil || !strings.Contains(err.Error(), "503") {
				t.Errorf("an alert while Temporal is away: %v, want 503", err)
			}
		})
		if err != nil {
			return err
		}
		eventually(t, "the front door takes alerts again", 30*time.Second, func() bool {
			_, err := h.Alert(ctx, s.Alert, incident.AlertFiring, view.Record.Alerts[0].StartsAt)
			return err == nil
		})
		return h.approve(ctx)
	}})
	h.mustEndAsTold(ending)
}

// approve clicks as the on-call engineer.
func (h *house) approve(ctx context.Context) error {
	message, err := h.Slack.WaitForButtons(ctx)
	if err != nil {
		return err
	}
	return h.Slack.Click(ctx, rig.Approver, message.TS, steps.ButtonApprove)
}

// TestSlackAway lets Slack fail when the incident begins: the incident waits
// for nobody, the command line decides, and Slack is told when it is back.
func TestSlackAway(t *testing.T) {
	h := open(t)
	if err := h.Slack.SetOutage(slack.Failing); err != nil {
		t.Fatal(err)
	}
	s := scene(t, "nccl-policy")
	done := make(chan struct{})
	go func() { // the lab's own listener waits for a message that cannot come
		defer close(done)
		h.decideByCommand(t)
		if err := h.Slack.SetOutage(slack.Well); err != nil {
			t.Error(err)
		}
	}()
	ending := h.play(s, rig.Listener{Ask: func(context.Context, workflows.View) error { return nil }, Silent: true})
	<-done
	h.mustEndAsTold(ending, "telling people in Slack")
	eventually(t, "Slack shows the outcome", 30*time.Second, func() bool {
		for _, message := range h.Slack.Messages() {
			if strings.Contains(strings.ToLower(message.AllText()), "resolved") {
				return true
			}
		}
		return false
	})
}

// decideByCommand approves with gpumedic approve as soon as a plan waits.
func (h *house) decideByCommand(t *testing.T) {
	id := incident.Target{Cluster: rig.ClusterName, Namespace: scenarios.Namespace, Kind: "Job", Name: scenarios.Job}.ID()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		value, err := h.Client.QueryWorkflow(t.Context(), id, "", workflows.ViewQuery)
		if err != nil {
			continue
		}
		var view workflows.View
		if err := value.Get(&view); err != nil || view.Asking == nil {
			continue
		}
		if text, code := h.command("approve", id, "--plan", view.Asking.Hash); code != 0 {
			t.Errorf("approve ended with %d: %s", code, text)
		}
		return
	}
	t.Error("no plan ever waited")
}

// TestPromise4AStrangersClickDoesNotCount clicks as somebody who may not.
func TestPromise4AStrangersClickDoesNotCount(t *testing.T) {
	h := open(t)
	h.play(scene(t, "nccl-policy-denied"), rig.Listener{Ask: func(ctx context.Context, _ workflows.View) error {
		message, err := h.Slack.WaitForButtons(ctx)
		if err != nil {
			return err
		}
		if err := h.Slack.Click(ctx, "U0GUEST", message.TS, steps.ButtonApprove); err != nil {
			return err
		}
		if _, err := h.Slack.Wait(ctx, func(m slack.Message) bool {
			return m.EphemeralTo == "U0GUEST" && strings.Contains(m.AllText(), "does not count")
		}); err != nil {
			return err
		}
		if policies := ours(t, h); len(policies) != 0 {
			t.Errorf("the stranger's click changed something: %+v", policies)
		}
		return h.Slack.Click(ctx, rig.Approver, message.TS, steps.ButtonDeny)
	}})
}

// TestPromise2ManyDeliveriesOneIncident sends one alert twenty times at once,
// and one about a pod of the same job.
func TestPromise2ManyDeliveriesOneIncident(t *testing.T) {
	h := open(t)
	s := scene(t, "nccl-policy-denied")
	ending := h.play(s, rig.Listener{Ask: func(ctx context.Context, view workflows.View) error {
		var senders sync.WaitGroup
		started := view.Record.Alerts[0].StartsAt
		for range 20 {
			senders.Go(func() {
				if _, err := h.Alert(ctx, s.Alert, incident.AlertFiring, started); err != nil {
					t.Error(err)
				}
			})
		}
		senders.Wait()
		pods, err := h.Admin.CoreV1().Pods(scenarios.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if _, err := h.Alert(ctx, map[string]string{"alertname": "NCCLErrors", "namespace": scenarios.Namespace, "pod": pods.Items[0].Name}, incident.AlertFiring, time.Now()); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // for the pod's incident to find its owner
		message, err := h.Slack.WaitForButtons(ctx)
		if err != nil {
			return err
		}
		return h.Slack.Click(ctx, rig.Approver, message.TS, steps.ButtonDeny)
	}})
	h.mustEndAsTold(ending)
	if n := len(ending.View.Record.Alerts); n != 2 {
		t.Errorf("%d alerts in the record, want the job's and the pod's: %+v", n, ending.View.Record.Alerts)
	}
}
