package testpods

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// StartedAt is when a pod's program started, false when it never did.
func StartedAt(pod *corev1.Pod, container string) (time.Time, bool) {
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

// Hopeless says why a pod can never start, "" while it may. An image that is
// being pulled, even in vain so far, is waited for until the start deadline.
func Hopeless(pod *corev1.Pod, container string) string {
	if _, started := StartedAt(pod, container); started {
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

// WhyPending is the best reason that the pod itself tells for not running yet.
func WhyPending(pod *corev1.Pod) string {
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

// LastWarning is the latest warning event about an object, as a clause; "" when
// there is none or events cannot be read, for it only explains.
func LastWarning(ctx context.Context, kube kubernetes.Interface, namespace, kind, name string) string {
	list, err := kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
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

// Disruption says why the cluster took a pod away, "" when it did not.
func Disruption(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			return condition.Reason + " " + condition.Message
		}
	}
	switch pod.Status.Reason {
	case "Evicted", "Preempted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "UnexpectedAdmissionError":
		return pod.Status.Reason + " " + pod.Status.Message
	}
	return ""
}
