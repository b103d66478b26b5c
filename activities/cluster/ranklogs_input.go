package cluster

import (
	"fmt"
	"strings"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/incident/redact"
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

// workerDeaths are the signatures of loader workers that something killed. A bus
// error is not among them, which shm-small answers, nor the end of one that was told
// to end.
var workerDeaths = []string{"loader-killed", "loader-segfault"}

// workersDie names the ranks whose loader workers died, by what their logs say now
// or said before the last restart.
func (t transcript) workersDie() incident.Finding {
	finding := t.finding(incident.LoaderWorkersDie, incident.No)
	var ranks []string
	unread := max(0, t.wanted-len(t.ranks))
	for _, number := range t.order() {
		rank := t.ranks[number]
		said := rank.now
		if said.workerDied == "" {
			said = rank.before
		}
		switch {
		case said.workerDied != "":
			ranks = append(ranks, fmt.Sprintf("rank %d", number))
			if finding.Why == "" {
				finding.Evidence = []string{said.workerPlace}
				finding.Why = redact.String(strings.TrimSpace(said.workerDied))
			}
		case !rank.now.read && !rank.before.read:
			unread++
		}
	}
	finding.Value = fmt.Sprintf("%d of %d ranks", len(ranks), t.wanted)
	switch {
	case len(ranks) > 0:
		finding.State, finding.Why = incident.Yes, fmt.Sprintf("loader workers of %s were killed: %s", incident.Some(ranks), finding.Why)
	case unread > 0:
		finding.State, finding.Why = incident.Unknown, fmt.Sprintf("the logs of %d of %d ranks could not be kept", unread, t.wanted)
	default:
		finding.Why = fmt.Sprintf("no log of the %d ranks tells of a loader worker that was killed", t.wanted)
	}
	return finding
}
