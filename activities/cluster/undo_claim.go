package cluster

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// lastUserOf is userOf once it has stayed for a while: pods of a Deployment that go
// because the workload was put back mount a claim to their end.
func (h *Hands) lastUserOf(ctx context.Context, change incident.ObjectChange) (string, error) {
	for until := h.Now().Add(removal); ; {
		user, err := h.userOf(ctx, change)
		if err != nil || user == "" || !h.Now().Before(until) {
			return user, err
		}
		h.progress(ctx)
		if err := wait(ctx, time.Second); err != nil {
			return user, err
		}
	}
}

// userOf names a pod that mounts a claim and is no copy of ours, "" when none does or
// the object is no claim. What somebody has begun to use is not deleted: once its
// pod ended, the data would be gone.
func (h *Hands) userOf(ctx context.Context, change incident.ObjectChange) (user string, err error) {
	if change.Kind != "PersistentVolumeClaim" {
		return "", nil
	}
	err = eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.CoreV1().Pods(change.Namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing pods that mount %s", nameOf(change))
		}
		for _, pod := range page.Items {
			uses := slices.ContainsFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return claimOf(pod, volume) == change.Name })
			if uses && !ended(pod) && pod.Labels[steps.CopyLabel] != "true" {
				user = pod.Name
			}
		}
		return page.Continue, nil
	})
	return user, err
}
