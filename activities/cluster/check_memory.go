package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// CheckMemory answers the part of D1 that is about memory: whether the kernel
// or the kubelet killed for it, whether the nodes are short of it, how large
// /dev/shm is, whether the ranks got whole GPUs, and what may be turned. It
// reads only and may be repeated.
func (h *Hands) CheckMemory(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	questions := []string{incident.HostMemoryKilled, incident.NodeMemoryShort, incident.ShmSmall, incident.GPUSliced,
		incident.AllocatorSet, incident.KnobsDeclared}
	return h.answer(ctx, steps.CheckMemory, params, questions, func(ctx context.Context, s scene) []incident.Finding {
		findings := []incident.Finding{s.memoryKilled()}
		findings = append(findings, s.nodesShort(ctx)...)
		return append(findings, s.shmSmall(ctx), s.sliced(ctx), s.allocator(ctx), s.knobsDeclared())
	})
}

// The kubelet names a kill for the container's limit OOMKilled; 137 is
// 128 + SIGKILL, whoever sent it.
const (
	oomKilled = "OOMKilled"
	sigkilled = 137
	evicted   = "Evicted"
)

// kill is one container that was ended by SIGKILL, or a pod evicted.
type kill struct {
	pod       corev1.Pod
	container *corev1.Container
	at        time.Time
	// sure: it was for memory. Else only the signal is known.
	sure  bool
	words string
}

// memoryKilled looks at every container of every pod of the target, init
// containers and pods of earlier attempts included.
func (s scene) memoryKilled() incident.Finding {
	finding := s.finding(incident.HostMemoryKilled)
	if len(s.found.pods) == 0 {
		finding.Why = noPods(s.now)
		return finding
	}
	var sure, unsure []kill
	for _, pod := range s.found.pods {
		for _, k := range killsOf(pod) {
			switch {
			case s.at.Sub(k.at) > recent && !k.at.IsZero():
			case k.sure:
				sure = append(sure, k)
			default:
				unsure = append(unsure, k)
			}
		}
	}
	switch {
	case len(sure) > 0:
		finding.State = incident.Yes
		return s.killed(finding, sure)
	case len(unsure) > 0:
		return s.killed(finding, unsure)
	}
	finding.State = incident.No
	finding.Why = fmt.Sprintf("no container of %s was killed for memory in the last %s, and no pod of it evicted", s.now.Target, incident.Short(recent))
	return finding
}

// killed is the finding about the earliest of several kills.
func (s scene) killed(finding incident.Finding, kills []kill) incident.Finding {
	slices.SortStableFunc(kills, func(a, b kill) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return strings.Compare(a.pod.Name, b.pod.Name)
	})
	first := kills[0]
	finding.Subject, finding.Evidence = "pod/"+first.pod.Name, []string{objectFile("Pod", first.pod.Name)}
	finding.Value = memoryLimit(first.container)
	finding.Why = first.words
	if len(kills) > 1 {
		finding.Why += fmt.Sprintf("; %d more after it", len(kills)-1)
	}
	return finding
}

// killsOf reads a pod's container states, the last ones included, and its own.
func killsOf(pod corev1.Pod) []kill {
	var kills []kill
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		for _, ended := range []*corev1.ContainerStateTerminated{status.LastTerminationState.Terminated, status.State.Terminated} {
			if k, ok := killOf(pod, status.Name, ended); ok {
				kills = append(kills, k)
			}
		}
	}
	if pod.Status.Reason == evicted && forMemory(pod.Status.Message) {
		main := mainContainer(pod)
		kills = append(kills, kill{pod: pod, container: main, at: failedAt(pod), sure: true,
			words: fmt.Sprintf("pod %s was evicted from node %s, which was low on memory%s", pod.Name, pod.Spec.NodeName,
				messageOf(death{message: pod.Status.Message}))})
	}
	return kills
}

// killOf reads one end of a container. An exit by SIGKILL that the kubelet does
// not call OOMKilled may be a kill of a child's memory, a grace period that ran
// out, or a launcher that ended its siblings: it is no proof, unless the pod is
// being taken away, which explains it.
func killOf(pod corev1.Pod, name string, ended *corev1.ContainerStateTerminated) (kill, bool) {
	if ended == nil || ended.Reason != oomKilled && ended.ExitCode != sigkilled {
		return kill{}, false
	}
	k := kill{pod: pod, container: containerNamed(pod, name), at: ended.FinishedAt.Time, sure: ended.Reason == oomKilled}
	if _, taken := disruption(incident.Rank{}, pod); !k.sure && (taken || pod.DeletionTimestamp != nil || pod.Status.Reason != "") {
		return kill{}, false
	}
	limit := memoryLimit(k.container)
	if !k.sure {
		k.words = fmt.Sprintf("container %s of pod %s ended by SIGKILL (exit %d), and the kubelet does not say why: it may have been for memory (limit %s), or a grace period that ran out, or a launcher that ended its ranks",
			name, pod.Name, ended.ExitCode, limit)
		return k, true
	}
	k.words = fmt.Sprintf("container %s of pod %s was killed at %s because it used more memory than its limit of %s (exit %d)%s",
		name, pod.Name, ended.FinishedAt.UTC().Format(time.TimeOnly), limit, ended.ExitCode, shmCounts(pod, k.container))
	if limit == noLimit {
		k.words = fmt.Sprintf("container %s of pod %s, which has no memory limit, was killed at %s because node %s ran out of memory (exit %d)",
			name, pod.Name, ended.FinishedAt.UTC().Format(time.TimeOnly), pod.Spec.NodeName, ended.ExitCode)
	}
	return k, true
}

// shmCounts reminds that memory volumes are counted into the limit.
func shmCounts(pod corev1.Pod, container *corev1.Container) string {
	if volume, _ := shmVolume(pod, container); volume != nil && isMemoryVolume(volume) {
		return "; what lies in its /dev/shm counts into it"
	}
	return ""
}

// noLimit is the value of a container without a memory limit.
const noLimit = "none"

func memoryLimit(container *corev1.Container) string {
	if container == nil {
		return ""
	}
	if limit, ok := container.Resources.Limits[corev1.ResourceMemory]; ok {
		return limit.String()
	}
	return noLimit
}

func containerNamed(pod corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// forMemory tells an eviction for memory by the kubelet's words: "The node was
// low on resource: memory." (kubelet, eviction/helpers.go, v1.34).
func forMemory(message string) bool {
	return strings.Contains(message, "low on resource: memory")
}
