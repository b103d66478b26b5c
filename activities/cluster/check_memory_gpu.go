package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// Labels that GPU feature discovery puts on nodes (k8s-device-plugin v0.17).
const (
	gpuProduct  = "nvidia.com/gpu.product"
	gpuMemory   = "nvidia.com/gpu.memory" // MiB of one GPU
	gpuReplicas = "nvidia.com/gpu.replicas"
	gpuSharing  = "nvidia.com/gpu.sharing-strategy"
	gpuPresent  = "nvidia.com/gpu.present"
	gpuCount    = "nvidia.com/gpu.count"
)

// sliced: the ranks request slices, or their nodes hand out GPUs in slices.
func (s scene) sliced(ctx context.Context) incident.Finding {
	finding := s.finding(incident.GPUSliced)
	if len(s.pods) == 0 {
		finding.Why = s.nothing()
		return finding
	}
	count, claims := map[string]int{}, 0
	for _, pod := range s.pods {
		for _, name := range sliceResources(pod) {
			count[name]++
		}
		if podGPUs(pod.Spec) == 0 && len(pod.Spec.ResourceClaims) > 0 {
			claims++
		}
	}
	if len(count) > 0 {
		names := slices.Sorted(maps.Keys(count))
		finding.State, finding.Value, finding.Evidence = incident.Yes, strings.Join(names, ", "), s.saw(s.pods[0])
		finding.Why = fmt.Sprintf("%s request %s, a slice of a GPU whose memory is a part of it", s.share(count[names[0]]), finding.Value)
		return finding
	}
	if claims > 0 {
		finding.Why = fmt.Sprintf("%d ranks get their GPUs by resource claims, which are not read", claims)
		return finding
	}
	return s.slicedNodes(ctx, finding)
}

// slicedNodes asks the nodes: with time-slicing and MPS a slice has the name
// of a whole GPU.
func (s scene) slicedNodes(ctx context.Context, finding incident.Finding) incident.Finding {
	names := rankNodes(s.now)
	if len(names) == 0 {
		finding.Why = "the ranks request whole GPUs by name and are on no node now, which could hand them out in slices"
		return finding
	}
	nodes, unread, err := s.hands.readNodes(ctx, names)
	if err != nil {
		finding.Why = err.Error()
		return finding
	}
	for _, name := range names {
		if how := slicing(nodes[name]); how != "" {
			finding.State, finding.Value, finding.Evidence = incident.Yes, how, []string{objectFile("Node", name)}
			finding.Why = fmt.Sprintf("node %s hands out its GPUs in slices (%s), so that other pods may hold memory of the ranks' GPUs", name, how)
			return finding
		}
	}
	if len(unread) > 0 {
		finding.Why = fmt.Sprintf("%d of %d nodes could not be read: %s", len(unread), len(names), firstReason(names, unread))
		return finding
	}
	finding.State, finding.Why = incident.No, fmt.Sprintf("the ranks have whole GPUs: none of their %d nodes hands them out in slices", len(names))
	return finding
}

// sliceResources lists the resources of slices that a pod requests.
func sliceResources(pod corev1.Pod) []string {
	names := map[string]bool{}
	for _, container := range pod.Spec.Containers {
		for _, list := range []corev1.ResourceList{container.Resources.Limits, container.Resources.Requests} {
			for name, amount := range list {
				if (strings.HasPrefix(string(name), "nvidia.com/mig-") || strings.HasSuffix(string(name), "/gpu.shared")) && !amount.IsZero() {
					names[string(name)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// slicing says how a node cuts its GPUs, "" when it hands out whole ones.
func slicing(node corev1.Node) string {
	product := node.Labels[gpuProduct]
	replicas, _ := strconv.Atoi(node.Labels[gpuReplicas]) // not a number: not told
	strategy := node.Labels[gpuSharing]
	switch {
	case strings.Contains(product, "-MIG-"):
		return product
	case replicas > 1:
		return fmt.Sprintf("%s, %d per GPU", orWord(strings.TrimPrefix(strategy, "none"), "shared"), replicas)
	case strategy == "time-slicing" || strategy == "mps":
		return strategy
	case strings.HasSuffix(product, "-SHARED"):
		return product
	}
	return ""
}

// allocatorVariables are what allocators of GPU memory read: PyTorch's (the
// newer name since 2.9), JAX's and TensorFlow's.
var allocatorVariables = []string{
	"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING",
	"XLA_PYTHON_CLIENT_ALLOCATOR", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE",
	"TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR",
}

// allocator lists the settings of all ranks.
func (s scene) allocator(ctx context.Context) incident.Finding {
	finding := s.finding(incident.AllocatorSet)
	if len(s.pods) == 0 {
		finding.Why = s.nothing()
		return finding
	}
	reader := s.hands.newEnvReader(s.now.Target.Namespace)
	count, unknown := map[string]int{}, ""
	for _, pod := range s.pods {
		env := reader.read(ctx, s.rankOf(pod), pod)
		for _, name := range allocatorVariables {
			switch value, set := env.get(name); {
			case set && value.unknown != "":
				unknown = orWord(unknown, fmt.Sprintf("%s is not known: %s", name, value.unknown))
			case set:
				count[name+"="+redact.String(value.value)]++
			}
		}
	}
	settings := slices.Sorted(maps.Keys(count))
	switch {
	case len(settings) > 0:
		finding.State, finding.Value, finding.Evidence = incident.Yes, strings.Join(settings, ", "), s.saw(s.pods[0])
		finding.Why = fmt.Sprintf("%s the environment sets %s", s.share(count[settings[0]]), incident.Some(settings))
	case unknown != "":
		finding.Why = unknown
	default:
		finding.State, finding.Why = incident.No, "no setting of an allocator is in the environment that the pods declare"
	}
	return finding
}
