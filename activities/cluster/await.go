package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

// clockSlack is how far the clocks of this machine and of the nodes may be
// apart when lines are told to be old by their stamp.
const clockSlack = 2 * time.Second

// logTick is how often the logs are asked for news; nothing tells of them.
const logTick = 500 * time.Millisecond

// faultGrace is how long a rank may take to overcome an error of its own:
// connections are tried again while ranks start.
const faultGrace = 2 * time.Second

// AwaitRanks waits until every rank runs and its log shows the wanted
// transport, the wanted step, or any, and that it waits for input no longer than
// wanted. Good is no as soon as a rank crashed, said an
// error of its own that it does not overcome or trains over another transport, and at the deadline when
// the ranks were seen to stand still; it is unknown when they could not be
// seen. An echo of a peer's trouble alone may pass while ranks start. The error is
// for a step that was cancelled or not allowed to look.
func (h *Hands) AwaitRanks(ctx context.Context, params steps.AwaitRanksParams) (steps.AwaitRanksResult, error) {
	if params.Deadline <= 0 {
		return steps.AwaitRanksResult{}, incident.Faultf(incident.Invalid, nil, "waiting for the ranks of %s: the deadline %s is not positive", params.Target, params.Deadline)
	}
	bounded, cancel := context.WithTimeout(ctx, params.Deadline)
	defer cancel()
	look := &lookout{hands: h, params: params, seen: map[string]*rankLog{}, collector: diagnosis.NewCollector()}
	err := h.whenPodsChange(bounded, params.Target.Namespace, logTick, look.ask)
	if ctx.Err() != nil {
		return steps.AwaitRanksResult{}, incident.Faultf(incident.TimedOut, context.Cause(ctx), "waiting for the ranks of %s", params.Target)
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !incident.KindOf(err).Retryable() {
		return steps.AwaitRanksResult{}, err
	}
	return look.result(ctx)
}

// lookout is what was seen of the restarted ranks so far.
type lookout struct {
	hands     *Hands
	params    steps.AwaitRanksParams
	collector *diagnosis.Collector
	// seen is what each pod's log said, by pod name.
	seen     map[string]*rankLog
	workload incident.Workload
	// good and why are the verdict, once there is one.
	good incident.State
	why  string
	// unproved says that good is unknown only because time has to pass.
	unproved bool
	// problem is what could not be asked in the last round.
	problem error
}

// ask looks once and is done when there is a verdict.
func (l *lookout) ask(ctx context.Context) (bool, error) {
	found, err := l.hands.resolve(ctx, l.params.Target, l.params.Fabric)
	l.problem = err
	if err != nil {
		return false, err
	}
	if !found.found {
		l.conclude(incident.No, "%s is gone: %s", l.params.Target, found.words())
		return true, nil
	}
	l.workload = found.workload
	if l.crashed(found.pods) {
		return true, nil
	}
	if l.problem = l.read(ctx); l.problem != nil {
		return false, l.problem
	}
	return l.judge(), nil
}

// crashed finds a rank that died since the restart: its container restarted,
// or its pod failed. Pods that ended before are leftovers.
func (l *lookout) crashed(pods []corev1.Pod) bool {
	if l.params.Regrouping {
		return false // the peers of a replaced rank end on their own, and come again
	}
	since := l.params.Since.Add(-clockSlack)
	for _, pod := range pods {
		for _, status := range pod.Status.ContainerStatuses {
			ended := status.State.Terminated
			if ended == nil {
				ended = status.LastTerminationState.Terminated
			}
			if ended == nil || ended.FinishedAt.Time.Before(since) || ended.ExitCode == 0 {
				continue
			}
			l.conclude(incident.No, "pod %s ended with exit code %d (%s) after the restart", pod.Name, ended.ExitCode, orWord(ended.Reason, "no reason given"))
			return true
		}
		if pod.Status.Phase == corev1.PodFailed && !pod.CreationTimestamp.Time.Before(since) {
			l.conclude(incident.No, "pod %s failed after the restart: %s", pod.Name, orWord(pod.Status.Reason, pod.Status.Message))
			return true
		}
	}
	return false
}

func orWord(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

func (l *lookout) conclude(good incident.State, format string, args ...any) {
	l.good, l.why = good, fmt.Sprintf(format, args...)
}

// running are the ranks whose containers run.
func (l *lookout) running() []incident.Rank {
	var ranks []incident.Rank
	for _, rank := range l.workload.Ranks {
		if rank.Phase == string(corev1.PodRunning) {
			ranks = append(ranks, rank)
		}
	}
	return ranks
}

// read brings the logs of the running ranks up to date.
func (l *lookout) read(ctx context.Context) error {
	var readers []*rankLog
	for _, rank := range l.running() {
		log := l.seen[rank.Pod]
		if log == nil {
			log = &rankLog{rank: rank, since: l.params.Since.Add(-clockSlack)}
			l.seen[rank.Pod] = log
		}
		if !log.proven(l.params.Wanted) {
			readers = append(readers, log)
		}
	}
	return l.hands.readLogs(ctx, l.params, readers, l.collector)
}

// judge is true when the logs decide.
func (l *lookout) judge() bool {
	proven := 0
	for _, rank := range l.workload.Ranks {
		log := l.seen[rank.Pod]
		if log == nil || rank.Phase != string(corev1.PodRunning) {
			continue
		}
		if log.fault != nil && log.fault.Role == diagnosis.RoleOrigin && !l.params.Regrouping && l.hands.Now().Sub(log.faultAt) >= faultGrace {
			l.conclude(incident.No, "rank %d says %s: %s", rank.Index, log.fault.Signature, log.faultLine())
			return true
		}
		if other := log.otherTransport(l.params.Wanted.Transport); other != "" && log.stepped {
			l.conclude(incident.No, "rank %d trains over %s, wanted is %s", rank.Index, other, l.params.Wanted.Transport)
			return true
		}
		if log.proven(l.params.Wanted) {
			proven++
		}
	}
	wanted := max(l.workload.WantedRanks, 1)
	if proven < wanted || proven < len(l.workload.Ranks) {
		return false
	}
	l.conclude(incident.Yes, "all %d ranks run and train%s%s", proven, overWords(l.params.Wanted.Transport), pastWords(l.params.Wanted))
	return true
}

func overWords(transport string) string {
	if transport == "" {
		return ""
	}
	return " over " + transport
}

// result is the verdict with the workload as it is now. Without a verdict the
// deadline has passed: what was seen then decides between no and unknown.
func (l *lookout) result(ctx context.Context) (steps.AwaitRanksResult, error) {
	if l.good == "" {
		l.timeUp()
	}
	result := steps.AwaitRanksResult{Good: l.good, Why: l.why, Findings: l.findings(), Observations: l.collector.Observations(), Unproved: l.unproved}
	if len(l.workload.Ranks) == 0 && l.workload.UID == "" {
		return result, nil // never seen
	}
	var err error
	result.Workload, err = l.hands.putJSON(ctx, "workload.json", l.workload)
	result.Summary = summarize(l.workload)
	return result, err
}

func (l *lookout) timeUp() {
	after := l.params.Deadline.Round(time.Second)
	if l.problem != nil {
		l.conclude(incident.Unknown, "after %s the ranks could not be seen: %v", after, l.problem)
		return
	}
	running := len(l.running())
	if wanted := max(l.workload.WantedRanks, len(l.workload.Ranks)); running < wanted || running == 0 {
		l.conclude(incident.No, "after %s only %d of %d ranks run", after, running, wanted)
		return
	}
	if log := l.faulty(); log != nil {
		l.conclude(incident.No, "after %s rank %d stands at %s: %s", after, log.rank.Index, log.fault.Signature, log.faultLine())
		return
	}
	if silent := l.lacking(func(log *rankLog) bool { return log.lines > 0 }); silent == running {
		l.conclude(incident.Unknown, "after %s all %d ranks run and none has logged anything", after, running)
		return
	}
	if waiting := l.lacking(func(log *rankLog) bool { return log.stepped }); waiting > 0 {
		l.conclude(incident.No, "after %s %d of %d running ranks have logged no training step", after, waiting, running)
		return
	}
	if l.notYet(after, running) {
		return
	}
	l.conclude(incident.Unknown, "after %s all %d ranks train, and %d of them have not said over which transport (is NCCL_DEBUG=INFO set?)",
		after, running, l.lacking(func(log *rankLog) bool { return len(log.transports) > 0 }))
}

// faulty is the first running rank whose last word is a fault.
func (l *lookout) faulty() *rankLog {
	for _, rank := range l.running() {
		if log := l.seen[rank.Pod]; log != nil && log.fault != nil {
			return log
		}
	}
	return nil
}

// lacking counts the running ranks of which something does not hold.
func (l *lookout) lacking(holds func(*rankLog) bool) int {
	count := 0
	for _, rank := range l.running() {
		if log := l.seen[rank.Pod]; log == nil || !holds(log) {
			count++
		}
	}
	return count
}

// findings answer the log checks' questions for the restarted ranks.
func (l *lookout) findings() []incident.Finding {
	subject := subjectOf(l.params.Target)
	transport := incident.Finding{ID: incident.TransportUsed, Check: steps.AwaitRanks, State: incident.Unknown, Subject: subject, Why: "no line tells"}
	if names := l.transports(); len(names) > 0 {
		transport.State, transport.Value, transport.Why = incident.Yes, names[0], "as the ranks' logs say"
		if len(names) > 1 {
			transport.Value, transport.Why = "mixed", strings.Join(names, " and ")+" are used"
		}
	}
	running := len(l.running())
	stepped := running - l.lacking(func(log *rankLog) bool { return log.stepped })
	progress := incident.Finding{ID: incident.TrainingProgress, Check: steps.AwaitRanks, State: incident.No, Subject: subject,
		Value: fmt.Sprintf("%d of %d", stepped, max(running, l.workload.WantedRanks)), Why: "ranks that logged a training step since the restart"}
	switch {
	case running > 0 && stepped == running && running >= l.workload.WantedRanks:
		progress.State = incident.Yes
	case l.problem != nil:
		progress.State, progress.Why = incident.Unknown, l.problem.Error()
	}
	return []incident.Finding{transport, progress}
}

func (l *lookout) transports() []string {
	var names []string
	for _, log := range l.seen {
		for name := range log.transports {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return slices.Compact(names)
}
