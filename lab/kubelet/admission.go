package kubelet

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// gpuResource is the only device that is counted out: the scheduler counts
// everything else, and pods that go past it are rare.
const gpuResource = corev1.ResourceName("nvidia.com/gpu")

// gpus is how many GPUs a pod holds: its containers together, or the greediest
// of its init containers, which run alone.
func gpus(spec *corev1.PodSpec) int64 {
	var sum, initial int64
	for _, c := range spec.Containers {
		sum += requested(c)
	}
	for _, c := range spec.InitContainers {
		initial = max(initial, requested(c))
	}
	return max(sum, initial)
}

// requested reads the limit, to which the request of a device must be equal.
func requested(c corev1.Container) int64 {
	quantity := c.Resources.Limits[gpuResource]
	return quantity.Value()
}

// admit says why a pod cannot run on its node, "" when it can: a pod that
// names its node itself was never counted by the scheduler. Callers hold the
// mutex.
func (k *Kubelet) admit(spec *corev1.Pod) string {
	wanted := gpus(&spec.Spec)
	if wanted == 0 {
		return ""
	}
	var used int64
	for _, p := range k.pods {
		if p.spec.Spec.NodeName == spec.Spec.NodeName && !p.over() {
			used += gpus(&p.spec.Spec)
		}
	}
	if used+wanted <= int64(k.topology.GPUs) {
		return ""
	}
	return fmt.Sprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
		gpuResource, wanted, used, k.topology.GPUs)
}
