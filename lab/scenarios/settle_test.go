package scenarios

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestSettled(t *testing.T) {
	ended := func(code int32) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: code}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	pods := func(n int, statuses ...corev1.ContainerStatus) []corev1.Pod {
		list := make([]corev1.Pod, n)
		for i := range list {
			list[i].Status.ContainerStatuses = statuses
		}
		return list
	}
	again := corev1.ContainerStatus{State: running, LastTerminationState: corev1.ContainerState{Terminated: ended(1)}}
	failing := Scenario{Ranks: Ranks, SettleUntil: UntilFailing}
	for name, c := range map[string]struct {
		pods []corev1.Pod
		want bool
	}{
		"all failed and run again": {pods(8, again), true},
		"all failed now":           {pods(8, corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended(137)}}), true},
		"one has not yet":          {append(pods(7, again), pods(1, corev1.ContainerStatus{State: running})...), false},
		"ended well":               {pods(8, corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended(0)}}), false},
		"not all there":            {pods(7, again), false},
	} {
		if got := failing.Settled(c.pods, nil); got != c.want {
			t.Errorf("%s: settled %v", name, got)
		}
	}
	training := Scenario{Ranks: Ranks, SettleUntil: UntilTraining}
	steps := map[int]int{0: 2, 1: 2, 2: 2, 3: 9, 4: 2, 5: 2, 6: 2}
	if training.Settled(nil, steps) {
		t.Error("settled while a rank is missing")
	}
	steps[7] = 1
	if training.Settled(nil, steps) {
		t.Error("settled while a rank has just begun")
	}
	steps[7] = 2
	if !training.Settled(nil, steps) {
		t.Error("not settled although all ranks train")
	}
}
