package testpods

import (
	"context"
	"errors"
	"slices"
	"sync"

	"k8s.io/client-go/tools/cache"
)

// Watcher keeps what a test consists of as the API server last told it. Its
// informers resume an expired watch and list again where they must.
type Watcher struct {
	// Changed holds at most one wake-up.
	Changed   chan struct{}
	informers []cache.SharedIndexInformer
	stop      context.CancelFunc
	running   sync.WaitGroup

	mu      sync.Mutex
	lastErr error
}

// Watch starts informers that did not run yet; whoever starts them calls Close.
func Watch(ctx context.Context, informers ...cache.SharedIndexInformer) (*Watcher, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &Watcher{Changed: make(chan struct{}, 1), informers: informers, stop: stop}
	for _, informer := range informers {
		if err := w.hear(informer); err != nil {
			stop()
			return nil, err
		}
		w.running.Go(func() { informer.RunWithContext(ctx) })
	}
	return w, nil
}

func (w *Watcher) hear(informer cache.SharedIndexInformer) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.wake() },
		UpdateFunc: func(any, any) { w.wake() },
		DeleteFunc: func(any) { w.wake() },
	})
	return errors.Join(err, informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		w.mu.Lock()
		w.lastErr = err
		w.mu.Unlock()
		w.wake()
	}))
}

func (w *Watcher) wake() {
	select {
	case w.Changed <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// Close stops the informers and waits until they have ended.
func (w *Watcher) Close() {
	w.stop()
	w.running.Wait()
}

// Synced says whether every informer has heard of all there is.
func (w *Watcher) Synced() bool {
	return !slices.ContainsFunc(w.informers, func(i cache.SharedIndexInformer) bool { return !i.HasSynced() })
}

// Err is the last error of a watch or a list, nil when there was none.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastErr
}
