package workflows_test

import (
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows"
)

type testEnv = *testsuite.TestWorkflowEnvironment

func resolvedAlert() incident.Alert {
	alert := alertNow()
	alert.Status, alert.EndsAt = incident.AlertResolved, start
	return alert
}

func signal(env testEnv, after time.Duration, alerts ...incident.Alert) {
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(workflows.AlertSignal, workflows.AlertSignalInput{Alerts: alerts})
	}, after)
}

func TestDuplicatesJoinOneIncident(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	for i := range 20 {
		signal(env, time.Duration(i)*time.Second, alertNow())
	}
	answer(t, env, time.Minute, incident.Deny, "ada")
	finish(t, env, input(t, alertNow()))
	if len(w.reported.Alerts) != 1 {
		t.Errorf("%d alerts in the record, want 1", len(w.reported.Alerts))
	}
}

func TestAlertsThatDoNotAct(t *testing.T) {
	stale := alertNow()
	stale.StartsAt = start.Add(-7 * time.Hour)
	tests := map[string]struct {
		first   incident.Alert
		later   []incident.Alert
		outcome string
	}{
		"stale":                                {stale, nil, incident.Refused},
		"resolved only":                        {resolvedAlert(), nil, incident.SelfResolved},
		"firing overtaken by its own resolved": {resolvedAlert(), []incident.Alert{alertNow()}, incident.SelfResolved},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			env := w.environment(t)
			if test.later != nil {
				signal(env, time.Second, test.later...)
			}
			result := finish(t, env, input(t, test.first))
			if result.Outcome != test.outcome || w.did(steps.CollectEvidence) {
				t.Errorf("outcome %q, want %q; steps %v", result.Outcome, test.outcome, w.log)
			}
			if !w.did(steps.WriteReport) {
				t.Error("nothing was recorded")
			}
		})
	}
}

func TestResolvedWhileAsking(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	signal(env, 5*time.Minute, resolvedAlert())
	result := finish(t, env, input(t, alertNow()))
	if result.Outcome != incident.SelfResolved || w.did(steps.ApplyChange) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
}

func TestTargetGone(t *testing.T) {
	w := newWorld()
	w.resolve = func(steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
		return steps.ResolveTargetResult{Found: false}, nil
	}
	env := w.environment(t)
	if result := finish(t, env, input(t, alertNow())); result.Outcome != incident.SelfResolved || w.did(steps.CollectEvidence) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
}

func TestNoRunbook(t *testing.T) {
	w := newWorld()
	alert := alertNow()
	alert.Labels = map[string]string{"alertname": "DiskFull"}
	env := w.environment(t)
	if result := finish(t, env, input(t, alert)); result.Outcome != incident.Escalated || !w.did(steps.CollectEvidence) {
		t.Errorf("outcome %q, steps %v", result.Outcome, w.log)
	}
}

// TestPromise1 lets an alert arrive while the report is written: the incident
// goes on with it instead of closing.
func TestPromise1AnAlertIsNeverLost(t *testing.T) {
	w := newWorld()
	env := w.environment(t)
	again := alertNow()
	again.StartsAt = start.Add(time.Hour)
	again.ReceivedAt = start.Add(24 * time.Hour)
	w.report = func(steps.WriteReportParams) (steps.WriteReportResult, error) {
		env.SignalWorkflow(workflows.AlertSignal, workflows.AlertSignalInput{Alerts: []incident.Alert{again}})
		return steps.WriteReportResult{}, nil
	}
	answer(t, env, time.Minute, incident.Deny, "ada")
	env.ExecuteWorkflow(workflows.Incident, input(t, alertNow()))
	if err := env.GetWorkflowError(); !isContinueAsNew(err) {
		t.Errorf("the incident closed over an alert: %v", err)
	}
}
