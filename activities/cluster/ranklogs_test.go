package cluster

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
	"gpumedic/steps"
)

// script is a log, written line by line with the time that it takes place.
type script struct {
	text strings.Builder
	at   time.Time
}

func logged(from time.Duration) *script { return &script{at: midday.Add(-from)} }

func (s *script) say(format string, args ...any) *script {
	fmt.Fprintf(&s.text, "%s %s\n", s.at.Format(time.RFC3339Nano), fmt.Sprintf(format, args...))
	return s
}

func (s *script) wait(d time.Duration) *script {
	s.at = s.at.Add(d)
	return s
}

func (s *script) over(network string) *script {
	return s.say("trainer-0:7:9 [0] NCCL INFO Using network %s", network)
}

// train logs steps, a pause before each.
func (s *script) train(steps int, pause time.Duration) *script {
	for i := range steps {
		s.wait(pause).say("step %d/100000 loss 2.1034 step_time 0.412s tokens/s 98304", i)
	}
	return s
}

func (s *script) String() string { return s.text.String() }

// checkedLogs stores logs by name ("rank-000", "rank-000.previous") with an
// index and carries out the check for a job of that many ranks.
func (w *world) checkedLogs(t testing.TB, logs map[string]*script) steps.CheckResult {
	t.Helper()
	found, workload := w.resolved(t, jobTarget)
	var entries []incident.IndexEntry
	for name, content := range logs {
		var rank int
		fmt.Sscanf(name, "rank-%03d", &rank)
		ref, err := w.store.Put(t.Context(), "logs/"+name+".log", strings.NewReader(content.String()))
		if err != nil {
			t.Fatal(err)
		}
		entry := incident.IndexEntry{EvidenceRef: ref, Kind: "log", Rank: rank, Container: "trainer", Previous: strings.Contains(name, ".previous")}
		if rank < len(workload.Ranks) {
			entry.Pod = workload.Ranks[rank].Pod
		}
		entries = append(entries, entry)
	}
	slices.SortFunc(entries, func(a, b incident.IndexEntry) int { return strings.Compare(a.Name, b.Name) })
	index, err := w.putJSON(t.Context(), "index.json", entries)
	if err != nil {
		t.Fatal(err)
	}
	params := paramsOf(found)
	params.Index = index
	result, err := w.CheckRankLogs(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestTransport(t *testing.T) {
	for name, test := range map[string]struct {
		logs     map[string]*script
		state    incident.State
		value    string
		why      string
		evidence string
	}{
		"all over InfiniBand": {map[string]*script{"rank-000": logged(time.Hour).say("hello").over("IB"), "rank-001": logged(time.Hour).over("IB")},
			incident.Yes, "IB", "2 of 2 ranks", "logs/rank-000.log#L2"},
		"all over sockets": {map[string]*script{"rank-000": logged(time.Hour).over("Socket"), "rank-001": logged(time.Hour).over("Socket")}, incident.Yes, "Socket", "TCP sockets", "logs/rank-000.log#L1"},
		"channels tell too": {map[string]*script{"rank-000": logged(time.Hour).say("a:7:9 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/Socket/0"), "rank-001": logged(time.Hour)},
			incident.Yes, "Socket", "1 of 2 ranks", "logs/rank-000.log#L1"},
		"ranks differ":       {map[string]*script{"rank-000": logged(time.Hour).over("IB"), "rank-001": logged(time.Hour).over("Socket")}, incident.Yes, "mixed", "InfiniBand or RoCE on 1 ranks and TCP sockets on 1 ranks", "logs/rank-000.log#L1"},
		"a vendor's network": {map[string]*script{"rank-000": logged(time.Hour).over("AWS Libfabric"), "rank-001": logged(time.Hour)}, incident.Yes, "Libfabric", "Libfabric", "logs/rank-000.log#L1"},
		"nobody tells":       {map[string]*script{"rank-000": logged(time.Hour).say("hello"), "rank-001": logged(time.Hour).say("hello")}, incident.Unknown, "", "NCCL_DEBUG=INFO", ""},
		"the attempt before told": {map[string]*script{"rank-000": logged(time.Minute).say("starting"), "rank-000.previous": logged(time.Hour).over("Socket"), "rank-001": logged(time.Minute).say("starting")},
			incident.Yes, "Socket", "1 of 2 ranks", "logs/rank-000.previous.log#L1"},
		"now counts before then": {map[string]*script{"rank-000": logged(time.Minute).over("IB"), "rank-000.previous": logged(time.Hour).over("Socket"), "rank-001": logged(time.Minute).over("IB")},
			incident.Yes, "IB", "2 of 2 ranks", "logs/rank-000.log#L1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			got := only(t, w.checkedLogs(t, test.logs), incident.TransportUsed)
			if got.State != test.state || got.Value != test.value || strings.Join(got.Evidence[:min(1, len(got.Evidence))], "") != test.evidence {
				t.Errorf("%+v", got)
			}
			contains(t, got.Why, test.why)
		})
	}
}

func TestProgressAndSilence(t *testing.T) {
	const s, m = time.Second, time.Minute
	training := func() *script { return logged(m).train(60, s) }
	for name, test := range map[string]struct {
		logs     map[string]*script
		progress incident.State
		value    string
		why      string
		silent   incident.State
		subject  string
	}{
		"all train":            {map[string]*script{"rank-000": training(), "rank-001": training()}, incident.Yes, "2 of 2", "all 2 ranks", incident.No, "job/llama-70b"},
		"one logs for all":     {map[string]*script{"rank-000": training(), "rank-001": logged(m).say("ready")}, incident.Yes, "1 of 2", "the others never do", incident.No, "job/llama-70b"},
		"none has begun":       {map[string]*script{"rank-000": logged(m).say("ready"), "rank-001": logged(m).say("ready")}, incident.No, "0 of 2", "no rank logged", incident.No, "job/llama-70b"},
		"all stand still":      {map[string]*script{"rank-000": logged(30*m).train(60, s), "rank-001": logged(30*m).train(60, s)}, incident.No, "0 of 2", "rank 0, last step 29m ago", incident.No, "job/llama-70b"},
		"slow steps are steps": {map[string]*script{"rank-000": logged(40*m).train(9, 4*m), "rank-001": logged(40*m).train(9, 4*m)}, incident.Yes, "2 of 2", "all 2 ranks", incident.No, "job/llama-70b"},
		"it trained before its restart": {map[string]*script{"rank-000": logged(m).say("ready"), "rank-000.previous": logged(10*m).train(60, s), "rank-001": logged(m).say("ready"), "rank-001.previous": logged(10*m).train(60, s)},
			incident.No, "0 of 2", "no rank logged a training step since it started", incident.No, "job/llama-70b"},
		"one has not come back": {map[string]*script{"rank-000": training(), "rank-001": logged(m).say("ready"), "rank-001.previous": logged(10*m).train(60, s)}, incident.No, "1 of 2", "1 ranks logged no training step since they started: rank 1", incident.No, "job/llama-70b"},
		"a log is missing":      {map[string]*script{"rank-000": training()}, incident.Unknown, "1 of 2", "could not be kept", incident.Unknown, "job/llama-70b"},
		"one is silent":         {map[string]*script{"rank-000": training(), "rank-001": logged(m)}, incident.Yes, "1 of 2", "", incident.Yes, "rank/1"},
		"all are silent":        {map[string]*script{"rank-000": logged(m), "rank-001": logged(m)}, incident.No, "0 of 2", "", incident.Unknown, "job/llama-70b"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			result := w.checkedLogs(t, test.logs)
			progress, silent := only(t, result, incident.TrainingProgress), only(t, result, incident.RanksSilent)
			if progress.State != test.progress || progress.Value != test.value {
				t.Errorf("progress %+v", progress)
			}
			contains(t, progress.Why, test.why)
			if silent.State != test.silent || silent.Subject != test.subject {
				t.Errorf("silent %+v", silent)
			}
		})
	}
}

// TestObservations: what peers echo comes after what the first one said, and
// both name their place.
func TestObservations(t *testing.T) {
	w := newWorld(t, gang(3)...)
	result := w.checkedLogs(t, map[string]*script{
		"rank-000": logged(time.Minute).over("IB").wait(2 * time.Second).say("trainer-0:7:9 [0] NCCL INFO Using network IB"),
		"rank-001": logged(time.Minute - time.Second).over("IB"),
		"rank-002": logged(time.Minute + time.Second).over("IB"),
	})
	var got []string
	for _, o := range result.Observations {
		got = append(got, fmt.Sprintf("%s on %s x%d first %d at %s", o.Signature, o.Ranks, o.Count, o.FirstRank, o.Evidence))
	}
	if diff := cmp.Diff([]string{"nccl-transport-ib on 0-2 x4 first 2 at logs/rank-002.log#L1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRanksWithoutIndexAreCountedOneByOne(t *testing.T) {
	w := newWorld(t, gang(2)...)
	_, workload := w.resolved(t, jobTarget)
	for i := range workload.Ranks {
		workload.Ranks[i].Index = unknownIndex
	}
	var entries []incident.IndexEntry
	for _, rank := range workload.Ranks {
		entries = append(entries, incident.IndexEntry{Kind: "log", Rank: unknownIndex, Pod: rank.Pod, Container: "trainer"},
			incident.IndexEntry{Kind: "log", Rank: unknownIndex, Pod: rank.Pod, Container: "sidecar"}, incident.IndexEntry{Kind: "object", Rank: unknownIndex})
	}
	logs := rankLogEntries(workload, entries)
	if len(logs) != 2 || logs[0].rank != 0 || logs[1].rank != 1 {
		t.Errorf("got %+v", logs)
	}
}

func TestRankLogsWithoutEvidence(t *testing.T) {
	w := newWorld(t, gang(2)...)
	found, _ := w.resolved(t, jobTarget)
	empty, err := w.putJSON(t.Context(), "index.json", []incident.IndexEntry{})
	if err != nil {
		t.Fatal(err)
	}
	for name, index := range map[string]incident.EvidenceRef{"no index": {}, "no logs": empty} {
		params := paramsOf(found)
		params.Index = index
		result, err := w.CheckRankLogs(t.Context(), params)
		if err != nil || len(result.Findings) != 4 {
			t.Fatalf("%s: %+v, %v", name, result, err)
		}
		for _, finding := range result.Findings {
			if finding.State != incident.Unknown || finding.Why == "" {
				t.Errorf("%s: %+v", name, finding)
			}
		}
	}
	params := paramsOf(found)
	params.Index = incident.EvidenceRef{Name: "index.json", SHA256: "of nothing"}
	if _, err := w.CheckRankLogs(t.Context(), params); incident.KindOf(err) != incident.Missing {
		t.Errorf("an index that is lost: %v", err)
	}
}

func TestLineCounter(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 1, "a\n": 1, "a\nb": 2, "\n\n": 2} {
		counter := &lineCounter{in: strings.NewReader(text)}
		if _, err := io.Copy(io.Discard, counter); err != nil || counter.count != want {
			t.Errorf("%q: %d, %v, want %d", text, counter.count, err, want)
		}
	}
}

// TestFromLogsToFindings goes the whole way: from the log API over the store to
// the answers.
func TestFromLogsToFindings(t *testing.T) {
	w := newWorld(t, ranksThat(nil, died(time.Hour, 10*time.Minute, 1, "Error"))...)
	w.serveLogs(t, map[string]func(io.Writer) error{
		"llama-70b-0-aaaaa/trainer":          saying(strings.TrimSpace(logged(time.Minute).over("Socket").train(60, time.Second).String())),
		"llama-70b-1-aaaaa/trainer":          saying(strings.TrimSpace(logged(time.Minute).over("Socket").train(60, time.Second).String())),
		"llama-70b-1-aaaaa/trainer/previous": saying(strings.TrimSpace(logged(time.Hour).over("IB").String())),
	})
	found, _ := w.resolved(t, jobTarget)
	kept, err := w.CollectEvidence(t.Context(), steps.CollectEvidenceParams{Workload: found.Workload, Logs: incident.LogSettings{HeadBytes: 1 << 20, TailBytes: 1 << 20, Parallel: 2}})
	if err != nil {
		t.Fatal(err)
	}
	params := paramsOf(found)
	params.Index = kept.Index
	result, err := w.CheckRankLogs(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if got := only(t, result, incident.TransportUsed); got.Value != "Socket" {
		t.Errorf("%+v", got)
	}
	if got := only(t, result, incident.TrainingProgress); got.State != incident.Yes || got.Value != "2 of 2" {
		t.Errorf("%+v", got)
	}
}

func TestLoaderWorkersThatDie(t *testing.T) {
	killed := "RuntimeError: DataLoader worker (pid 20417) is killed by signal: Killed."
	for name, test := range map[string]struct {
		logs     map[string]*script
		state    incident.State
		value    string
		why      string
		evidence []string
	}{
		"killed": {map[string]*script{"rank-000": logged(time.Hour).train(3, time.Second), "rank-001": logged(time.Hour).say("%s", killed)},
			incident.Yes, "1 of 2 ranks", "rank 1 were killed: " + killed, []string{"logs/rank-001.log#L1"}},
		"before the restart": {map[string]*script{"rank-000": logged(time.Hour), "rank-000.previous": logged(time.Hour).say("x").say("%s", killed), "rank-001": logged(time.Hour)},
			incident.Yes, "1 of 2 ranks", "rank 0", []string{"logs/rank-000.previous.log#L2"}},
		"a bus error is another question's": {map[string]*script{"rank-000": logged(time.Hour).say("RuntimeError: DataLoader worker (pid 318) is killed by signal: Bus error."), "rank-001": logged(time.Hour)},
			incident.No, "0 of 2 ranks", "no log of the 2 ranks", nil},
		"a log is missing": {map[string]*script{"rank-000": logged(time.Hour)}, incident.Unknown, "0 of 2 ranks", "1 of 2 ranks could not be kept", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			for _, finding := range w.checkedLogs(t, test.logs).Findings {
				if finding.ID != incident.LoaderWorkersDie {
					continue
				}
				if finding.State != test.state || finding.Value != test.value || !slices.Equal(finding.Evidence, test.evidence) {
					t.Errorf("got %+v", finding)
				}
				contains(t, finding.Why, test.why)
				return
			}
			t.Error("not asked")
		})
	}
}
