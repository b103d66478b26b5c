package commtest

import (
	"context"
	"fmt"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	batchinformers "k8s.io/client-go/informers/batch/v1"
	"k8s.io/client-go/tools/cache"

	"gpumedic/incident"
	"gpumedic/steps"
)

// machine is how one tool's test looks in the cluster: one object that stands
// for it, and its pods.
type machine interface {
	// kind of the object, for events and words.
	kind() string
	// ensure makes the test exist, or joins the one of an earlier attempt.
	ensure(ctx context.Context, h *Hands, p steps.RunCommTestParams) (metav1.Object, error)
	get(ctx context.Context, h *Hands, namespace, name string) (metav1.Object, error)
	informer(h *Hands, namespace, name string) cache.SharedIndexInformer
	// selector finds the test's pods.
	selector(name string) labels.Set
	// observe sums up the object and its pods.
	observe(p steps.RunCommTestParams, object metav1.Object, pods []*corev1.Pod) sight
	// finish reads and keeps the logs, and judges them.
	finish(ctx context.Context, h *Hands, p steps.RunCommTestParams, seen sight) (incident.Outcome, []incident.IndexEntry, error)
}

// jobMachine runs the script of this package in an Indexed Job.
type jobMachine struct{}

func (jobMachine) kind() string { return "Job" }

func (jobMachine) ensure(ctx context.Context, h *Hands, p steps.RunCommTestParams) (metav1.Object, error) {
	return h.ensure(ctx, p)
}

func (jobMachine) get(ctx context.Context, h *Hands, namespace, name string) (metav1.Object, error) {
	return h.Kube.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (jobMachine) informer(h *Hands, namespace, name string) cache.SharedIndexInformer {
	return batchinformers.NewFilteredJobInformer(h.Kube, namespace, 0, cache.Indexers{}, onlyNamed(name))
}

func onlyNamed(name string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}
}

func (jobMachine) selector(name string) labels.Set { return labels.Set{batchv1.JobNameLabel: name} }

func (jobMachine) observe(p steps.RunCommTestParams, object metav1.Object, pods []*corev1.Pod) sight {
	seen := sum(newest(len(p.Group.Nodes), pods, completionIndex), p.Group.Nodes)
	seen.over = seen.over || seen.finished == len(seen.ranks)
	for _, condition := range object.(*batchv1.Job).Status.Conditions {
		ended := condition.Type == batchv1.JobFailed || condition.Type == batchv1.JobComplete
		if ended && condition.Status == corev1.ConditionTrue {
			seen.endedEarly("Job", condition.Reason, condition.Message)
		}
	}
	return seen
}

func completionIndex(pod *corev1.Pod) int {
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return -1
	}
	return index
}

// endedEarly notices an object that ended although not every rank ran to its end.
func (s *sight) endedEarly(kind, reason, message string) {
	if !s.over {
		s.over, s.trouble = true, fmt.Sprintf("the cluster ended the test's %s early: %s: %s", kind, reason, message)
	}
}

func (jobMachine) finish(ctx context.Context, h *Hands, p steps.RunCommTestParams, seen sight) (incident.Outcome, []incident.IndexEntry, error) {
	logs, entries, err := h.collect(ctx, p, seen)
	if err != nil {
		return incident.Outcome{}, nil, err
	}
	return conclude(p, seen, logs), entries, nil
}
