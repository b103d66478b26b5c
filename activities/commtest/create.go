package commtest

import (
	"context"
	"errors"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// ensure makes the Job and what it owns exist. The Job comes first, because
// the others name it as their owner; its pods wait for the ConfigMap. A worker
// that was killed in between is continued by the next attempt.
func (h *Hands) ensure(ctx context.Context, p steps.RunCommTestParams) (*batchv1.Job, error) {
	job, err := h.ensureJob(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := h.ensureConfigMap(ctx, p, job); err != nil {
		return nil, err
	}
	return job, h.ensureService(ctx, p, job)
}

func (h *Hands) ensureJob(ctx context.Context, p steps.RunCommTestParams) (*batchv1.Job, error) {
	jobs := h.Kube.BatchV1().Jobs(p.Namespace)
	job, err := jobs.Create(ctx, jobFor(p, h.levelOf(ctx, p.Namespace)), createOptions())
	if err == nil {
		h.log().Info("test job created", "incident", p.Incident, "job", p.Name, "nodes", len(p.Group.Nodes))
		return job, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fault(err, "creating test job %s/%s", p.Namespace, p.Name)
	}
	job, err = jobs.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return nil, goneAgain(err, "reading test job %s/%s of an earlier attempt", p.Namespace, p.Name)
	}
	return job, joinable(p, "job", job)
}

// joinable says whether the object found is the test we were asked for.
func joinable(p steps.RunCommTestParams, kind string, found metav1.Object) error {
	if found.GetLabels()[steps.OwnerLabel] != steps.OwnerValue(p.Incident) {
		return foreign(kind, p.Namespace, p.Name)
	}
	if nodes := found.GetAnnotations()[NodesAnnotation]; nodes != nodesAnnotation(p.Group)[NodesAnnotation] {
		return incident.Faultf(incident.Conflict, errors.New("it tests other nodes: "+nodes), "joining test %s %s/%s", kind, p.Namespace, p.Name)
	}
	if found.GetDeletionTimestamp() != nil {
		return incident.Faultf(incident.Unreachable, errors.New("it is being deleted"), "joining test %s %s/%s", kind, p.Namespace, p.Name)
	}
	return nil
}

func (h *Hands) ensureConfigMap(ctx context.Context, p steps.RunCommTestParams, job *batchv1.Job) error {
	maps := h.Kube.CoreV1().ConfigMaps(p.Namespace)
	_, err := maps.Create(ctx, configMapFor(job), createOptions())
	if !apierrors.IsAlreadyExists(err) {
		return created(err, "creating config map %s/%s", p.Namespace, p.Name)
	}
	found, err := maps.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return goneAgain(err, "reading config map %s/%s of an earlier attempt", p.Namespace, p.Name)
	}
	return ours(found, "config map", job, func(options metav1.DeleteOptions) error {
		return maps.Delete(ctx, p.Name, options)
	})
}

func (h *Hands) ensureService(ctx context.Context, p steps.RunCommTestParams, job *batchv1.Job) error {
	services := h.Kube.CoreV1().Services(p.Namespace)
	_, err := services.Create(ctx, serviceFor(p, job), createOptions())
	if !apierrors.IsAlreadyExists(err) {
		return created(err, "creating service %s/%s", p.Namespace, p.Name)
	}
	found, err := services.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return goneAgain(err, "reading service %s/%s of an earlier attempt", p.Namespace, p.Name)
	}
	return ours(found, "service", job, func(options metav1.DeleteOptions) error {
		return services.Delete(ctx, p.Name, options)
	})
}

// ours accepts an object that this Job owns. One that an earlier Job of ours
// left behind is about to be collected; it is removed and the caller tries again.
func ours(found metav1.Object, kind string, job *batchv1.Job, remove func(metav1.DeleteOptions) error) error {
	if found.GetLabels()[steps.OwnerLabel] != job.Labels[steps.OwnerLabel] {
		return foreign(kind, job.Namespace, job.Name)
	}
	for _, owner := range found.GetOwnerReferences() {
		if owner.UID == job.UID && found.GetDeletionTimestamp() == nil {
			return nil
		}
	}
	err := remove(metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(found.GetUID()))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fault(err, "deleting %s %s/%s of an earlier test", kind, job.Namespace, job.Name)
	}
	return incident.Faultf(incident.Unreachable, errors.New("one of an earlier test was in the way and is being removed"),
		"creating %s %s/%s", kind, job.Namespace, job.Name)
}

// goneAgain makes "it existed a moment ago and is missing now" worth another attempt.
func goneAgain(err error, format string, args ...any) error {
	if apierrors.IsNotFound(err) {
		return incident.Faultf(incident.Unreachable, err, format, args...)
	}
	return fault(err, format, args...)
}

func created(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fault(err, format, args...)
}

func createOptions() metav1.CreateOptions {
	return metav1.CreateOptions{FieldManager: steps.FieldManager}
}
