package commtest

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

// ensure makes the Job and what it owns exist. The Job comes first, because
// the others name it as their owner; its pods wait for the ConfigMap. A worker
// that was killed in between is continued by the next attempt.
func (h *Hands) ensure(ctx context.Context, p steps.RunCommTestParams) (*batchv1.Job, error) {
	job, err := h.ensureJob(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := testpods.Ensure(ctx, h.Kube.CoreV1().ConfigMaps(p.Namespace), "config map", configMapFor(job), job); err != nil {
		return nil, err
	}
	return job, testpods.Ensure(ctx, h.Kube.CoreV1().Services(p.Namespace), "service", serviceFor(p, job), job)
}

func (h *Hands) ensureJob(ctx context.Context, p steps.RunCommTestParams) (*batchv1.Job, error) {
	jobs := h.Kube.BatchV1().Jobs(p.Namespace)
	job, err := jobs.Create(ctx, jobFor(p, testpods.LevelOf(ctx, h.Kube, h.log(), p.Namespace)), testpods.CreateOptions())
	if err == nil {
		h.log().Info("test job created", "incident", p.Incident, "job", p.Name, "nodes", len(p.Group.Nodes))
		return job, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, testpods.Fault(err, "creating test job %s/%s", p.Namespace, p.Name)
	}
	job, err = jobs.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return nil, testpods.GoneAgain(err, "reading test job %s/%s of an earlier attempt", p.Namespace, p.Name)
	}
	return job, joinable(p, "job", job)
}

// joinable says whether the object found is the test we were asked for.
func joinable(p steps.RunCommTestParams, kind string, found metav1.Object) error {
	if found.GetLabels()[steps.OwnerLabel] != steps.OwnerValue(p.Incident) {
		return testpods.Foreign(kind, p.Namespace, p.Name)
	}
	if nodes := found.GetAnnotations()[NodesAnnotation]; nodes != nodesAnnotation(p.Group)[NodesAnnotation] {
		return incident.Faultf(incident.Conflict, errors.New("it tests other nodes: "+nodes), "joining test %s %s/%s", kind, p.Namespace, p.Name)
	}
	if found.GetDeletionTimestamp() != nil {
		return incident.Faultf(incident.Unreachable, errors.New("it is being deleted"), "joining test %s %s/%s", kind, p.Namespace, p.Name)
	}
	return nil
}
