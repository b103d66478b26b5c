// Command gpumedic-controlplane is a real Kubernetes control plane in one
// file: etcd, kube-apiserver, kube-controller-manager and kube-scheduler of
// the versions in go.mod, chosen by the first argument. The lab starts one
// process for each of them. It is a module of its own because the libraries
// that Kubernetes pins are not those that gpumedic is built with.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// components maps the first argument to the component's own command.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": manager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	if os.Args[1] == "etcd" {
		etcdmain.Main(os.Args[1:])
		return
	}
	build, ok := components[os.Args[1]]
	if !ok {
		usage()
	}
	os.Args = os.Args[1:]
	os.Exit(cli.Run(build()))
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: gpumedic-controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler FLAGS...")
	os.Exit(2)
}
