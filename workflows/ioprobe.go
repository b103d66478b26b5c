package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// probeStorage reads from the volumes of the rank that waits longest, from its
// node, where the ranks wait for their input. What cannot be measured is unknown,
// and the story goes on.
func (s *story) probeStorage(ctx workflow.Context) {
	if !s.waitsForData() || !knows(ctx, probeBeforeCause) {
		return
	}
	if !s.in.Settings.IOProbe.Enabled {
		s.note(ctx, "test", "no probe of storage: it is switched off in the configuration")
		return
	}
	s.state = "testing"
	s.speaker.card(ctx, s.card("Reading from the ranks' storage, to see how fast it is."))
	defer func() { s.state = "investigating" }()
	defer s.stage(ctx, "io probe")()
	result, err := s.probe(ctx)
	switch {
	case cancelled(err):
		return
	case err != nil:
		s.trouble(ctx, "probing the storage", err)
		result.Findings = s.unmeasured(err)
	default:
		s.note(ctx, "test", "probe of storage: %s", result.Why)
	}
	for _, finding := range result.Findings {
		s.note(ctx, "finding", "%s: %s %s", finding.ID, finding.State, finding.Value)
	}
	s.record.Findings = append(s.record.Findings, result.Findings...)
	s.keep(result.Evidence)
}

// waitsForData: steps wait for input, or the nodes for storage.
func (s *story) waitsForData() bool {
	return s.found(incident.InputWaits) || s.found(incident.IOWaitHigh)
}

// probe runs it. The clean-up is registered before the Job exists and runs on a
// context that no cancellation reaches.
func (s *story) probe(ctx workflow.Context) (steps.RunIOProbeResult, error) {
	name := s.probeName()
	defer s.cleanProbe(ctx, name)
	return call[steps.RunIOProbeResult](ctx, steps.RunIOProbe, steps.RunIOProbeParams{
		Incident: s.record.IncidentID, Name: name, Namespace: s.record.Target.Namespace, Workload: s.workload,
		Index: s.index, Logs: s.longestWaits(), Settings: s.in.Settings.IOProbe,
	})
}

func (s *story) cleanProbe(ctx workflow.Context, name string) {
	last, done := workflow.NewDisconnectedContext(ctx)
	defer done()
	params := steps.CleanIOProbeParams{Incident: s.record.IncidentID, Namespace: s.record.Target.Namespace, Name: name}
	if _, err := call[steps.CleanIOProbeResult](last, steps.CleanIOProbe, params); err != nil {
		workflow.GetLogger(last).Error("the probe was not removed; the cluster removes it after its time to live", "job", name, "error", plain(err))
	}
}

// longestWaits are the logs that the check of logs named.
func (s *story) longestWaits() []string {
	for _, f := range s.record.Findings {
		if f.ID == incident.InputWaits && f.State == incident.Yes {
			return f.Evidence
		}
	}
	return nil
}

// unmeasured answers the probe's questions where it could not be carried out.
func (s *story) unmeasured(err error) []incident.Finding {
	var findings []incident.Finding
	for _, id := range []string{incident.StorageSlow, incident.SmallFilesSlow} {
		finding := couldNotAsk(steps.RunIOProbe, s.record.Target, err)
		finding.ID = id
		findings = append(findings, finding)
	}
	return findings
}

// probeName is short and the same over restarts.
func (s *story) probeName() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s@%d", s.record.IncidentID, s.record.OpenedAt.Unix()))
	return "gpumedic-io-" + hex.EncodeToString(sum[:4])
}
