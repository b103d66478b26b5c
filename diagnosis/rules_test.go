package diagnosis

import (
	"testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

func TestDeathWeight(t *testing.T) {
	for value, forced := range map[string]bool{
		"OOMKilled, exit 137":               true,
		"Error, exit code 139":              true,
		"Evicted":                           true,
		"Error, exit 1":                     false,
		"Error, exit 134":                   false, // SIGABRT is how the watchdog ends a waiting rank
		"exit 1 at 00:01:37 on 10.0.137.13": false,
		"":                                  false,
	} {
		if got := deathWeight(incident.Finding{Value: value}) == 1; got != forced {
			t.Errorf("%q: by force %v, want %v", value, got, forced)
		}
	}
}

// TestQuestionsHaveChecks: every question that a rule asks belongs to a check of
// the vocabulary, so that "would decide" names something that can be run.
func TestQuestionsHaveChecks(t *testing.T) {
	for _, r := range rules {
		if step, ok := steps.ByName(checkOf(r.question)); !ok || step.Kind != steps.Check {
			t.Errorf("question %s belongs to %q, which is no check", r.question, checkOf(r.question))
		}
		if !IsRootCause(r.cause) {
			t.Errorf("rule on %s names %q, which is no root cause", r.question, r.cause)
		}
	}
}

func TestState(t *testing.T) {
	finding := func(id string, state incident.State) incident.Finding { return incident.Finding{ID: id, State: state} }
	cases := map[string]struct {
		findings []incident.Finding
		want     incident.State
	}{
		"nobody asked":               {nil, notAsked},
		"yes over unknown and no":    {[]incident.Finding{finding("node-not-ready", "no"), finding("node-not-ready", "unknown"), finding("node-not-ready", "yes")}, "yes"},
		"unknown over no":            {[]incident.Finding{finding("node-not-ready", "unknown"), finding("node-not-ready", "no")}, "unknown"},
		"no":                         {[]incident.Finding{finding("node-not-ready", "no")}, "no"},
		"the whole check is unknown": {[]incident.Finding{finding(steps.CheckPlacement, "unknown")}, "unknown"},
		"another check is unknown":   {[]incident.Finding{finding(steps.CheckRDMA, "unknown")}, notAsked},
	}
	for name, tc := range cases {
		if got := gather(Input{Findings: tc.findings}).state(incident.NodeNotReady); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
