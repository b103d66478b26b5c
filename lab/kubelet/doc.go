// Package kubelet simulates the kubelets of GPU nodes: Node objects with
// leases and capacity, the life of the pods that the real scheduler binds to
// them, and the part of the kubelet's HTTPS API that serves container logs
// through the real API server.
//
// No container runs. A Runner decides what each prints and how it ends; what
// the API shows of that (phases, container states, restart counts, back-off,
// last termination, events) follows the real kubelet. Every node carries the
// annotation gpumedic.io/simulated, so that nobody takes it for a machine.
//
// Back-off is shortened to seconds, logs are kept in memory per container and
// attempt, current and previous, and cut at a bound.
package kubelet
