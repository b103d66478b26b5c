package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// Options of the simulated kubelets. Config, Topology, Runner and Certificate
// are needed.
type Options struct {
	// Config is an administrator's way to the API server.
	Config   *rest.Config
	Topology Topology
	Runner   Runner
	// Log is for what people who mend the lab want to know; nil drops it.
	Log hclog.Logger
	// BackOff is that of restarts; its zero value is QuickBackOff.
	BackOff BackOff
	// Certificate serves the logs; the API server does not verify it unless it
	// is told to.
	Certificate tls.Certificate
}

// Kubelet plays the kubelets of all nodes.
type Kubelet struct {
	client   kubernetes.Interface
	runner   Runner
	log      hclog.Logger
	topology Topology
	backOff  BackOff
	events   record.EventBroadcaster
	watches  informers.SharedInformerFactory
	server   *http.Server
	port     int32

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mutex sync.Mutex
	pods  map[types.UID]*pod
	names map[string]types.UID // namespace/name of pods that run
	ips   map[string]int       // next address per node
}

// Start registers the nodes, waits until pods may be scheduled on them, and
// begins to run what is bound to them. ctx bounds the start only.
func Start(ctx context.Context, opts Options) (*Kubelet, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(opts.Config)
	config.QPS, config.Burst = 500, 1000
	config.UserAgent = "simulated-kubelet"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making the kubelets' client: %w", err)
	}
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	if opts.BackOff == (BackOff{}) {
		opts.BackOff = QuickBackOff
	}
	k := &Kubelet{
		client: client, runner: opts.Runner, backOff: opts.BackOff, log: opts.Log, topology: opts.Topology, events: newBroadcaster(context.WithoutCancel(ctx)),
		watches: informers.NewSharedInformerFactory(client, 0),
		pods:    map[types.UID]*pod{}, names: map[string]types.UID{}, ips: map[string]int{},
	}
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := k.serve(opts.Certificate); err != nil {
		k.cancel()
		return nil, err
	}
	k.events.StartRecordingToSink(newSink(client))
	for _, step := range []func(context.Context) error{k.register, k.watch, k.provision, k.schedulable} {
		if err := step(ctx); err != nil {
			k.Stop()
			return nil, err
		}
	}
	return k, nil
}

func (o *Options) check() error {
	if o.Config == nil || o.Runner == nil || len(o.Certificate.Certificate) == 0 {
		return errors.New("starting kubelets: want Config, Runner and Certificate")
	}
	return o.Topology.check()
}

// Stop ends all containers and waits for everything; pods stay in the API.
func (k *Kubelet) Stop() {
	k.cancel()
	k.watches.Shutdown() // first, since what it sees makes tasks
	k.events.Shutdown()
	_ = k.server.Close() // nothing is lost: logs are in memory
	k.tasks.Wait()
}

// serve opens the kubelets' HTTPS API on a free port of loopback.
func (k *Kubelet) serve(certificate tls.Certificate) error {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return fmt.Errorf("opening the kubelets' port: %w", err)
	}
	k.port = int32(listener.Addr().(*net.TCPAddr).Port)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	k.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: k.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Trace})}
	k.tasks.Go(func() {
		if err := k.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			k.log.Error("the kubelets' API ended", "error", err)
		}
	})
	return nil
}

// watch follows all pods; each bound pod gets a goroutine of its own.
func (k *Kubelet) watch(ctx context.Context) error {
	informer := k.watches.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.see(o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { k.see(o.(*corev1.Pod)) },
		DeleteFunc: func(o any) { k.gone(o) },
	})
	if err != nil {
		return fmt.Errorf("following pods: %w", err)
	}
	k.watches.Start(k.ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("following pods: %w", context.Cause(ctx))
	}
	return nil
}

// see starts a pod that was bound to one of our nodes, or stops one that is
// being deleted.
func (k *Kubelet) see(seen *corev1.Pod) {
	if seen.Spec.NodeName == "" {
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	p, known := k.pods[seen.UID]
	switch {
	case !known && seen.DeletionTimestamp != nil:
		k.tasks.Go(func() { k.remove(seen) }) // bound, but never started here
	case !known && seen.Status.Phase != corev1.PodSucceeded && seen.Status.Phase != corev1.PodFailed:
		k.begin(seen)
	case known && seen.DeletionTimestamp != nil:
		p.stop()
	}
}

// begin takes a pod in, or turns it away. Callers hold the mutex.
func (k *Kubelet) begin(seen *corev1.Pod) {
	reason := k.admit(seen)
	p := k.newPod(seen)
	k.pods[seen.UID] = p
	k.names[seen.Namespace+"/"+seen.Name] = seen.UID
	if reason != "" {
		k.tasks.Go(func() { p.reject(reason) })
		return
	}
	k.tasks.Go(p.live)
}

// gone forgets a pod; its logs go with it, as on a real node.
func (k *Kubelet) gone(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	seen, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if p := k.pods[seen.UID]; p != nil {
		p.cancel()
		delete(k.pods, seen.UID)
	}
	if k.names[seen.Namespace+"/"+seen.Name] == seen.UID {
		delete(k.names, seen.Namespace+"/"+seen.Name)
	}
}

// address gives the next pod IP of a node: each has a /24 of its own. Callers
// hold the mutex.
func (k *Kubelet) address(node string) string {
	var n int
	if _, err := fmt.Sscanf(node, nodePrefix+"%d", &n); err != nil {
		n = maxNodes // somebody else's node: one range for all of them
	}
	k.ips[node]++
	return fmt.Sprintf("10.%d.%d.%d", 244+n/256, n%256, 2+(k.ips[node]-1)%250)
}

// logOf finds the log of a container's current or previous attempt.
func (k *Kubelet) logOf(namespace, name, container string, previous bool) (*logFile, error) {
	k.mutex.Lock()
	p := k.pods[k.names[namespace+"/"+name]]
	k.mutex.Unlock()
	if p == nil {
		return nil, fmt.Errorf("pod %q in namespace %q %w", name, namespace, errNoPod)
	}
	return p.logOf(container, previous)
}

var errNoPod = errors.New("not found")

// newBroadcaster keeps client-go's complaints about lost events (their
// namespace was just deleted) off the terminal.
func newBroadcaster(ctx context.Context) record.EventBroadcaster {
	return record.NewBroadcaster(record.WithContext(klog.NewContext(ctx, logr.Discard())))
}

func newRecorder(events record.EventBroadcaster, node string) record.EventRecorder {
	return events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node})
}
