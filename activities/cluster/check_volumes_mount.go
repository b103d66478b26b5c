package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
)

// mountReasons are the events of kubelet and attach controller about volumes
// (Kubernetes v1.34, pkg/kubelet/events and attachdetach).
var mountReasons = []string{"FailedMount", "FailedAttachVolume", "FailedMapVolume"}

// mountFails: volumes of pods that still do not run were refused a short while
// ago. A refusal that was overcome is said, and is no trouble now.
func (s scene) mountFails(ctx context.Context) incident.Finding {
	finding := s.finding(incident.VolumeMountFails)
	lines, err := s.hands.freshEvents(ctx, s.now.Target.Namespace, "involvedObject.kind=Pod", func(event corev1.Event) bool {
		return event.InvolvedObject.Kind == "Pod" && slices.Contains(mountReasons, event.Reason) && slices.ContainsFunc(s.pods, func(pod corev1.Pod) bool {
			return pod.UID == event.InvolvedObject.UID && pod.Name == event.InvolvedObject.Name
		})
	})
	if err != nil {
		finding.Why = err.Error()
		return finding
	}
	failing := map[string]eventLine{}
	overcome := map[string]bool{}
	for _, line := range lines {
		at := slices.IndexFunc(s.pods, func(pod corev1.Pod) bool { return "pod/"+pod.Name == line.Object })
		if startedAfter(s.pods[at], line.At.Time) {
			overcome[line.Object] = true
			continue
		}
		failing[line.Object] = line
	}
	return s.mountWords(finding, failing, len(overcome))
}

// mountWords tells the newest refusal.
func (s scene) mountWords(finding incident.Finding, failing map[string]eventLine, overcome int) incident.Finding {
	if len(failing) == 0 {
		finding.State, finding.Why = incident.No, fmt.Sprintf("no volume of the ranks' pods was refused in the last %s", incident.Short(recent))
		if s.templates {
			finding.State, finding.Why = incident.Unknown, noPods(s.now)
		}
		if overcome > 0 {
			finding.Why = fmt.Sprintf("volumes of %d pods were refused at first and are mounted now", overcome)
		}
		return finding
	}
	names := sortedNames(failing)
	newest := failing[names[0]]
	for _, name := range names {
		if line := failing[name]; line.At.After(newest.At.Time) {
			newest = line
		}
	}
	finding.State, finding.Subject, finding.Value = incident.Yes, newest.Object, newest.Reason
	finding.Why = fmt.Sprintf("volumes of %d of %d pods cannot be mounted; of %s at %s: %s%s", len(failing), len(s.pods), newest.Object,
		newest.At.UTC().Format(time.TimeOnly), newest.Reason, messageOf(death{message: newest.Message}))
	finding.Evidence = []string{"events.json"}
	return finding
}

// startedAfter says whether any container of a pod was started since: all
// volumes of a pod are mounted before the first.
func startedAfter(pod corev1.Pod, since time.Time) bool {
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if running := status.State.Running; running != nil && !running.StartedAt.Time.Before(since.Truncate(time.Second)) {
			return true
		}
		if ended := status.State.Terminated; ended != nil && !ended.StartedAt.Time.Before(since.Truncate(time.Second)) {
			return true
		}
	}
	return false
}
