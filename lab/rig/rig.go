package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gpumedic/deploy"
	"gpumedic/embedded"
	"gpumedic/lab/cluster"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
	"gpumedic/lab/prometheus"
	"gpumedic/lab/scenarios"
	"gpumedic/lab/slack"
)

// workerUser is the service account that deploy/rbac.yaml gives its roles to.
const workerUser = "system:serviceaccount:gpumedic:gpumedic-worker"

// Options of a rig.
type Options struct {
	// Dir holds everything the lab writes; Bin the built programs.
	Dir, Bin string
	// Nodes of the simulated cluster; 0 means the default topology.
	Topology kubelet.Topology
	Progress func(string)
	Log      hclog.Logger
}

// Rig is the running lab.
type Rig struct {
	Cluster  *cluster.Cluster
	Admin    kubernetes.Interface
	Model    *faults.Model
	Slack    *slack.Server
	Temporal *embedded.Server
	Client   client.Client
	Gate     *Gate
	Metrics  *prometheus.Server
	// Door is the front door's URL, Token what it wants to hear.
	Door, Token string
	// ConfigFile is what both programs run with.
	ConfigFile string

	opts   Options
	worker *program
	door   *program
	onStop []func()
}

// Start brings everything up. What was started is stopped when it fails.
func Start(ctx context.Context, opts Options) (*Rig, error) {
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	if opts.Topology.Nodes == 0 {
		opts.Topology = kubelet.DefaultTopology()
	}
	r := &Rig{opts: opts, Token: "lab-alertmanager-token"}
	for _, part := range []func(context.Context) error{r.startTemporal, r.startCluster, r.startNodes, r.startMetrics, r.startSlack, r.openGate, r.startPrograms} {
		if err := part(ctx); err != nil {
			r.Stop()
			return nil, err
		}
	}
	return r, nil
}

// Stop ends everything, the last started first. It may be called again.
func (r *Rig) Stop() {
	for i := len(r.onStop) - 1; i >= 0; i-- {
		r.onStop[i]()
	}
	r.onStop = nil
}

func (r *Rig) later(stop func()) { r.onStop = append(r.onStop, stop) }

func (r *Rig) startTemporal(ctx context.Context) error {
	r.opts.Progress("starting Temporal")
	file := filepath.Join(r.opts.Dir, "temporal", "temporal.db")
	if err := os.RemoveAll(filepath.Dir(file)); err != nil { // the cluster begins empty, so its incidents do too
		return fmt.Errorf("emptying Temporal's store: %w", err)
	}
	var err error
	if r.Temporal, err = embedded.Start(ctx, embedded.Options{File: file, UI: true, Log: r.opts.Log}); err != nil {
		return err
	}
	r.later(func() {
		if err := r.Temporal.Stop(); err != nil {
			r.opts.Log.Warn("Temporal did not stop cleanly", "error", err)
		}
	})
	r.Client, err = client.DialContext(ctx, client.Options{HostPort: r.Temporal.Address(), Namespace: r.Temporal.Namespace(), Logger: quietLog{r.opts.Log}})
	if err != nil {
		return fmt.Errorf("connecting to the lab's Temporal: %w", err)
	}
	r.later(r.Client.Close)
	return nil
}

// TemporalAway stops Temporal, does something meanwhile, and starts it again
// on the same file and port.
func (r *Rig) TemporalAway(ctx context.Context, meanwhile func()) error {
	_, text, err := net.SplitHostPort(r.Temporal.Address())
	if err != nil {
		return fmt.Errorf("reading Temporal's address: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("reading Temporal's port: %w", err)
	}
	if err := r.Temporal.Stop(); err != nil {
		return fmt.Errorf("stopping Temporal: %w", err)
	}
	meanwhile()
	back, err := embedded.Start(ctx, embedded.Options{File: filepath.Join(r.opts.Dir, "temporal", "temporal.db"), Port: port, UI: true, Log: r.opts.Log})
	if err != nil {
		return err
	}
	r.Temporal = back
	return nil
}

func (r *Rig) startCluster(ctx context.Context) error {
	var err error
	r.Cluster, err = cluster.Start(ctx, cluster.Options{
		Dir: filepath.Join(r.opts.Dir, "cluster"), Binary: filepath.Join(r.opts.Bin, "gpumedic-controlplane"),
		Log: r.opts.Log.Named("cluster"), Progress: r.opts.Progress,
	})
	if err != nil {
		return err
	}
	r.later(r.Cluster.Stop)
	r.Admin, err = kubernetes.NewForConfig(r.Cluster.RESTConfig())
	if err != nil {
		return fmt.Errorf("making the lab's client: %w", err)
	}
	namespace := fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", scenarios.Namespace)
	return errors.Join(r.Cluster.Apply(ctx, []byte(namespace)), r.Cluster.Apply(ctx, deploy.RBAC))
}

func (r *Rig) startNodes(ctx context.Context) error {
	r.opts.Progress(fmt.Sprintf("starting %d simulated GPU nodes", r.opts.Topology.Nodes))
	modelCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	model, err := faults.Open(modelCtx, r.Admin, faults.Options{Log: r.opts.Log.Named("faults")})
	if err != nil {
		cancel()
		return fmt.Errorf("opening the fault model: %w", err)
	}
	r.Model = model
	r.later(func() { cancel(); model.Close() })
	certificate, err := r.Cluster.Certificate()
	if err != nil {
		return err
	}
	// Many ranks that fail and start again are most of what a control plane on
	// one machine has to do, so on larger clusters they wait as long as on real
	// ones.
	backOff := kubelet.QuickBackOff
	if r.opts.Topology.Nodes > kubelet.DefaultTopology().Nodes {
		backOff = kubelet.RealBackOff
	}
	nodes, err := kubelet.Start(ctx, kubelet.Options{
		Config: r.Cluster.RESTConfig(), Topology: r.opts.Topology, BackOff: backOff, Runner: model, Certificate: certificate, Log: r.opts.Log.Named("kubelet"),
	})
	if err != nil {
		return err
	}
	r.later(nodes.Stop)
	return nil
}

func (r *Rig) startSlack(ctx context.Context) error {
	r.opts.Progress("starting the stand-in for Slack")
	var err error
	if r.Slack, err = slack.New(slack.Options{Log: r.opts.Log.Named("slack")}); err != nil {
		return err
	}
	if err := r.Slack.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	r.later(r.Slack.Stop)
	return nil
}

// openGate lets the worker in as the service account that the roles are for.
func (r *Rig) openGate(context.Context) error {
	kubeconfig, err := r.Cluster.KubeconfigFor(workerUser, "system:serviceaccounts", "system:serviceaccounts:gpumedic")
	if err != nil {
		return err
	}
	way, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the worker's kubeconfig: %w", err)
	}
	if r.Gate, err = NewGate(way); err != nil {
		return err
	}
	r.later(func() {
		if err := r.Gate.Close(); err != nil {
			r.opts.Log.Debug("the gate did not close cleanly", "error", err)
		}
	})
	return nil
}

// quietLog is the SDK's logger without its remarks.
type quietLog struct{ hclog.Logger }

var _ sdklog.Logger = quietLog{}
