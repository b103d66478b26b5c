// Package cluster starts a real Kubernetes control plane as child processes on
// loopback: etcd, kube-apiserver with RBAC on, kube-controller-manager and
// kube-scheduler, all from one multi-call binary (lab/controlplane). There
// are no nodes; package kubelet simulates them.
//
// Nothing survives a stop: each start begins with an empty etcd. Ports are
// free ones, certificates are made anew.
package cluster
