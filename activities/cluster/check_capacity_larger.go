package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
)

// productSelectors are the node labels by which pods choose a GPU product. The
// ones that a move changes are left out when room is looked for.
var productSelectors = []string{gpuProduct, gpuMemory, gpuCount, "nvidia.com/gpu.family", "cloud.google.com/gke-accelerator",
	"karpenter.k8s.aws/instance-gpu-name", corev1.LabelInstanceTypeStable}

// largerFree looks for the smallest GPU product that is larger than the ranks'
// own and has room for all of them at once.
func (s scene) largerFree(f floor) incident.Finding {
	finding := s.finding(incident.LargerGPUFree)
	if len(s.pods) == 0 {
		finding.Why = s.nothing()
		return finding
	}
	if podGPUs(s.pods[0].Spec) == 0 {
		finding.Why = "the ranks request no GPUs by name, so what they would need elsewhere is not known"
		return finding
	}
	product, have, why := s.presentGPU(f)
	if have == 0 {
		finding.Why = why
		return finding
	}
	larger := f.largerThan(have, s.pods[0])
	if len(larger) == 0 {
		finding.State, finding.Why = incident.No, fmt.Sprintf("no node that the ranks may go to has GPUs with more memory than %s (%s)", product, gibibytes(have))
		return finding
	}
	var full []string
	for _, group := range larger {
		moving := s.movingTo(group.product)
		seats := f.seat(moving, group.nodes, most(moving), apart(&moving[0]))
		if seats.left == 0 {
			finding.State, finding.Value = incident.Yes, group.product
			finding.Why = fmt.Sprintf("all %d ranks find room on %d nodes with %s (%s per GPU, now %s with %s)", len(moving), len(seats.taken),
				group.product, gibibytes(group.memory), product, gibibytes(have))
			return finding
		}
		full = append(full, fmt.Sprintf("%s (%s) for %d of %d ranks", group.product, gibibytes(group.memory), len(moving)-seats.left, len(moving)))
	}
	finding.State, finding.Why = incident.No, "larger GPUs have no room for all ranks at once: "+incident.Some(full)
	return finding
}

// presentGPU is the product with the least memory on which ranks are; memory 0
// with the reason when it cannot be told.
func (s scene) presentGPU(f floor) (product string, memory int, why string) {
	names := rankNodes(s.now)
	if len(names) == 0 {
		for _, node := range s.now.Nodes { // where they were
			names = append(names, node.Name)
		}
	}
	why = "on which nodes the ranks are is not known"
	for _, node := range f.nodes {
		if !slices.Contains(names, node.Name) {
			continue
		}
		have := memoryOf(node)
		if have == 0 {
			return "", 0, fmt.Sprintf("how much memory a GPU of node %s has is told neither by the label %s nor by its product %q", node.Name, gpuMemory, node.Labels[gpuProduct])
		}
		if memory == 0 || have < memory {
			product, memory = orWord(node.Labels[gpuProduct], "an unknown product"), have
		}
	}
	return product, memory, why
}

// productMemory finds the size in a product's name: "NVIDIA-H100-80GB-HBM3".
var productMemory = regexp.MustCompile(`(?i)(?:^|-)(\d+)GB(?:-|$)`)

// namelessMemory is the memory, in GB, of products whose names do not tell it
// and which come in one size (NVIDIA's data sheets).
var namelessMemory = map[string]int{
	"NVIDIA-B200": 180, "NVIDIA-H200": 141, "NVIDIA-H200-NVL": 141, "NVIDIA-H100-NVL": 94, "NVIDIA-H100-PCIe": 80,
	"NVIDIA-L40S": 48, "NVIDIA-L40": 48, "NVIDIA-A40": 48, "NVIDIA-L4": 24, "NVIDIA-A10": 24, "NVIDIA-A10G": 24, "NVIDIA-A30": 24, "Tesla-T4": 16,
}

// memoryOf is the memory of one GPU of a node in MiB; 0 when it is not told. A
// name gives it in GB, which is what is sold rather than what is usable.
func memoryOf(node corev1.Node) int {
	if memory, err := strconv.Atoi(node.Labels[gpuMemory]); err == nil && memory > 0 {
		return memory
	}
	product := node.Labels[gpuProduct]
	gigabytes := namelessMemory[product]
	if found := productMemory.FindStringSubmatch(product); found != nil {
		gigabytes, _ = strconv.Atoi(found[1]) // digits; too many of them are no size
	}
	return gigabytes * 1000 * 1000 * 1000 / (1 << 20)
}

// gibibytes writes MiB for people.
func gibibytes(mebibytes int) string { return fmt.Sprintf("%.0f GiB", float64(mebibytes)/1024) }

// gpuGroup is the nodes with one product.
type gpuGroup struct {
	product string
	memory  int
	nodes   []corev1.Node
}

// leastGain is how much more memory counts as larger: labels and names of the
// same size differ by some percent.
const leastGain = 1.1

// largerThan groups the nodes with larger GPUs that a pod may go to, the
// smallest first. Nodes that hand out slices are left out: what their label
// says of memory is not what a pod gets.
func (f floor) largerThan(memory int, pod corev1.Pod) []gpuGroup {
	groups := map[string]*gpuGroup{}
	for _, node := range f.nodes {
		product, have := node.Labels[gpuProduct], memoryOf(node)
		moved := moved(pod, product)
		if product == "" || float64(have) < leastGain*float64(memory) || slicing(node) != "" || !mayTake(&moved, &node) {
			continue
		}
		if groups[product] == nil {
			groups[product] = &gpuGroup{product: product, memory: have}
		}
		groups[product].nodes = append(groups[product].nodes, node)
	}
	found := slices.Collect(maps.Values(groups))
	slices.SortFunc(found, func(a, b *gpuGroup) int {
		return cmp.Or(cmp.Compare(a.memory, b.memory), strings.Compare(a.product, b.product))
	})
	var sorted []gpuGroup
	for _, group := range found {
		sorted = append(sorted, *group)
	}
	return sorted
}

// moved is a pod as the move would make it: its selector names the product
// instead of what it named. Required affinities stay: the move does not touch
// them.
func moved(pod corev1.Pod, product string) corev1.Pod {
	selector := maps.Clone(pod.Spec.NodeSelector)
	if selector == nil {
		selector = map[string]string{}
	}
	for _, key := range productSelectors {
		delete(selector, key)
	}
	selector[gpuProduct] = product
	pod.Spec.NodeSelector = selector
	return pod
}

// movingTo are all ranks as they would be; those without a pod now are taken
// to be like the others.
func (s scene) movingTo(product string) []corev1.Pod {
	var pods []corev1.Pod
	for _, pod := range s.pods {
		pods = append(pods, moved(pod, product))
	}
	for len(pods) < s.now.WantedRanks {
		like := pods[0]
		like.Name = fmt.Sprintf("missing-%d", len(pods))
		pods = append(pods, like)
	}
	return pods
}

// most is how many ranks may share a node.
func most(pods []corev1.Pod) int {
	if apart(&pods[0]) {
		return 1
	}
	return len(pods)
}
