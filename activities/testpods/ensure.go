package testpods

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keeper is a typed client, as far as Ensure needs it.
type keeper[T metav1.Object] interface {
	Create(ctx context.Context, object T, options metav1.CreateOptions) (T, error)
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// Ensure creates an object that belongs to a Job, or accepts the one that an earlier
// attempt created. kind is how people call it.
func Ensure[T metav1.Object](ctx context.Context, client keeper[T], kind string, object T, job *batchv1.Job) error {
	_, err := client.Create(ctx, object, CreateOptions())
	if !apierrors.IsAlreadyExists(err) {
		return Created(err, "creating %s %s/%s", kind, job.Namespace, object.GetName())
	}
	found, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err != nil {
		return GoneAgain(err, "reading %s %s/%s of an earlier attempt", kind, job.Namespace, object.GetName())
	}
	return Ours(found, kind, job, func(options metav1.DeleteOptions) error {
		return client.Delete(ctx, object.GetName(), options)
	})
}
