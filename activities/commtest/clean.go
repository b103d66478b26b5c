package commtest

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/testpods"
	"gpumedic/steps"
)

// CleanCommTest deletes the named tests, whatever ran them; the cluster then
// collects their pods, Services and ConfigMaps. A test that is not there is
// success, one that is not ours is left alone and reported as a conflict after
// the others are gone.
func (h *Hands) CleanCommTest(ctx context.Context, p steps.CleanCommTestParams) (steps.CleanCommTestResult, error) {
	var result steps.CleanCommTestResult
	var troubles []error
	for _, name := range p.Names {
		if name == "" {
			continue
		}
		for _, kind := range h.tests(p.Namespace) {
			removed, err := h.remove(ctx, p, kind, name)
			if err != nil {
				troubles = append(troubles, err)
			}
			if removed {
				result.Removed++
			}
		}
	}
	return result, errors.Join(troubles...)
}

// test is a kind of object that stands for a test.
type test struct {
	kind   string
	get    func(ctx context.Context, name string) (metav1.Object, error)
	delete func(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// tests are the kinds; a cluster without MPIJobs has none of them to remove.
func (h *Hands) tests(namespace string) []test {
	jobs := h.Kube.BatchV1().Jobs(namespace)
	kinds := []test{{"job", func(ctx context.Context, name string) (metav1.Object, error) {
		return jobs.Get(ctx, name, metav1.GetOptions{})
	}, jobs.Delete}}
	if h.Dynamic != nil {
		mpi := h.Dynamic.Resource(mpiJobs).Namespace(namespace)
		kinds = append(kinds, test{"mpijob", func(ctx context.Context, name string) (metav1.Object, error) {
			return mpi.Get(ctx, name, metav1.GetOptions{})
		}, func(ctx context.Context, name string, options metav1.DeleteOptions) error {
			return mpi.Delete(ctx, name, options)
		}})
	}
	return kinds
}

func (h *Hands) remove(ctx context.Context, p steps.CleanCommTestParams, t test, name string) (bool, error) {
	job, err := t.get(ctx, name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, testpods.Fault(err, "reading test %s %s/%s before its removal", t.kind, p.Namespace, name)
	}
	if job.GetLabels()[steps.OwnerLabel] != steps.OwnerValue(p.Incident) {
		return false, testpods.Foreign(t.kind, p.Namespace, name)
	}
	background := metav1.DeletePropagationBackground
	err = t.delete(ctx, name, metav1.DeleteOptions{
		PropagationPolicy: &background, Preconditions: metav1.NewUIDPreconditions(string(job.GetUID())),
	})
	// A conflict means that the test we read is gone and its name is used anew.
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return false, testpods.Fault(err, "deleting test %s %s/%s", t.kind, p.Namespace, name)
	}
	h.log().Info("test removed", "incident", p.Incident, "kind", t.kind, "name", name)
	return true, nil
}
