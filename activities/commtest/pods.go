package commtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/activities/testpods"
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
		if at, ok := testpods.StartedAt(pod, container); ok {
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
	if reason := testpods.Hopeless(pod, container); reason != "" && s.trouble == "" {
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

// whyNotStarted names the first rank that did not start and the best reason known.
func (h *Hands) whyNotStarted(ctx context.Context, p steps.RunCommTestParams, kind string, seen sight) string {
	for rank, pod := range seen.ranks {
		if pod == nil {
			return fmt.Sprintf("no pod was created for rank %d%s", rank, testpods.LastWarning(ctx, h.Kube, p.Namespace, kind, p.Name))
		}
		if _, started := testpods.StartedAt(pod, container); !started {
			return testpods.WhyPending(pod) + testpods.LastWarning(ctx, h.Kube, p.Namespace, "Pod", pod.Name)
		}
	}
	if seen.launcher != nil {
		return "the launcher: " + testpods.WhyPending(seen.launcher) + testpods.LastWarning(ctx, h.Kube, p.Namespace, "Pod", seen.launcher.Name)
	}
	return "the launcher was not created" + testpods.LastWarning(ctx, h.Kube, p.Namespace, kind, p.Name)
}
