package testpods

import (
	"errors"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// OwnedBy makes deleting the Job delete the object too. It carries the Job's
// labels.
func OwnedBy(job *batchv1.Job) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: job.Name, Namespace: job.Namespace,
		Labels: maps.Clone(job.Labels),
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID},
		},
	}
}

// Ours accepts an object that this Job owns. One that an earlier Job of ours
// left behind is about to be collected; it is removed and the caller tries again.
func Ours(found metav1.Object, kind string, job *batchv1.Job, remove func(metav1.DeleteOptions) error) error {
	if found.GetLabels()[steps.OwnerLabel] != job.Labels[steps.OwnerLabel] {
		return Foreign(kind, job.Namespace, job.Name)
	}
	for _, owner := range found.GetOwnerReferences() {
		if owner.UID == job.UID && found.GetDeletionTimestamp() == nil {
			return nil
		}
	}
	err := remove(metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(found.GetUID()))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return Fault(err, "deleting %s %s/%s of an earlier test", kind, job.Namespace, job.Name)
	}
	return incident.Faultf(incident.Unreachable, errors.New("one of an earlier test was in the way and is being removed"),
		"creating %s %s/%s", kind, job.Namespace, job.Name)
}

// GoneAgain makes "it existed a moment ago and is missing now" worth another attempt.
func GoneAgain(err error, format string, args ...any) error {
	if apierrors.IsNotFound(err) {
		return incident.Faultf(incident.Unreachable, err, format, args...)
	}
	return Fault(err, format, args...)
}

// Created classifies the error of a creation, nil for none.
func Created(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return Fault(err, format, args...)
}

// CreateOptions name us as the manager of what we create.
func CreateOptions() metav1.CreateOptions {
	return metav1.CreateOptions{FieldManager: steps.FieldManager}
}

// Controlling says whether a controller would take a pod with this label for
// its own.
func Controlling(label string) bool {
	return strings.HasPrefix(label, "batch.kubernetes.io/") || strings.HasPrefix(label, "kueue.x-k8s.io/") ||
		strings.HasPrefix(label, "training.kubeflow.org/") || label == "job-name" || label == "controller-uid" || label == "pod-template-hash"
}
