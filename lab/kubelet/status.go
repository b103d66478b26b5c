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
		time.Sleep(200 * time.Millisecond)
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

func (p *pod) status() corev1.PodStatus {
	p.mutex.Lock()
	phase := p.phase
	p.mutex.Unlock()
	status := corev1.PodStatus{
		Phase: phase, StartTime: &p.started, HostIP: "127.0.0.1", HostIPs: []corev1.HostIP{{IP: "127.0.0.1"}},
		PodIP: p.ip, PodIPs: []corev1.PodIP{{IP: p.ip}},
	}
	for _, c := range p.inits {
		status.InitContainerStatuses = append(status.InitContainerStatuses, c.status())
	}
	ready := phase == corev1.PodRunning
	for _, c := range p.containers {
		s := c.status()
		ready = ready && s.Ready
		status.ContainerStatuses = append(status.ContainerStatuses, s)
	}
	status.Conditions = podConditions(phase, ready)
	return status
}

func podConditions(phase corev1.PodPhase, ready bool) []corev1.PodCondition {
	now := metav1.Now()
	condition := func(kind corev1.PodConditionType, ok bool) corev1.PodCondition {
		c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, LastTransitionTime: now}
		if ok {
			c.Status = corev1.ConditionTrue
		} else if phase == corev1.PodSucceeded {
			c.Reason = "PodCompleted"
		} else if phase == corev1.PodFailed {
			c.Reason = "PodFailed"
		} else {
			c.Reason = "ContainersNotReady"
		}
		return c
	}
	return []corev1.PodCondition{
		condition(corev1.PodInitialized, phase != corev1.PodPending),
		condition(corev1.ContainersReady, ready),
		condition(corev1.PodReady, ready),
	}
}
