package ioprobe

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/testpods"
	"gpumedic/steps"
)

// CleanIOProbe deletes a probe's Job and its ConfigMap; the cluster collects the
// pod. What is not there is success, what is not ours is left alone and
// reported as a conflict. It may be repeated.
func (h *Hands) CleanIOProbe(ctx context.Context, p steps.CleanIOProbeParams) (steps.CleanIOProbeResult, error) {
	jobs, maps := h.Kube.BatchV1().Jobs(p.Namespace), h.Kube.CoreV1().ConfigMaps(p.Namespace)
	job, err := jobs.Get(ctx, p.Name, metav1.GetOptions{})
	removed, err := h.remove(ctx, p, "job", job, err, jobs.Delete)
	if err != nil {
		return steps.CleanIOProbeResult{}, err
	}
	script, err := maps.Get(ctx, p.Name, metav1.GetOptions{})
	also, err := h.remove(ctx, p, "config map", script, err, maps.Delete)
	if removed || also {
		h.log().Info("probe of storage removed", "incident", p.Incident, "job", p.Name)
	}
	return steps.CleanIOProbeResult{Removed: removed || also}, err
}

// remove deletes what a read found, or passes on why nothing was read.
func (h *Hands) remove(ctx context.Context, p steps.CleanIOProbeParams, kind string, found metav1.Object, err error,
	remove func(context.Context, string, metav1.DeleteOptions) error) (bool, error) {
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, testpods.Fault(err, "reading the probe's %s %s/%s before its removal", kind, p.Namespace, p.Name)
	case found.GetLabels()[steps.OwnerLabel] != steps.OwnerValue(p.Incident):
		return false, testpods.Foreign(kind, p.Namespace, p.Name)
	}
	background := metav1.DeletePropagationBackground
	err = remove(ctx, p.Name, metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: metav1.NewUIDPreconditions(string(found.GetUID()))})
	// A conflict means that what we read is gone and its name is used anew.
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return false, testpods.Fault(err, "deleting the probe's %s %s/%s", kind, p.Namespace, p.Name)
	}
	return true, nil
}
