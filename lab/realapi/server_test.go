package realapi

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"gpumedic/activities/ioprobe"
	"gpumedic/lab/cluster"
	"gpumedic/lab/kubelet"
	"gpumedic/steps"
)

// control is the control plane that all tests of the package share.
var control *cluster.Cluster

func TestMain(m *testing.M) {
	// The tests wait for controllers more than they compute: as many as cores at
	// once would leave the cores idle. A -parallel on the command line wins.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	code, err := withControlPlane(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withControlPlane starts a control plane and simulated nodes around the tests.
func withControlPlane(tests func() int) (code int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "gpumedic-realapi")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if control, err = cluster.Start(ctx, cluster.Options{Dir: dir, Binary: controlPlane()}); err != nil {
		return 1, err
	}
	defer control.Stop()
	certificate, err := control.Certificate()
	if err != nil {
		return 1, err
	}
	nodes, err := kubelet.Start(ctx, kubelet.Options{Config: control.RESTConfig(), Topology: kubelet.DefaultTopology(), Runner: training{}, Certificate: certificate})
	if err != nil {
		return 1, err
	}
	defer nodes.Stop()
	return tests(), nil
}

// controlPlane is the binary that `make lab` builds, or that the environment names.
func controlPlane() string {
	if path := os.Getenv("GPUMEDIC_CONTROLPLANE"); path != "" {
		return path
	}
	return filepath.Join("..", "..", "bin", "gpumedic-controlplane")
}

// adminConfig has every right, and no limit on its rate.
func adminConfig(*testing.T) *rest.Config {
	config := control.RESTConfig()
	config.QPS = -1
	return config
}

// training is what the tests' containers run. A trainer says which transport
// it uses, by the RDMA device it was given, and goes on with its steps. A probe
// of storage reads for real.
type training struct{}

func (training) Run(ctx context.Context, c kubelet.Container) kubelet.Exit {
	if c.Pod.Labels[ioprobe.Label] == "true" {
		return readForReal(ctx, c)
	}
	if c.Spec.Name == steps.CacheContainer || c.Pod.Labels[steps.CopyLabel] == "true" {
		return copied(c)
	}
	if c.Spec.Image != "lab.gpumedic.io/train:1" {
		<-ctx.Done()
		return kubelet.Exit{Code: 143}
	}
	net := "Socket"
	if amount := c.Spec.Resources.Limits[rdmaResource]; amount.Value() > 0 {
		net = "IB"
	}
	fmt.Fprintf(c.Out, "%s:7:9 [0] NCCL INFO Using network %s\n", c.Pod.Name, net)
	for step := 1; ; step++ {
		select {
		case <-ctx.Done():
			return kubelet.Exit{Code: 143}
		case <-time.After(200 * time.Millisecond):
			fmt.Fprintf(c.Out, "step %d/100000 loss 2.1034 step_time 0.200s tokens/s 98304\n", step)
		}
	}
}
