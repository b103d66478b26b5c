package ioprobe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

// sight is the probe's pod as the cluster last showed it.
type sight struct {
	pod *corev1.Pod
	// trouble says why nothing was measured; "" when the pod's log decides.
	trouble string
	// late: it was still reading when its time was up.
	late bool
}

// watcher keeps the probe's pods as the API server last told them.
type watcher struct {
	*testpods.Watcher
	pods cache.SharedIndexInformer
}

// watch starts the watcher; its owner calls Close.
func (h *Hands) watch(ctx context.Context, namespace, name string) (*watcher, error) {
	pods := coreinformers.NewFilteredPodInformer(h.Kube, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = labels.Set{batchv1.JobNameLabel: name}.String()
	})
	started, err := testpods.Watch(ctx, pods)
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "preparing the watch of probe %s/%s", namespace, name)
	}
	return &watcher{Watcher: started, pods: pods}, nil
}

// newest is the pod of this Job that was created last, nil when there is none.
func (w *watcher) newest(job *batchv1.Job) *corev1.Pod {
	var pods []*corev1.Pod
	for _, item := range w.pods.GetStore().List() {
		if pod := item.(*corev1.Pod); metav1.IsControlledBy(pod, job) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		return nil
	}
	return slices.MaxFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}

// wait watches until the probe has ended, cannot start, or ran out of time.
func (h *Hands) wait(ctx context.Context, p steps.RunIOProbeParams, job *batchv1.Job) (sight, error) {
	w, err := h.watch(ctx, p.Namespace, p.Name)
	if err != nil {
		return sight{}, err
	}
	defer w.Close()
	beat, end := time.NewTicker(beatEvery), time.NewTimer(p.Settings.StartDeadline)
	defer beat.Stop()
	defer end.Stop()
	reads, known := false, (*corev1.Pod)(nil)
	for {
		if err := w.Err(); apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return sight{}, testpods.Fault(err, "watching the probe %s/%s", p.Namespace, p.Name)
		}
		pod := w.newest(job)
		if seen, over := look(pod, known); over {
			return seen, nil
		}
		if known = pod; pod != nil && !reads {
			if _, reads = testpods.StartedAt(pod, container); reads {
				end.Reset(p.Settings.Deadline)
			}
		}
		select {
		case <-ctx.Done():
			return sight{}, incident.Faultf(incident.TimedOut, context.Cause(ctx), "waiting for the probe %s/%s", p.Namespace, p.Name)
		case <-w.Changed:
		case <-beat.C:
			h.beat(ctx, "waiting for the probe of storage")
		case <-end.C:
			return h.outOfTime(ctx, p, w, pod, reads)
		}
	}
}

// look says whether there is nothing left to wait for. Known is the pod as it was
// before.
func look(pod, known *corev1.Pod) (sight, bool) {
	switch {
	case pod == nil && known != nil:
		return sight{trouble: "its pod was deleted by somebody else while it ran"}, true
	case pod == nil:
		return sight{}, false
	}
	if why := testpods.Hopeless(pod, container); why != "" {
		return sight{pod: pod, trouble: why}, true
	}
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return sight{pod: pod}, ended || exited(pod)
}

// exited says whether the program has ended; others in its pod, which an
// admission webhook put there, may go on.
func exited(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name == container && c.State.Terminated != nil
	})
}

// outOfTime is what a deadline means: an answer when the API server told us of
// the pod, an error when it told us nothing.
func (h *Hands) outOfTime(ctx context.Context, p steps.RunIOProbeParams, w *watcher, pod *corev1.Pod, reads bool) (sight, error) {
	switch {
	case reads:
		return sight{pod: pod, late: true}, nil
	case !w.Synced():
		err := w.Err()
		if err == nil {
			err = errors.New("no answer")
		}
		return sight{}, testpods.Fault(err, "watching the probe %s/%s", p.Namespace, p.Name)
	case pod == nil:
		return sight{trouble: fmt.Sprintf("no pod was created within %s%s", p.Settings.StartDeadline, testpods.LastWarning(ctx, h.Kube, p.Namespace, "Job", p.Name))}, nil
	}
	return sight{pod: pod, trouble: fmt.Sprintf("its pod did not start within %s: %s%s",
		p.Settings.StartDeadline, testpods.WhyPending(pod), testpods.LastWarning(ctx, h.Kube, p.Namespace, "Pod", pod.Name))}, nil
}
