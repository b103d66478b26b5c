package workflows

import (
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// datasetSlow is the story of a job that waits for its data. Many things slow a
// loader down, and what helps depends on where the time goes: so the storage is
// measured first, and the remedies are tried in the order in which the findings
// speak for them.
func (s *story) datasetSlow(ctx workflow.Context) {
	s.check(ctx)
	s.probeStorage(ctx)
	s.diagnose(ctx)
	if s.handsOver(ctx) {
		return
	}
	if s.cause().RootCause == inputCause {
		s.whereTheTimeGoes(ctx)
	}
	s.remedy(ctx)
}

// helps says what to try first by where the time goes. What was measured comes
// before what is only likely, what is cheap before what costs.
var helps = []struct{ found, remedy string }{
	{incident.StorageSlow, steps.FasterStorage},
	{incident.SmallFilesSlow, steps.CacheDataset},
	{incident.LoaderWorkersFew, steps.TurnKnobs},
	{incident.CacheCold, steps.CacheDataset},
	{incident.VolumeClassSlow, steps.FasterStorage},
	{incident.CacheMissing, steps.CacheDataset},
	{incident.KnobsDeclared, steps.TurnKnobs},
	{incident.StorageSlow, steps.CacheDataset},
	{incident.SmallFilesSlow, steps.FasterStorage},
}

// whereTheTimeGoes puts the runbook's remedies for a slow input into that order, and
// leaves out those that nothing speaks for.
func (s *story) whereTheTimeGoes(ctx workflow.Context) {
	at := slices.IndexFunc(s.book.Causes, func(c runbooks.Cause) bool { return c.RootCause == inputCause })
	if at < 0 {
		return
	}
	var order []runbooks.Remedy
	var reasons []string
	for _, help := range helps {
		known := slices.IndexFunc(s.book.Causes[at].Remedies, func(r runbooks.Remedy) bool { return r.Name == help.remedy })
		if known < 0 || !s.found(help.found) {
			continue
		}
		if remedy := s.book.Causes[at].Remedies[known]; !slices.Contains(order, remedy) {
			order = append(order, remedy)
			reasons = append(reasons, help.remedy+", because of "+strings.ReplaceAll(help.found, "-", " "))
		}
	}
	if len(order) == 0 {
		reasons = []string{"nothing that was found speaks for any remedy"}
	}
	s.decide(ctx, "order of remedies", incident.Allow, reasons...)
	s.book.Causes = slices.Clone(s.book.Causes) // the incident's input keeps the runbook as it is
	s.book.Causes[at].Remedies = order
}
