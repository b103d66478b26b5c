package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options of a control plane.
type Options struct {
	// Dir holds logs, certificates, kubeconfigs and etcd's data.
	Dir string
	// Binary is the multi-call binary; "" means $GPUMEDIC_CONTROLPLANE.
	Binary string
	Log    hclog.Logger
	// Progress is told what is being waited for; nil drops it.
	Progress func(string)
}

// Cluster is a running control plane.
type Cluster struct {
	// Kubeconfig is the administrator's.
	Kubeconfig string

	dir       string
	url       string
	authority *authority
	admin     *rest.Config
	processes []*process
	log       hclog.Logger
}

// startWithin bounds the whole start-up on a slow machine.
const startWithin = 2 * time.Minute

// Start brings everything up and returns when the API server is ready and
// the controllers run.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	c, err := prepare(&opts)
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx, opts); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func prepare(opts *Options) (*Cluster, error) {
	if opts.Binary == "" {
		opts.Binary = os.Getenv("GPUMEDIC_CONTROLPLANE")
	}
	if _, err := os.Stat(opts.Binary); err != nil {
		return nil, fmt.Errorf("looking for the control plane's binary %q: build it with: make controlplane: %w", opts.Binary, err)
	}
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", opts.Dir, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
		return nil, fmt.Errorf("emptying etcd: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the lab's folder: %w", err)
	}
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	return &Cluster{dir: dir, authority: authority, log: opts.Log}, authority.writeKeys(dir)
}

// start runs the four processes in the order in which they need each other.
func (c *Cluster) start(ctx context.Context, opts Options) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	c.url = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	if err := c.writeAdmin(); err != nil {
		return err
	}
	opts.Progress("starting etcd and the API server")
	for _, part := range []struct {
		name  string
		flags []string
	}{{"etcd", etcdFlags(c.dir, ports[0], ports[1])}, {"kube-apiserver", apiserverFlags(c.dir, ports[0], ports[2])}} {
		if err := c.run(opts.Binary, part.name, part.flags); err != nil {
			return err
		}
	}
	if err := until(ctx, "the API server", c.processes, c.ready); err != nil {
		return err
	}
	opts.Progress("starting the controller-manager and the scheduler")
	if err := c.run(opts.Binary, "kube-controller-manager", managerFlags(c.dir, c.Kubeconfig)); err != nil {
		return err
	}
	if err := c.run(opts.Binary, "kube-scheduler", schedulerFlags(c.Kubeconfig)); err != nil {
		return err
	}
	return until(ctx, "the controllers", c.processes, c.controlled)
}

func (c *Cluster) run(binary, name string, flags []string) error {
	p, err := run(binary, c.dir, name, flags...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// Stop ends all processes, the last started first.
func (c *Cluster) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].stop()
	}
	c.processes = nil
}

// RESTConfig is the administrator's way to the API server.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.admin) }

// Certificate is one for servers on loopback, signed by the lab.
func (c *Cluster) Certificate() (tls.Certificate, error) {
	issued, err := c.authority.issue("lab")
	if err != nil {
		return tls.Certificate{}, err
	}
	return issued.tls()
}

// ready asks the API server whether it is.
func (c *Cluster) ready(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(2 * time.Second).Do(ctx).Error()
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer listener.Close() // held until all are known, so that none is found twice
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func (c *Cluster) writeAdmin() error {
	path, err := c.writeKubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	c.Kubeconfig = path
	c.admin, err = clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return fmt.Errorf("reading the administrator's kubeconfig: %w", err)
	}
	c.admin.QPS, c.admin.Burst = 200, 400
	return nil
}
