package cluster

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
)

const (
	// fewNodes is up to how many nodes are read one by one; more are listed,
	// which costs less than as many questions.
	fewNodes = 64
	// sideBySide is how many of them are read at once.
	sideBySide = 16
)

// readNodes reads nodes by name. A node that cannot be read, or is gone, is
// missing from the answer and has its reason in unread; the error is for an
// API server that gave no answer.
func (h *Hands) readNodes(ctx context.Context, names []string) (nodes map[string]corev1.Node, unread map[string]string, err error) {
	nodes, unread = map[string]corev1.Node{}, map[string]string{}
	if len(names) > fewNodes {
		err = h.listNodes(ctx, func(node corev1.Node) { nodes[node.Name] = node })
	} else {
		err = h.getNodes(ctx, names, nodes)
	}
	if err != nil && incident.KindOf(err).Retryable() {
		return nil, nil, err
	}
	for _, name := range names {
		if _, ok := nodes[name]; ok {
			continue
		}
		unread[name] = fmt.Sprintf("node %s is not in the cluster any more", name)
		if err != nil {
			unread[name] = err.Error()
		}
	}
	return nodes, unread, nil
}

func (h *Hands) getNodes(ctx context.Context, names []string, into map[string]corev1.Node) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sideBySide)
	read := make([]*corev1.Node, len(names))
	for i, name := range names {
		group.Go(func() error {
			node, err := h.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return classify(err, "reading node %s", name)
			}
			if err == nil {
				read[i] = node
			}
			return nil
		})
	}
	err := group.Wait()
	for _, node := range read {
		if node != nil {
			into[node.Name] = *node
		}
	}
	return err
}

func (h *Hands) listNodes(ctx context.Context, each func(corev1.Node)) error {
	return eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return "", classify(err, "listing nodes")
		}
		for _, node := range page.Items {
			each(node)
		}
		return page.Continue, nil
	})
}

// placeNodes fills the workload's nodes, and what of them is simulated.
func (h *Hands) placeNodes(ctx context.Context, names []string, fabric incident.FabricSettings, r *resolution) error {
	nodes, unread, err := h.readNodes(ctx, names)
	if err != nil {
		return err
	}
	simulated := false
	for _, name := range names {
		node, ok := nodes[name]
		if !ok {
			r.workload.Nodes = append(r.workload.Nodes, incident.Node{Name: name, Unread: unread[name]})
			continue
		}
		r.workload.Nodes = append(r.workload.Nodes, placed(node, fabric))
		simulated = simulated || node.Annotations[simulatedAnnotation] == "true"
	}
	if len(unread) > 0 {
		r.note("%d of %d nodes could not be read: %s", len(unread), len(names), firstReason(names, unread))
	}
	if len(names) == 0 {
		simulated = h.anySimulated(ctx)
	}
	if simulated {
		r.simulated = []string{"GPU nodes", "NCCL", "pod logs"}
	}
	return nil
}

func firstReason(names []string, reasons map[string]string) string {
	for _, name := range names {
		if reasons[name] != "" {
			return reasons[name]
		}
	}
	return ""
}

// anySimulated looks at some nodes of a cluster in which the target has none
// now. Not to be told counts as real.
func (h *Hands) anySimulated(ctx context.Context) bool {
	const some = 50
	page, err := h.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: some})
	if err != nil {
		h.Log.Warn("whether nodes are simulated is not known", "error", err)
		return false
	}
	for _, node := range page.Items {
		if node.Annotations[simulatedAnnotation] == "true" {
			return true
		}
	}
	return false
}

// placed reads a node's place in the fabric, its state and its devices.
func placed(node corev1.Node, fabric incident.FabricSettings) incident.Node {
	seen := incident.Node{
		Name: node.Name, Product: node.Labels["nvidia.com/gpu.product"], GPUs: gpusOf(node.Status.Allocatable),
		NVLinkDomain: node.Labels["nvidia.com/gpu.clique"],
		Leaf:         labelOf(node, fabric.LeafLabels), Rack: labelOf(node, fabric.RackLabels), Zone: labelOf(node, fabric.ZoneLabels),
		Unschedulable: node.Spec.Unschedulable,
	}
	if ready := nodeCondition(node, corev1.NodeReady); ready != nil {
		seen.Ready = ready.Status == corev1.ConditionTrue
	}
	for name, amount := range node.Status.Allocatable {
		if isRDMA(string(name), fabric.RDMAResources) && !amount.IsZero() {
			if seen.RDMA == nil {
				seen.RDMA = map[string]int{}
			}
			seen.RDMA[string(name)] = int(amount.Value())
		}
	}
	return seen
}

func nodeCondition(node corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// labelOf is the value of the first label that the node carries, "" when it
// carries none of them.
func labelOf(node corev1.Node, names []string) string {
	for _, name := range names {
		if value := node.Labels[name]; value != "" {
			return value
		}
	}
	return ""
}
