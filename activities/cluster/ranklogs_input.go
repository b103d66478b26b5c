package cluster

import (
	"fmt"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

const (
	// waitsFrom is the share of a step from which on waiting for input slows a job
	// down; loaders that keep up cost a few percent.
	waitsFrom = 0.3
	// waitsLines is how many steps must be told for an answer.
	waitsLines = 3
)

// inputWaits answers from lines that say of a step how long it took and how long
// of that it waited for data, over all ranks. Few programs print such lines: where there
// are none, the question was not put.
func (t transcript) inputWaits(collector *diagnosis.Collector) []incident.Finding {
	share, lines := collector.InputShare("")
	if lines < waitsLines {
		return nil
	}
	finding := t.finding(incident.InputWaits, incident.No)
	if share >= waitsFrom {
		finding.State = incident.Yes
	}
	finding.Value = fmt.Sprintf("%.0f %%", 100*share)
	finding.Evidence = t.longestWaits(collector)
	finding.Why = fmt.Sprintf("of the time of %d steps that the ranks told, %s went into waiting for input", lines, finding.Value)
	return []incident.Finding{finding}
}
