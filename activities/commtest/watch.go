package commtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// beatEvery is far under any heartbeat time-out we would set.
	beatEvery = 2 * time.Second
	// afterFailure is how long the other ranks may go on once one has failed,
	// to say what they saw.
	afterFailure = 30 * time.Second
)

// watcher keeps one test's Job and pods as the API server last told them.
type watcher struct {
	*testpods.Watcher
	jobs, pods cache.SharedIndexInformer
}

// watch starts the watcher; its owner calls Close.
func (h *Hands) watch(ctx context.Context, m machine, namespace, name string) (*watcher, error) {
	jobs := m.informer(h, namespace, name)
	pods := coreinformers.NewFilteredPodInformer(h.Kube, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.LabelSelector = m.selector(name).String()
	})
	started, err := testpods.Watch(ctx, jobs, pods)
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "preparing the watch of test %s/%s", namespace, name)
	}
	return &watcher{Watcher: started, jobs: jobs, pods: pods}, nil
}

// job returns nil when the watch has not seen it.
func (w *watcher) job(namespace, name string) metav1.Object {
	item, found, err := w.jobs.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !found {
		return nil
	}
	return item.(metav1.Object)
}

func (w *watcher) list() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, item := range w.pods.GetStore().List() {
		pods = append(pods, item.(*corev1.Pod))
	}
	return pods
}

// wait watches until the test has ended, cannot start, or ran out of time.
func (h *Hands) wait(ctx context.Context, p steps.RunCommTestParams, m machine, job metav1.Object) (sight, error) {
	w, err := h.watch(ctx, m, p.Namespace, p.Name)
	if err != nil {
		return sight{}, err
	}
	defer w.Close()
	clock := newClocks(p.Settings)
	defer clock.stop()
	for {
		seen, err := h.look(ctx, p, m, w, job)
		if err != nil {
			return sight{}, err
		}
		clock.note(seen)
		if seen.over {
			return seen, nil
		}
		select {
		case <-ctx.Done():
			return sight{}, incident.Faultf(incident.TimedOut, context.Cause(ctx), "waiting for test job %s/%s", p.Namespace, p.Name)
		case <-w.Changed:
		case <-clock.beat.C:
			h.beat(ctx, seen.String())
		case <-clock.start.C:
			return h.startOver(ctx, p, m, w, seen)
		case <-clock.end.C:
			seen.timedOut = true
			return seen, nil
		}
	}
}

// look reads the watcher's stores; before they are filled it only asks whether
// that can ever happen.
func (h *Hands) look(ctx context.Context, p steps.RunCommTestParams, m machine, w *watcher, job metav1.Object) (sight, error) {
	if !w.Synced() {
		if err := w.Err(); apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return sight{}, testpods.Fault(err, "watching test %s/%s", p.Namespace, p.Name)
		}
		return sight{ranks: make([]*corev1.Pod, len(p.Group.Nodes))}, nil
	}
	current := w.job(p.Namespace, p.Name)
	if current == nil {
		// A list from the API server's cache may be older than our creation.
		found, err := m.get(ctx, h, p.Namespace, p.Name)
		if err != nil && !apierrors.IsNotFound(err) {
			return sight{}, testpods.Fault(err, "reading test job %s/%s", p.Namespace, p.Name)
		}
		if err == nil {
			current = found
		}
	}
	if current == nil || current.GetUID() != job.GetUID() {
		return sight{over: true, trouble: "the test's job was deleted by somebody else while it ran"}, nil
	}
	return m.observe(p, current, w.list()), nil
}

// startOver is what the start deadline means: an outcome when the API server
// told us who is missing, an error when it told us nothing.
func (h *Hands) startOver(ctx context.Context, p steps.RunCommTestParams, m machine, w *watcher, seen sight) (sight, error) {
	if !w.Synced() {
		err := w.Err()
		if err == nil {
			err = errors.New("no answer")
		}
		return sight{}, testpods.Fault(err, "watching test %s/%s", p.Namespace, p.Name)
	}
	seen.over = true
	seen.trouble = fmt.Sprintf("%d of %d pods did not start within %s: %s",
		len(seen.ranks)-seen.started, len(seen.ranks), p.Settings.StartDeadline, h.whyNotStarted(ctx, p, m.kind(), seen))
	return seen, nil
}
