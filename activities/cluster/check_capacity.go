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
	"gpumedic/steps"
)

// manyNodesNamed is how many nodes get a finding of their own.
const manyNodesNamed = 16

// CheckCapacity answers G3 and G4 for the whole cluster: nodes that expose
// fewer GPUs than they have, GPUs that are free and whether a rank finds enough
// of them on one node, and whether all ranks find room on larger GPUs. It reads
// only and may be repeated.
func (h *Hands) CheckCapacity(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	questions := []string{incident.GPUsUnexposed, incident.GPUsFragmented, incident.LargerGPUFree}
	return h.answer(ctx, steps.CheckCapacity, params, questions, func(ctx context.Context, s scene) []incident.Finding {
		f, err := h.readFloor(ctx)
		if err != nil {
			return s.unread(err, questions...)
		}
		f.without(nil) // counts what is asked
		findings := append(s.unexposed(f), s.fragmented(f))
		f.without(s.found.pods) // the ranks leave before they go elsewhere
		return append(findings, s.largerFree(f))
	})
}

// unexposed names nodes that carry a GPU label and offer fewer GPUs than they
// have, or none.
func (s scene) unexposed(f floor) []incident.Finding {
	var findings []incident.Finding
	seen := 0
	for _, node := range f.nodes {
		if !hasGPULabel(node) {
			continue
		}
		seen++
		have, offered := gpusThere(node), gpusOf(node.Status.Allocatable)
		if offered >= max(1, have) {
			continue
		}
		finding := s.finding(incident.GPUsUnexposed)
		finding.State, finding.Subject, finding.Value = incident.Yes, "node/"+node.Name, fmt.Sprintf("%d of %d", offered, have)
		finding.Why = fmt.Sprintf("node %s is labelled as a GPU node (%s) and offers %d of %d GPUs", node.Name, orWord(node.Labels[gpuProduct], "no product"), offered, have)
		if have == 0 {
			finding.Why = fmt.Sprintf("node %s is labelled as a GPU node (%s) and exposes none: its device plugin has not registered", node.Name, orWord(node.Labels[gpuProduct], "no product"))
		}
		if slices.Contains(nodeNames(s.now), node.Name) { // no other node is in the bundle
			finding.Evidence = []string{objectFile("Node", node.Name)}
		}
		findings = append(findings, finding)
	}
	if more := len(findings) - manyNodesNamed; more > 0 {
		findings = findings[:manyNodesNamed]
		findings[manyNodesNamed-1].Why += fmt.Sprintf("; %d more nodes do so", more)
	}
	if findings != nil {
		return findings
	}
	finding := s.finding(incident.GPUsUnexposed)
	finding.State, finding.Why = incident.No, fmt.Sprintf("all %d GPU nodes of the cluster offer the GPUs that they have", seen)
	if seen == 0 {
		finding.State, finding.Why = incident.Unknown, "no node of the cluster carries a label of GPUs"
	}
	return []incident.Finding{finding}
}

// gpuLabels mark a node as one with GPUs: GPU feature discovery's, and the
// clouds' own for nodes whose driver is not up yet.
var gpuLabels = []string{gpuPresent, gpuProduct, gpuCount, "cloud.google.com/gke-accelerator", "k8s.amazonaws.com/accelerator", "karpenter.k8s.aws/instance-gpu-count"}

func hasGPULabel(node corev1.Node) bool {
	return labelOf(node, gpuLabels) != "" && node.Labels[gpuPresent] != "false"
}

// gpusThere is how many GPUs a node has as its kubelet or its labels count
// them; the labels count whole GPUs, of which there are no more than slices.
func gpusThere(node corev1.Node) int {
	counted, _ := strconv.Atoi(node.Labels[gpuCount]) // not a number: not told
	return max(gpusOf(node.Status.Capacity), counted)
}

// usableBy are the nodes that the scheduler would consider for a pod.
func (f floor) usableBy(pod *corev1.Pod) []corev1.Node {
	return slices.DeleteFunc(slices.Clone(f.nodes), func(node corev1.Node) bool {
		return gpusOf(node.Status.Allocatable) == 0 || !mayTake(pod, &node)
	})
}

// free is how many GPUs of a node nobody asks for.
func (f floor) free(node corev1.Node) int {
	return max(0, gpusOf(node.Status.Allocatable)-gpusOf(f.asked[node.Name]))
}

// fragmented: enough GPUs for a rank are free, and no node has them together.
func (s scene) fragmented(f floor) incident.Finding {
	finding := s.finding(incident.GPUsFragmented)
	if len(s.pods) == 0 {
		finding.Why = s.nothing()
		return finding
	}
	pod := s.pods[0]
	wanted := podGPUs(pod.Spec)
	if wanted == 0 {
		finding.Why = "the ranks request no GPUs by name"
		return finding
	}
	total, most, products := 0, 0, map[string]int{}
	for _, node := range f.usableBy(&pod) {
		free := f.free(node)
		total, most = total+free, max(most, free)
		products[orWord(node.Labels[gpuProduct], "an unknown product")] += free
	}
	finding.State, finding.Value = incident.No, fmt.Sprintf("%d free, at most %d on one node", total, most)
	finding.Why = fmt.Sprintf("%s; a rank needs %d: free are %s", finding.Value, wanted, productWords(products))
	if total >= wanted && most < wanted {
		finding.State = incident.Yes
		finding.Why = fmt.Sprintf("%d GPUs are free where a rank may go, but at most %d on one node, and a rank needs %d", total, most, wanted)
	}
	return finding
}

// productWords writes "12 of NVIDIA-H200, 3 of NVIDIA-L4".
func productWords(count map[string]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		words = append(words, fmt.Sprintf("%d of %s", count[name], name))
	}
	if len(words) == 0 {
		return "none on any node that they may go to"
	}
	return strings.Join(words, ", ")
}
