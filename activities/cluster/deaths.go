package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// The kubelet reports times in whole seconds, so two deaths must be further
// apart than that for their order to mean anything.
const (
	// sameMoment is how far apart deaths may be and still count as one moment.
	sameMoment = 1 * time.Second
	// leadByForce and leadByItself are how long before all others a rank must
	// have died to be called the first: by force, where nobody else can be the
	// cause, and by its own exit, which is also how ranks end that lost a peer.
	leadByForce  = 2 * time.Second
	leadByItself = 3 * time.Second
)

// death is one end of a rank's container by an error.
type death struct {
	rank incident.Rank
	// started may be zero: the container's start is not known.
	started, at time.Time
	reason      string
	code        int32
	message     string
	// byForce: somebody else ended it (the kernel, the kubelet, the scheduler).
	byForce bool
	// standing: the rank is down now.
	standing bool
}

func (d death) who() string { return "rank " + place(d.rank) }

// place is a rank's number, or its pod when it has none.
func place(rank incident.Rank) string {
	if rank.Index == unknownIndex {
		return "of pod " + rank.Pod
	}
	return strconv.Itoa(rank.Index)
}

// value writes "OOMKilled, exit 137".
func (d death) value() string {
	if d.code == 0 {
		return d.reason
	}
	return fmt.Sprintf("%s, exit %d", orWord(d.reason, "Error"), d.code)
}

// forcedCodes are exit codes of signals that no program gives itself when a
// peer is lost: SIGILL, SIGBUS, SIGFPE, SIGKILL and SIGSEGV. SIGABRT is not
// among them, since it is how PyTorch's watchdog ends a rank that only waited.
var forcedCodes = []int32{132, 135, 136, 137, 139}

// deathsOf lists what is known of how ranks ended, earlier attempts included.
func deathsOf(now incident.Workload, found kin) []death {
	pods := map[string]*corev1.Pod{}
	for i := range found.pods {
		pods[found.pods[i].Name] = &found.pods[i]
	}
	var deaths []death
	for i, rank := range slices.Concat(now.Ranks, now.Earlier) {
		if pod := pods[rank.Pod]; pod != nil {
			for _, d := range podDeaths(rank, *pod) {
				d.standing = d.standing && i < len(now.Ranks)
				deaths = append(deaths, d)
			}
		}
	}
	slices.SortStableFunc(deaths, func(a, b death) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return strings.Compare(a.rank.Pod, b.rank.Pod)
	})
	return deaths
}

// podDeaths reads a pod's container states and, for a pod that was taken away,
// its condition or its status.
func podDeaths(rank incident.Rank, pod corev1.Pod) []death {
	var deaths []death
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != rank.Container {
			continue
		}
		down := status.State.Running == nil
		deaths = append(deaths, terminations(rank, status.LastTerminationState.Terminated, down && status.State.Terminated == nil)...)
		deaths = append(deaths, terminations(rank, status.State.Terminated, true)...)
	}
	if taken, ok := disruption(rank, pod); ok {
		return append(forget(deaths, taken.at), taken)
	}
	if pod.Status.Phase == corev1.PodFailed && len(deaths) == 0 {
		deaths = append(deaths, death{rank: rank, at: failedAt(pod), reason: orWord(pod.Status.Reason, "Failed"), message: pod.Status.Message,
			byForce: pod.Status.Reason != "", standing: true})
	}
	return deaths
}

func terminations(rank incident.Rank, ended *corev1.ContainerStateTerminated, standing bool) []death {
	if ended == nil || ended.ExitCode == 0 {
		return nil
	}
	return []death{{
		rank: rank, started: ended.StartedAt.Time, at: ended.FinishedAt.Time, reason: ended.Reason, code: ended.ExitCode, message: ended.Message,
		byForce: ended.Reason == "OOMKilled" || slices.Contains(forcedCodes, ended.ExitCode), standing: standing,
	}}
}

// disruption is the end of a pod that was preempted, evicted or drained.
func disruption(rank incident.Rank, pod corev1.Pod) (death, bool) {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			return death{rank: rank, started: startOf(pod), at: condition.LastTransitionTime.Time, reason: orWord(condition.Reason, "disruption"),
				message: condition.Message, byForce: true, standing: true}, true
		}
	}
	return death{}, false
}

// forget drops deaths that a disruption explains: those after it.
func forget(deaths []death, since time.Time) []death {
	return slices.DeleteFunc(deaths, func(d death) bool { return !d.at.Before(since) })
}

func startOf(pod corev1.Pod) time.Time {
	if pod.Status.StartTime == nil {
		return time.Time{}
	}
	return pod.Status.StartTime.Time
}

// failedAt is when a pod without container states failed, as far as its
// conditions tell.
func failedAt(pod corev1.Pod) time.Time {
	latest := startOf(pod)
	for _, condition := range pod.Status.Conditions {
		if condition.LastTransitionTime.After(latest) {
			latest = condition.LastTransitionTime.Time
		}
	}
	return latest
}

// latestDeaths keeps the last death of each rank, in the order of time.
func latestDeaths(deaths []death) []death {
	last := map[string]int{}
	for i, d := range deaths {
		last[place(d.rank)] = i
	}
	var latest []death
	for i, d := range deaths {
		if last[place(d.rank)] == i {
			latest = append(latest, d)
		}
	}
	return latest
}

// wave is the deaths that belong to the last attempt: those of ranks that were
// alive together with the rank that died last. An earlier attempt's deaths,
// which happened before that rank had started, are not among them.
func wave(latest []death) []death {
	if len(latest) == 0 {
		return nil
	}
	last := latest[len(latest)-1]
	var together []death
	for _, d := range latest {
		if last.started.IsZero() || d.at.After(last.started) {
			together = append(together, d)
		}
	}
	return together
}

// diedFirst names the rank whose death the others cannot have caused.
func (a autopsy) diedFirst() incident.Finding {
	finding := a.finding(incident.RankDiedFirst)
	deaths := wave(latestDeaths(a.deaths))
	switch {
	case len(a.found.pods) == 0:
		finding.State, finding.Why = incident.Unknown, noPods(a.now)
		return finding
	case len(deaths) == 0:
		finding.Why = "no rank ended with an error"
		return finding
	}
	first, why := firstDeath(deaths, len(a.now.Ranks), a.at)
	if first == nil {
		finding.Why = why
		return finding
	}
	finding.State, finding.Subject, finding.Value = incident.Yes, "pod/"+first.rank.Pod, first.value()
	finding.Why = fmt.Sprintf("%s (pod %s%s) ended first, %s at %s%s; %s", first.who(), first.rank.Pod, onNode(first.rank), first.value(),
		first.at.UTC().Format(time.TimeOnly), messageOf(*first), why)
	finding.Evidence = []string{objectFile("Pod", first.rank.Pod)}
	return finding
}

func onNode(rank incident.Rank) string {
	if rank.Node == "" {
		return ""
	}
	return " on " + rank.Node
}

func messageOf(d death) string {
	const room = 160
	text := redact.String(strings.Join(strings.Fields(d.message), " ")) // a program may write anything there
	if text == "" {
		return ""
	}
	if len(text) > room {
		text = strings.ToValidUTF8(text[:room], "") + "..."
	}
	return " (" + text + ")"
}

// firstDeath picks the first of a wave, nil with the reason when none stands
// out. The wave is in the order of time. A lone rank that ended by its own exit a
// moment ago may be the first of many that lost a peer: it says nothing yet.
func firstDeath(deaths []death, ranks int, now time.Time) (*death, string) {
	first := &deaths[0]
	if len(deaths) == 1 {
		age := now.Sub(first.at)
		if ranks > 1 && !first.byForce && age < leadByItself {
			return nil, fmt.Sprintf("only %s has ended, %s ago and by its own exit; others may follow", first.who(), incident.Short(max(0, age)))
		}
		if ranks > 1 {
			return first, fmt.Sprintf("none of the %d others has ended since", ranks-1)
		}
		return first, "it is the only rank"
	}
	lead := deaths[1].at.Sub(first.at)
	if first.byForce && lead >= leadByForce {
		return first, fmt.Sprintf("%d others ended %s later or after that", len(deaths)-1, incident.Short(lead))
	}
	if forced := forcedAtStart(deaths); forced != nil {
		return forced, fmt.Sprintf("it alone was ended by force, the %d others at the same moment by their own exit", len(deaths)-1)
	}
	if lead >= leadByItself && livedShorter(deaths) {
		return first, fmt.Sprintf("%d others ended %s later or after that", len(deaths)-1, incident.Short(lead))
	}
	return nil, fmt.Sprintf("%d ranks ended within %s of each other, none clearly before the others (first %s: %s)",
		len(deaths), incident.Short(deaths[len(deaths)-1].at.Sub(first.at)), first.who(), first.value())
}

// forcedAtStart is the only rank that was ended by force, when that was within
// the first moment of the wave.
func forcedAtStart(deaths []death) *death {
	var forced *death
	for i := range deaths {
		if !deaths[i].byForce {
			continue
		}
		if forced != nil {
			return nil
		}
		forced = &deaths[i]
	}
	if forced == nil || forced.at.Sub(deaths[0].at) > sameMoment {
		return nil
	}
	return forced
}

// livedShorter says whether the first rank ended sooner after its own start
// than all others: ranks that wait for each other in vain end in the order in
// which they started, which says nothing.
func livedShorter(deaths []death) bool {
	first := deaths[0]
	if first.started.IsZero() {
		return true
	}
	for _, d := range deaths[1:] {
		if !d.started.IsZero() && d.at.Sub(d.started)-first.at.Sub(first.started) < leadByForce {
			return false
		}
	}
	return true
}
