package commtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"gpumedic/steps"
)

// sight is a test as the cluster shows it at one moment.
type sight struct {
	// ranks holds the newest pod of each completion index, nil where none is.
	ranks                     []*corev1.Pod
	started, finished, failed int
	// launcher is the pod of mpirun, nil where the tool has none or before it is
	// created; awaitsLauncher until it has started.
	launcher       *corev1.Pod
	awaitsLauncher bool
	// over: there is nothing left to wait for.
	over bool
	// trouble says why this was no test at all; "" when the pods' logs decide.
	trouble string
	// timedOut: the ranks were still running when their time was up.
	timedOut bool
	// spread is the time between the first and the last rank's start.
	spread time.Duration
}

func (s sight) allStarted() bool {
	return len(s.ranks) > 0 && s.started == len(s.ranks) && !s.awaitsLauncher
}

// String is what heartbeats say.
func (s sight) String() string {
	return fmt.Sprintf("%d of %d ranks started, %d ended", s.started, len(s.ranks), s.finished)
}

// sum counts what the pods of the ranks do, and judges where they stand.
func sum(ranks []*corev1.Pod, nodes []string) sight {
	seen := sight{ranks: ranks}
	var first, last time.Time
	for _, pod := range seen.ranks {
		if pod == nil {
			continue
		}
		if at, ok := startedAt(pod); ok {
			seen.started++
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
		}
		seen.count(pod)
	}
	seen.spread = last.Sub(first)
	seen.judgePlaces(nodes)
	return seen
}

func (s *sight) count(pod *corev1.Pod) {
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		s.finished++
	case corev1.PodFailed:
		s.finished++
		s.failed++
	}
	if reason := hopeless(pod); reason != "" && s.trouble == "" {
		s.over, s.trouble = true, reason
	}
}

// judgePlaces makes sure that the pods stand where the group says: an outcome
// about other nodes would accuse the wrong ones.
func (s *sight) judgePlaces(nodes []string) {
	taken := map[string]string{}
	for _, pod := range s.ranks {
		if pod == nil || pod.Spec.NodeName == "" {
			continue
		}
		node := pod.Spec.NodeName
		if other, twice := taken[node]; twice {
			s.over, s.trouble = true, fmt.Sprintf("pods %s and %s both landed on node %s", other, pod.Name, node)
			return
		}
		taken[node] = pod.Name
		if !slices.Contains(nodes, node) {
			s.over, s.trouble = true, fmt.Sprintf("pod %s landed on node %s, which is not in the group", pod.Name, node)
			return
		}
	}
}

// newest picks, for every rank, the pod that was created last. rankOf gives
// -1 for a pod that is none.
func newest(ranks int, pods []*corev1.Pod, rankOf func(*corev1.Pod) int) []*corev1.Pod {
	sorted := slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	byRank := make([]*corev1.Pod, ranks)
	for _, pod := range sorted {
		if rank := rankOf(pod); rank >= 0 && rank < ranks {
			byRank[rank] = pod
		}
	}
	return byRank
}

// startedAt is when the rank's program started, false when it never did.
func startedAt(pod *corev1.Pod) (time.Time, bool) {
	for _, status := range pod.Status.ContainerStatuses {
		switch {
		case status.Name != container:
		case status.State.Running != nil:
			return status.State.Running.StartedAt.Time, true
		case status.State.Terminated != nil && !status.State.Terminated.StartedAt.IsZero():
			return status.State.Terminated.StartedAt.Time, true
		}
	}
	return time.Time{}, false
}

// hopeless says why a pod can never start, "" while it may. An image that is
// being pulled, even in vain so far, is waited for until the start deadline.
func hopeless(pod *corev1.Pod) string {
	if _, started := startedAt(pod); started {
		return ""
	}
	if pod.Status.Phase == corev1.PodFailed {
		return fmt.Sprintf("pod %s ended before its program started: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message)
	}
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil {
			switch waiting.Reason {
			case "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError":
				return fmt.Sprintf("pod %s cannot start: %s: %s", pod.Name, waiting.Reason, waiting.Message)
			}
		}
	}
	return ""
}

// whyNotStarted names the first rank that did not start and the best reason known.
func (h *Hands) whyNotStarted(ctx context.Context, p steps.RunCommTestParams, kind string, seen sight) string {
	for rank, pod := range seen.ranks {
		if pod == nil {
			return fmt.Sprintf("no pod was created for rank %d%s", rank, h.lastWarning(ctx, p.Namespace, kind, p.Name))
		}
		if _, started := startedAt(pod); !started {
			return whyPending(pod) + h.lastWarning(ctx, p.Namespace, "Pod", pod.Name)
		}
	}
	if seen.launcher != nil {
		return "the launcher: " + whyPending(seen.launcher) + h.lastWarning(ctx, p.Namespace, "Pod", seen.launcher.Name)
	}
	return "the launcher was not created" + h.lastWarning(ctx, p.Namespace, kind, p.Name)
}

func whyPending(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return fmt.Sprintf("pod %s is not scheduled: %s: %s", pod.Name, condition.Reason, condition.Message)
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil {
			return fmt.Sprintf("pod %s on node %s waits: %s %s", pod.Name, pod.Spec.NodeName, waiting.Reason, waiting.Message)
		}
	}
	return fmt.Sprintf("pod %s on node %q is %s", pod.Name, pod.Spec.NodeName, pod.Status.Phase)
}

// lastWarning is the latest warning event about an object, as a clause; "" when
// there is none or events cannot be read, for it only explains.
func (h *Hands) lastWarning(ctx context.Context, namespace, kind, name string) string {
	list, err := h.Kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.kind": kind, "involvedObject.name": name, "type": corev1.EventTypeWarning}.String(),
		Limit:         50,
	})
	if err != nil || len(list.Items) == 0 {
		return ""
	}
	last := slices.MaxFunc(list.Items, func(a, b corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	return fmt.Sprintf("; last event: %s: %s", last.Reason, last.Message)
}

// eventTime is when an event was last seen, whichever of its fields is filled.
func eventTime(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}
