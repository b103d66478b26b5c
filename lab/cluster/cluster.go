package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
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
	// Log is told when a part ends that should run; nil drops it.
	Log hclog.Logger
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
	lock      *os.File
}

const (
	// startWithin bounds the whole start-up on a slow machine.
	startWithin = 2 * time.Minute
	// portTries is how often other ports are tried when somebody took one
	// between our looking and our listening.
	portTries = 3
)

// Start brings everything up and returns when the API server is ready and
// the controllers run. ctx bounds the start only.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := opts.complete(); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		c, err := startOnce(ctx, opts)
		if !errors.Is(err, errPortTaken) || try == portTries {
			return c, err
		}
		opts.Progress("a port was taken meanwhile, trying others")
	}
}

func startOnce(ctx context.Context, opts Options) (*Cluster, error) {
	c, err := prepare(opts)
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx, opts); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// complete checks what must be there and fills in what may be left out.
func (o *Options) complete() error {
	if o.Binary == "" {
		o.Binary = os.Getenv("GPUMEDIC_CONTROLPLANE")
	}
	if o.Binary == "" {
		return errors.New("no control plane: build it with `make controlplane` and name it in GPUMEDIC_CONTROLPLANE")
	}
	if _, err := os.Stat(o.Binary); err != nil {
		return fmt.Errorf("looking for the control plane: %w; build it with `make controlplane`", err)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return fmt.Errorf("resolving %s: %w", o.Dir, err)
	}
	return nil
}

// prepare takes the folder and fills it with what the processes read.
func prepare(opts Options) (*Cluster, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the lab's folder: %w", err)
	}
	lock, err := lockFolder(opts.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: opts.Dir, log: opts.Log, lock: lock}
	if err := c.fill(); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// fill replaces what an earlier start may have left.
func (c *Cluster) fill() error {
	if err := os.RemoveAll(filepath.Join(c.dir, "etcd")); err != nil {
		return fmt.Errorf("emptying etcd: %w", err)
	}
	var err error
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	return c.authority.writeKeys(c.dir)
}

// lockFolder keeps two labs from sharing a folder; the kernel frees it when
// its holder dies.
func lockFolder(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("taking the lab's folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("taking the lab's folder %s: another lab runs in it: %w", dir, err)
	}
	return lock, nil
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
	p, err := run(binary, c.dir, c.log, name, flags...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// Stop ends all processes, the last started first, and waits for them. It may
// be called again.
func (c *Cluster) Stop() {
	for _, p := range c.processes {
		p.stopping.Store(true) // what falls with its neighbour is no news
	}
	for _, p := range slices.Backward(c.processes) {
		p.stop()
	}
	c.processes = nil
	c.lock.Close()
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
