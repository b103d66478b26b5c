package ioprobe

import (
	"context"
	"errors"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

// ensure makes the Job and its ConfigMap exist. The Job comes first, because
// the other names it as its owner; its pod waits for the ConfigMap. A worker
// that was killed in between is continued by the next attempt.
func (h *Hands) ensure(ctx context.Context, p steps.RunIOProbeParams, at place) (*batchv1.Job, error) {
	jobs := h.Kube.BatchV1().Jobs(p.Namespace)
	job, err := jobs.Create(ctx, jobFor(p, at, testpods.LevelOf(ctx, h.Kube, h.log(), p.Namespace)), testpods.CreateOptions())
	switch {
	case err == nil:
		h.log().Info("probe of storage created", "incident", p.Incident, "job", p.Name, "node", at.node)
	case !apierrors.IsAlreadyExists(err):
		return nil, testpods.Fault(err, "creating the probe's job %s/%s", p.Namespace, p.Name)
	default:
		if job, err = jobs.Get(ctx, p.Name, metav1.GetOptions{}); err != nil {
			return nil, testpods.GoneAgain(err, "reading the probe's job %s/%s of an earlier attempt", p.Namespace, p.Name)
		}
		if err := joinable(p, at, job); err != nil {
			return nil, err
		}
	}
	return job, testpods.Ensure(ctx, h.Kube.CoreV1().ConfigMaps(p.Namespace), "config map", configMapFor(job), job)
}

// joinable says whether the Job found is the probe we were asked for.
func joinable(p steps.RunIOProbeParams, at place, found *batchv1.Job) error {
	switch node := found.Annotations[NodeAnnotation]; {
	case found.Labels[steps.OwnerLabel] != steps.OwnerValue(p.Incident):
		return testpods.Foreign("job", p.Namespace, p.Name)
	case found.DeletionTimestamp != nil:
		return incident.Faultf(incident.Unreachable, errors.New("it is being deleted"), "joining the probe %s/%s", p.Namespace, p.Name)
	case node != at.node:
		return incident.Faultf(incident.Conflict, errors.New("it reads from another node: "+node), "joining the probe %s/%s", p.Namespace, p.Name)
	}
	return nil
}
