package scenarios

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Settle says what must have been seen before the alert fires.
type Settle string

const (
	// UntilFailing says that every rank has ended with an error at least once.
	UntilFailing Settle = "failing"
	// UntilTraining says that every rank has logged a few steps.
	UntilTraining Settle = "training"
	// UntilMounting says that every pod has waited for its volumes for a while.
	UntilMounting Settle = "mounting"
)

// few is how many steps are a few: enough to see that a rank is slow.
const few = 2

// aWhile is how long a pod waits for its volumes until that is news: two tries.
const aWhile = 2 * time.Second

// Settled says whether the alert may fire: pods are the job's, steps are those
// of faults.Model.Steps.
func (s Scenario) Settled(pods []corev1.Pod, steps map[int]int) bool {
	if s.SettleUntil == UntilTraining {
		return trained(steps, s.Ranks)
	}
	seen := hasFailed
	if s.SettleUntil == UntilMounting {
		seen = waitsForVolumes
	}
	count := 0
	for _, pod := range pods {
		if seen(pod) {
			count++
		}
	}
	return count >= s.Ranks
}

func waitsForVolumes(pod corev1.Pod) bool {
	started := pod.Status.StartTime
	creating := slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Waiting != nil && c.State.Waiting.Reason == "ContainerCreating"
	})
	return creating && started != nil && time.Since(started.Time) > aWhile
}

func trained(steps map[int]int, ranks int) bool {
	for _, n := range steps {
		if n < few {
			return false
		}
	}
	return len(steps) >= ranks
}

func hasFailed(pod corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		for _, state := range []corev1.ContainerState{status.State, status.LastTerminationState} {
			if state.Terminated != nil && state.Terminated.ExitCode != 0 {
				return true
			}
		}
	}
	return false
}
