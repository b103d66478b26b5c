package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

const (
	// waitsFrom is the share of a step from which on waiting for input slows a job
	// down; loaders that keep up cost a few percent.
	waitsFrom = 0.3
	// waitsLines is how many steps must be told for an answer.
	waitsLines = 3
	// waitsLogs is how many logs of those that wait longest are named.
	waitsLogs = 3
)

// inputWaits answers from lines that say of a step how long it took and how long
// of that it waited for data, over all ranks. Few programs print such lines: where there
// are none, the question was not put. The evidence is the logs of the ranks that
// wait longest, the longest first.
func (t transcript) inputWaits(collector *diagnosis.Collector, logs []rankLogEntry) []incident.Finding {
	share, lines := collector.InputShare("")
	if lines < waitsLines {
		return nil
	}
	finding := t.finding(incident.InputWaits, incident.No)
	if share >= waitsFrom {
		finding.State = incident.Yes
	}
	finding.Value = fmt.Sprintf("%.0f %%", 100*share)
	finding.Why = fmt.Sprintf("of the time of %d steps that the ranks told, %s went into waiting for input", lines, finding.Value)
	finding.Evidence = longestWaits(collector, logs)
	return []incident.Finding{finding}
}

func longestWaits(collector *diagnosis.Collector, logs []rankLogEntry) []string {
	type wait struct {
		log   string
		share float64
	}
	var waits []wait
	for _, log := range logs {
		if share, lines := collector.InputShare(log.Name); lines > 0 {
			waits = append(waits, wait{log.Name, share})
		}
	}
	slices.SortStableFunc(waits, func(a, b wait) int { return cmp.Compare(b.share, a.share) })
	var names []string
	for _, one := range waits[:min(len(waits), waitsLogs)] {
		names = append(names, one.log)
	}
	return names
}
