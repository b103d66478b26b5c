package cluster

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"gpumedic/incident"
)

// settle is how long after a pod event we wait for more of them, so that a
// thousand pods that stop together cost a few questions.
const settle = 150 * time.Millisecond

// whenPodsChange asks at once, after pods of the namespace changed, and at the
// latest every tick, until ask is done, fails for good or ctx ends, whose
// error it then returns. An answer that could not be had for now is asked for
// again. It heartbeats, and leaves no watch behind.
func (h *Hands) whenPodsChange(ctx context.Context, namespace string, tick time.Duration, ask func(context.Context) (bool, error)) error {
	events := h.watchPods(ctx, namespace)
	defer func() { events.Stop() }()
	for {
		done, err := ask(ctx)
		if ctx.Err() != nil && !done {
			return ctx.Err()
		}
		if done || err != nil && !incident.KindOf(err).Retryable() {
			return err
		}
		if err != nil {
			h.Log.Warn("asking again for the pods", "namespace", namespace, "error", err)
		}
		h.progress(ctx)
		open, err := pause(ctx, events.ResultChan(), tick)
		if err != nil {
			return err
		}
		if !open {
			events.Stop()
			events = h.watchPods(ctx, namespace)
		}
	}
}

// watchPods opens a watch. Where that is not possible it returns one that
// stays silent, and the tick alone drives the questions.
func (h *Hands) watchPods(ctx context.Context, namespace string) watch.Interface {
	events, err := h.Kube.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err == nil {
		return events
	}
	h.Log.Warn("pods cannot be watched and are polled", "namespace", namespace, "error", err)
	return watch.NewFake()
}

// pause waits for an event and its followers, or for the tick; open false
// means that the watch ended.
func pause(ctx context.Context, events <-chan watch.Event, tick time.Duration) (open bool, err error) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return true, ctx.Err()
	case <-timer.C:
		return true, nil
	case event, open := <-events:
		if !open || event.Type == watch.Error {
			return false, wait(ctx, settle)
		}
	}
	calm := time.NewTimer(settle)
	defer calm.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-calm.C:
			return true, nil
		case event, open := <-events:
			if !open || event.Type == watch.Error {
				return false, wait(ctx, settle)
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
