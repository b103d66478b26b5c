package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// maxIndex bounds the evidence index that is read back, in bytes.
	maxIndex = 64 << 20
	// scansAtOnce bounds how many logs are classified side by side.
	scansAtOnce = 4
	// A rank makes progress when its last training step is not older than a few
	// times the longest pause between two of its steps: steps of large models
	// take minutes. The two bounds hold where that says nothing.
	pausesOfGrace = 5
	leastPatience = 2 * time.Minute
	mostPatience  = 30 * time.Minute
	// lonePatience is for a rank that has logged a single step.
	lonePatience = 10 * time.Minute
)

// transportFabric is the signature of vendors' networks through libfabric.
const transportFabric = "nccl-transport-fabric"

// CheckRankLogs answers D6 from the logs that were collected: known lines over
// all ranks, the transport that NCCL really used, progress, and silence. It
// reads evidence only, and each log once.
func (h *Hands) CheckRankLogs(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	questions := []string{incident.TransportUsed, incident.TrainingProgress, incident.RanksSilent, incident.LoaderWorkersDie}
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	if params.Index.SHA256 == "" {
		return unanswered(ctx, steps.CheckRankLogs, workload.Target, fmt.Errorf("no logs of %s were collected", workload.Target), questions...)
	}
	var entries []incident.IndexEntry
	if err := incident.ReadJSON(ctx, h.Store, params.Index, maxIndex, &entries); err != nil {
		return steps.CheckResult{}, err
	}
	logs := rankLogEntries(workload, entries)
	if len(logs) == 0 {
		return unanswered(ctx, steps.CheckRankLogs, workload.Target, fmt.Errorf("no log of any rank of %s could be kept", workload.Target), questions...)
	}
	collector := diagnosis.NewCollector()
	heard, err := h.scanLogs(ctx, logs, collector)
	if err != nil {
		return steps.CheckResult{}, err
	}
	minutes := transcript{target: workload.Target, wanted: wantedLogs(workload, heard), ranks: heard, at: h.Now(), logs: logs}
	return steps.CheckResult{
		Findings:     append(minutes.inputWaits(collector), minutes.transport(), minutes.progress(), minutes.silent(), minutes.workersDie()),
		Observations: collector.Observations(),
	}, nil
}

// rankLogEntry is one log with the number under which its rank is counted.
type rankLogEntry struct {
	incident.IndexEntry
	rank int
}

// rankLogEntries picks the logs of the ranks' main containers. Where no rank
// has an index, they are counted in the order of their pods' names, so that a
// thousand of them are not taken for one.
func rankLogEntries(workload incident.Workload, entries []incident.IndexEntry) []rankLogEntry {
	container, order := map[string]string{}, map[string]int{}
	indexed := false
	for i, rank := range slices.Concat(workload.Ranks, workload.Earlier) {
		container[rank.Pod], order[rank.Pod] = rank.Container, i
		indexed = indexed || rank.Index != unknownIndex
	}
	var logs []rankLogEntry
	for _, entry := range entries {
		main, known := container[entry.Pod]
		if entry.Kind != "log" || known && entry.Container != main {
			continue
		}
		number := entry.Rank
		if at, known := order[entry.Pod]; !indexed && known {
			number = at
		}
		if number != unknownIndex {
			logs = append(logs, rankLogEntry{IndexEntry: entry, rank: number})
		}
	}
	return logs
}

func wantedLogs(workload incident.Workload, heard map[int]*heardRank) int {
	return max(workload.WantedRanks, len(workload.Ranks), len(heard))
}

// transcript is what all ranks said.
type transcript struct {
	target incident.Target
	// wanted is how many ranks ought to speak.
	wanted int
	ranks  map[int]*heardRank
	at     time.Time
	// logs are those that were read.
	logs []rankLogEntry
}

func (t transcript) finding(id string, state incident.State) incident.Finding {
	return incident.Finding{ID: id, Check: steps.CheckRankLogs, State: state, Subject: subjectOf(t.target)}
}

func (t transcript) order() []int { return slices.Sorted(maps.Keys(t.ranks)) }

// transport joins what the ranks say of their network. A rank's present log
// counts before the one of its last attempt.
func (t transcript) transport() incident.Finding {
	finding := t.finding(incident.TransportUsed, incident.Unknown)
	count, told := map[string]int{}, 0
	var places []string
	for _, number := range t.order() {
		names := t.ranks[number].now.transports
		if len(names) == 0 {
			names = t.ranks[number].before.transports
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if count[name]++; count[name] == 1 {
				places = append(places, names[name])
			}
		}
		if len(names) > 0 {
			told++
		}
	}
	names := slices.Sorted(maps.Keys(count))
	switch len(names) {
	case 0:
		finding.Why = "no rank logged which network NCCL uses: it does so with NCCL_DEBUG=INFO, when communication is set up"
		return finding
	case 1:
		finding.Value = names[0]
		finding.Why = fmt.Sprintf("%d of %d ranks logged that NCCL uses %s between nodes", told, t.wanted, transportWords(names[0]))
	default:
		finding.Value = "mixed"
		var words []string
		for _, name := range names {
			words = append(words, fmt.Sprintf("%s on %d ranks", transportWords(name), count[name]))
		}
		finding.Why = "NCCL uses " + strings.Join(words, " and ")
	}
	finding.State, finding.Evidence = incident.Yes, places
	return finding
}

func transportWords(name string) string {
	switch name {
	case "IB":
		return "InfiniBand or RoCE"
	case "Socket":
		return "TCP sockets"
	}
	return name
}

// progress: the ranks log steps in their present run, and not too long ago.
// Many programs let one rank log for all; ranks step together, so that ranks
// which never log steps are no sign against those that do.
func (t transcript) progress() incident.Finding {
	finding := t.finding(incident.TrainingProgress, incident.Yes)
	var without, mute, stalled []string
	spoke := 0
	for _, number := range t.order() {
		rank, name := t.ranks[number], fmt.Sprintf("rank %d", number)
		if !rank.now.read {
			continue
		}
		spoke++
		switch since := rank.now.stalled(t.at); {
		case rank.now.steps == 0 && rank.before.steps > 0:
			without = append(without, name)
		case rank.now.steps == 0:
			mute = append(mute, name)
		case since != "":
			stalled = append(stalled, name+", "+since)
		case len(finding.Evidence) == 0:
			finding.Evidence = []string{rank.now.stepPlace}
		}
	}
	stepping := spoke - len(without) - len(mute) - len(stalled)
	finding.Value = fmt.Sprintf("%d of %d", stepping, t.wanted)
	switch {
	case stepping == 0 && len(stalled) == 0:
		finding.State, finding.Why = incident.No, "no rank logged a training step since it started"
	case len(without)+len(stalled) > 0:
		finding.State, finding.Why = incident.No, standstill(without, stalled)
	case spoke < t.wanted:
		finding.State = incident.Unknown
		finding.Why = fmt.Sprintf("%d ranks log training steps; the logs of %d of %d could not be kept", stepping, t.wanted-spoke, t.wanted)
	case len(mute) > 0:
		finding.Why = fmt.Sprintf("%d of %d ranks log training steps; the others never do", stepping, t.wanted)
	default:
		finding.Why = fmt.Sprintf("all %d ranks log training steps", t.wanted)
	}
	return finding
}

func standstill(without, stalled []string) string {
	var parts []string
	if len(without) > 0 {
		parts = append(parts, fmt.Sprintf("%d ranks logged no training step since they started: %s", len(without), incident.Some(without)))
	}
	if len(stalled) > 0 {
		parts = append(parts, fmt.Sprintf("%d ranks stand still: %s", len(stalled), incident.Some(stalled)))
	}
	return strings.Join(parts, "; ")
}

// silent: ranks that run and have logged nothing while others speak. A rank
// whose log could not be read is no silent one.
func (t transcript) silent() incident.Finding {
	finding := t.finding(incident.RanksSilent, incident.No)
	var silent, words []string
	unread := max(0, t.wanted-len(t.ranks))
	for _, number := range t.order() {
		rank := t.ranks[number]
		switch {
		case !rank.now.read && !rank.before.read:
			unread++
		case rank.now.lines+rank.before.lines == 0:
			silent = append(silent, fmt.Sprint(number))
			words = append(words, fmt.Sprintf("rank %d", number))
		}
	}
	finding.Value = fmt.Sprintf("%d of %d", len(silent), t.wanted)
	switch {
	case len(silent) > 0 && len(silent) == len(t.ranks):
		finding.State, finding.Why = incident.Unknown, "no rank logged anything: their logs may go elsewhere"
	case len(silent) > 0:
		finding.State, finding.Subject = incident.Yes, "rank/"+strings.Join(silent, ",")
		finding.Why = fmt.Sprintf("%d of %d ranks logged nothing while the others speak: %s", len(silent), t.wanted, incident.Some(words))
	case unread > 0:
		finding.State, finding.Why = incident.Unknown, fmt.Sprintf("the logs of %d of %d ranks could not be kept", unread, t.wanted)
	default:
		finding.Why = fmt.Sprintf("all %d ranks logged something", t.wanted)
	}
	return finding
}
