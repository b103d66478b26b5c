package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

// standard is the story of a failure case that needs no order of its own: ask
// everything, find the cause, try the remedies.
func (s *story) standard(ctx workflow.Context) {
	s.check(ctx)
	s.diagnose(ctx)
	if s.handsOver(ctx) {
		return
	}
	s.remedy(ctx)
}

// check runs the runbook's checks, but for those that were run before.
func (s *story) check(ctx workflow.Context) {
	defer s.stage(ctx, "check")()
	names := s.unasked()
	s.asked = append(s.asked, names...)
	s.ask(ctx, names, func(_ string, result steps.CheckResult) {
		s.record.Findings = append(s.record.Findings, result.Findings...)
		s.record.Observed = append(s.record.Observed, result.Observations...)
	})
}

// checkAgain asks the checks of the cluster once more and lets their new
// answers stand for the old ones. What they say of logs rests on the evidence
// that was kept and is not asked again. A check that cannot be asked now has
// its old answer.
func (s *story) checkAgain(ctx workflow.Context) {
	defer s.stage(ctx, "check again")()
	s.note(ctx, "note", "asking the cluster again, because nothing that crosses nodes works: no node is at fault")
	again := slices.DeleteFunc(slices.Clone(s.book.Checks), func(name string) bool { return name == steps.CheckRankLogs })
	s.ask(ctx, again, func(name string, result steps.CheckResult) {
		if len(result.Findings) == 0 || result.Findings[0].ID == name {
			return
		}
		asked := map[string]bool{name: true}
		for _, finding := range result.Findings {
			asked[finding.ID] = true
		}
		s.record.Findings = slices.DeleteFunc(s.record.Findings, func(f incident.Finding) bool { return asked[f.ID] })
		s.record.Findings = append(s.record.Findings, result.Findings...)
	})
}

// ask runs checks side by side and hands their answers over in order. A check
// that could not be carried out is an unknown finding, not the end.
func (s *story) ask(ctx workflow.Context, names []string, take func(name string, result steps.CheckResult)) {
	params := steps.CheckParams{Incident: s.record.IncidentID, Workload: s.workload, Fabric: s.in.Settings.Fabric, Index: s.index}
	running := make([]workflow.Future, len(names))
	for i, name := range names {
		running[i] = begin(ctx, name, params)
	}
	for i, name := range names {
		var result steps.CheckResult
		if err := running[i].Get(ctx, &result); err != nil {
			s.trouble(ctx, "asking "+name, err)
			result.Findings = []incident.Finding{couldNotAsk(name, s.record.Target, err)}
		}
		s.keep(result.Evidence...)
		take(name, result)
	}
}

func couldNotAsk(check string, target incident.Target, err error) incident.Finding {
	return incident.Finding{
		ID: check, Check: check, State: incident.Unknown, Subject: target.Kind + "/" + target.Name,
		Why: "could not ask: " + plain(err),
	}
}

// diagnose ranks the causes from everything known so far.
func (s *story) diagnose(ctx workflow.Context) {
	defer s.stage(ctx, "diagnose")()
	s.record.Causes = diagnosis.Diagnose(diagnosis.Input{
		FailureCase: s.book.Name, Ranks: s.record.Workload.Ranks,
		Findings: s.record.Findings, Observations: s.record.Observed, CommTest: s.record.CommTest,
	})
	if best := &s.record.Causes[0]; s.names(best.RootCause) {
		best.FailureCase = s.book.Name // what the incident is about names this cause, whatever else shows it, too
	}
	best := s.cause()
	s.record.FailureCase, s.record.RootCause = best.FailureCase, best.RootCause
	s.record.Confidence, s.record.Blamed = best.Confidence, best.Blamed
	s.note(ctx, "finding", "cause: %s (%s), confidence %.2f", orNone(best.RootCause), best.FailureCase, best.Confidence)
}

// names says whether the runbook at hand lists a root cause.
func (s *story) names(rootCause string) bool {
	_, ok := s.book.For(rootCause)
	return ok && rootCause != incident.UnknownCause
}

// cause is the best explanation so far.
func (s *story) cause() incident.Cause {
	if len(s.record.Causes) == 0 {
		return incident.Cause{FailureCase: s.book.Name, RootCause: incident.UnknownCause}
	}
	return s.record.Causes[0]
}

// nothingWrong ends the story of a false alarm.
func (s *story) nothingWrong(ctx workflow.Context) bool {
	best := s.cause()
	if best.FailureCase != incident.NoneOfThese {
		return false
	}
	s.decide(ctx, "change anything", incident.Refuse, append([]string{"nothing is wrong with the target"}, best.Reasons...)...)
	s.end(incident.NoCause, "Nothing wrong was found; nothing was changed.", "If the alert keeps firing, its rule may be wrong for this workload.")
	return true
}

// advise ends the story with a person: the cause is told, the cure is theirs.
func (s *story) advise(ctx workflow.Context, reason string) {
	best := s.cause()
	entry, _ := s.book.For(best.RootCause)
	s.decide(ctx, "change anything", incident.Refuse, reason)
	summary := fmt.Sprintf("Cause: %s (confidence %.2f). %s", orNone(best.RootCause), best.Confidence, s.untouched())
	s.end(incident.Escalated, summary, entry.Advice)
}

// untouched says what was left as it was.
func (s *story) untouched() string {
	if len(s.stops) > 0 {
		return "The ranks were stopped for a communication test and started again; nothing else was changed."
	}
	return "Nothing was changed."
}

func orNone(cause string) string {
	if cause == "" {
		return "none"
	}
	return cause
}
