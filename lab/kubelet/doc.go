// Package kubelet simulates the kubelets of GPU nodes: Node objects with
// leases and capacity, the life of the pods that the real scheduler binds to
// them, and the part of the kubelet's HTTPS API that serves container logs
// through the real API server.
//
// No container runs. A Runner decides what each prints and how it ends; what
// the API shows of that (phases, container states, restart counts, back-off,
// last termination, events, admission by GPUs) follows the real kubelet. Every
// node carries the annotation gpumedic.io/simulated, so that nobody takes it
// for a machine.
//
// It differs where the lab needs no more: back-off is seconds unless told
// otherwise and begins with the first restart, logs are kept in memory for the current and the previous
// attempt and cut at a bound, volumes are mounted or not as a Mounter says, and
// there are no probes, lifecycle hooks or restartable init containers. A grace period is not cut short by a kill,
// because a Runner ends when it is told to.
package kubelet
