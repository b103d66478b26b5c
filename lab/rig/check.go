package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
	"gpumedic/lab/scenarios"
)

// Check compares an ending with what the scenario promises. Each returned
// line is one thing that is not as it must be.
func (r *Rig) Check(ctx context.Context, e *Ending) []string {
	var wrong []string
	want, record := e.Scenario.Expect, e.View.Record
	differs := func(what string, got, want any) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s is %v, must be %v", what, got, want))
		}
	}
	differs("outcome", record.Outcome, want.Outcome)
	differs("failure case", record.FailureCase, want.FailureCase)
	differs("root cause", record.RootCause, want.RootCause)
	differs("blamed kind", record.Blamed.Kind, want.BlamedKind)
	if want.Blamed != "" && !slices.ContainsFunc(record.Blamed.Names, func(n string) bool { return strings.Contains(n, want.Blamed) }) {
		wrong = append(wrong, fmt.Sprintf("blamed is %v, must name %s", record.Blamed.Names, want.Blamed))
	}
	differs("number of changes", len(record.Changes), want.Changes)
	wrong = append(wrong, checkChanges(record, want)...)
	wrong = append(wrong, checkRecord(record, want.Trouble)...)
	wrong = append(wrong, checkCluster(e)...)
	wrong = append(wrong, r.checkIsolated(ctx, e)...)
	wrong = append(wrong, r.checkEnv(ctx, want.Env)...)
	wrong = append(wrong, checkFindings(record, want)...)
	wrong = append(wrong, r.checkProbes(ctx)...)
	wrong = append(wrong, r.checkProduct(ctx, want.Product)...)
	if want.Training {
		wrong = append(wrong, r.checkTraining(ctx, e.Scenario.Ranks)...)
	}
	if e.Scenario.Crash {
		differs("number of kills", e.Kills, 1)
	}
	return wrong
}

func checkChanges(record incident.Record, want scenarios.Expect) []string {
	var wrong []string
	for i, change := range record.Changes {
		last := i == len(record.Changes)-1
		if last && change.Undone != want.Undone {
			wrong = append(wrong, fmt.Sprintf("the last change is undone: %t, must be %t", change.Undone, want.Undone))
		}
		if change.Undone && (change.UndoComplete == nil || !*change.UndoComplete) {
			wrong = append(wrong, "the undo of "+change.Remedy+" is not complete")
		}
		if !change.Undone && !change.Verified {
			wrong = append(wrong, change.Remedy+" stands although it is not verified")
		}
	}
	return wrong
}

// checkRecord asks what every report must have.
func checkRecord(record incident.Record, expected string) []string {
	var wrong []string
	need := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, "the report has no "+what)
		}
	}
	need(len(record.Alerts) > 0, "alerts")
	need(len(record.Findings) > 0, "findings")
	need(len(record.Decisions) > 0, "decisions")
	need(len(record.Evidence) > 0, "evidence")
	need(len(record.Simulated) > 0, "word that it was simulated")
	need(record.Summary != "", "summary")
	need(record.Runbook.SHA256 != "", "runbook")
	for _, trouble := range record.Errors {
		if expected != "" && strings.Contains(trouble, expected) {
			continue
		}
		wrong = append(wrong, "trouble on the way: "+trouble)
	}
	return wrong
}

// checkCluster compares the objects before and after. What a test created is
// gone in every ending.
func checkCluster(e *Ending) []string {
	var wrong []string
	for name, after := range e.After {
		before, was := e.Before[name]
		switch {
		case strings.Contains(name, "gpumedic-ct-"), strings.Contains(name, "gpumedic-io-"):
			wrong = append(wrong, name+" was left behind")
		case e.Scenario.Expect.ClusterUnchanged && !was:
			wrong = append(wrong, name+" was added")
		case e.Scenario.Expect.ClusterUnchanged && before != after:
			wrong = append(wrong, name+" was changed:\n"+before+"\nbecame\n"+after)
		}
	}
	for name := range e.Before {
		if _, is := e.After[name]; !is {
			wrong = append(wrong, name+" is gone")
		}
	}
	slices.Sort(wrong)
	return wrong
}

// checkTraining wants all ranks to make steps.
func (r *Rig) checkTraining(ctx context.Context, ranks int) []string {
	for try := 0; ; try++ {
		training := 0
		for _, steps := range r.Model.Steps(scenarios.Namespace, scenarios.Job) {
			if steps > 0 {
				training++
			}
		}
		if training == ranks {
			return nil
		}
		if try > 50 || !pause(ctx, pollEvery) {
			return []string{fmt.Sprintf("%d of %d ranks train", training, ranks)}
		}
	}
}
