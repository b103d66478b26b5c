package kubelet

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// writeAgain is how long a write that failed waits for its next try.
const writeAgain = 200 * time.Millisecond

// write publishes the pod's state. It reads the state after it has the turn,
// so that the last write is always the newest; writes that fail are repeated,
// since a lost status would never be corrected.
func (p *pod) write() {
	p.writing.Lock()
	defer p.writing.Unlock()
	for p.k.ctx.Err() == nil {
		err := p.patch(p.k.ctx)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return // gone, or another pod of this name by now
		}
		p.k.log.Debug("a pod's status was not written", "pod", p.spec.Name, "error", err)
		select {
		case <-p.k.ctx.Done():
		case <-time.After(writeAgain):
		}
	}
}

func (p *pod) patch(ctx context.Context) error {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.spec.UID},
		"status":   p.status(),
	})
	if err != nil {
		return err
	}
	// Conditions merge by type, so those that others set stay.
	_, err = p.k.client.CoreV1().Pods(p.spec.Namespace).Patch(ctx, p.spec.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	return err
}

// status is what the API shows now; one caller at a time, who has the turn.
func (p *pod) status() corev1.PodStatus {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	status := corev1.PodStatus{
		Phase: p.phase, Reason: p.reason, Message: p.message, StartTime: &p.started,
		HostIP: "127.0.0.1", HostIPs: []corev1.HostIP{{IP: "127.0.0.1"}},
	}
	if p.reason != "" {
		return status // turned away: nothing was made for it
	}
	status.PodIP, status.PodIPs = p.ip, []corev1.PodIP{{IP: p.ip}}
	initialized := true
	for _, c := range p.inits {
		initialized = initialized && c.succeeded()
		status.InitContainerStatuses = append(status.InitContainerStatuses, c.status())
	}
	ready := p.phase == corev1.PodRunning
	for _, c := range p.containers {
		s := c.status()
		ready = ready && s.Ready
		status.ContainerStatuses = append(status.ContainerStatuses, s)
	}
	p.conditions = nextConditions(p.conditions, p.phase, initialized, ready)
	status.Conditions = p.conditions
	return status
}

// nextConditions carries the time of a condition on until it changes.
func nextConditions(before []corev1.PodCondition, phase corev1.PodPhase, initialized, ready bool) []corev1.PodCondition {
	after := []corev1.PodCondition{
		podCondition(corev1.PodInitialized, initialized, "ContainersNotInitialized"),
		podCondition(corev1.ContainersReady, ready, notReady(phase)),
		podCondition(corev1.PodReady, ready, notReady(phase)),
	}
	for i := range after {
		if i < len(before) && before[i].Status == after[i].Status {
			after[i].LastTransitionTime = before[i].LastTransitionTime
		}
	}
	return after
}

func podCondition(kind corev1.PodConditionType, ok bool, why string) corev1.PodCondition {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !ok {
		c.Status, c.Reason = corev1.ConditionFalse, why
	}
	return c
}

func notReady(phase corev1.PodPhase) string {
	switch phase {
	case corev1.PodSucceeded:
		return "PodCompleted"
	case corev1.PodFailed:
		return "PodFailed"
	}
	return "ContainersNotReady"
}
