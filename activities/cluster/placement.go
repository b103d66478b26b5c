package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// CheckPlacement answers D4: whether the ranks' nodes are Ready, and whether
// the ranks cross more leaf switches than they need to.
func (h *Hands) CheckPlacement(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	if now, _, err := h.reread(ctx, workload); err == nil { // else the ranks as they were
		workload.Ranks = now.Ranks
	}
	names := rankNodes(workload)
	if len(names) == 0 {
		unplaced := fmt.Errorf("no rank of %s is on a node now", workload.Target)
		return unanswered(ctx, steps.CheckPlacement, workload.Target, unplaced, incident.NodeNotReady, incident.RanksScattered)
	}
	nodes, unread, err := h.readNodes(ctx, names)
	if err != nil {
		return unanswered(ctx, steps.CheckPlacement, workload.Target, err, incident.NodeNotReady, incident.RanksScattered)
	}
	findings := append(notReady(workload.Target, names, nodes, unread), h.scattered(ctx, workload, names, nodes, params.Fabric))
	return steps.CheckResult{Findings: findings}, nil
}

// rankNodes lists the nodes of the present ranks, sorted.
func rankNodes(workload incident.Workload) []string {
	workload.Earlier = nil
	return nodeNames(workload)
}

// notReady names every node that is not Ready or could not be read.
func notReady(target incident.Target, names []string, nodes map[string]corev1.Node, unread map[string]string) []incident.Finding {
	var findings []incident.Finding
	var cordoned []string
	for _, name := range names {
		finding := incident.Finding{ID: incident.NodeNotReady, Check: steps.CheckPlacement, Subject: "node/" + name}
		node, read := nodes[name]
		ready := nodeCondition(node, corev1.NodeReady)
		switch {
		case !read:
			finding.State, finding.Why = incident.Unknown, unread[name]
		case ready == nil:
			finding.State, finding.Why = incident.Unknown, fmt.Sprintf("node %s has no condition Ready yet", name)
		case ready.Status != corev1.ConditionTrue:
			finding.State, finding.Value = incident.Yes, ready.Reason
			finding.Why = notReadyWords(name, *ready)
			finding.Evidence = []string{objectFile("Node", name)}
		default:
			if node.Spec.Unschedulable {
				cordoned = append(cordoned, name)
			}
			continue
		}
		findings = append(findings, finding)
	}
	if findings != nil {
		return findings
	}
	why := fmt.Sprintf("all %d nodes of the ranks are Ready", len(names))
	if len(cordoned) > 0 {
		why += "; cordoned: " + incident.Some(cordoned)
	}
	return []incident.Finding{{ID: incident.NodeNotReady, Check: steps.CheckPlacement, State: incident.No, Subject: subjectOf(target), Why: why}}
}

// notReadyWords tells a kubelet that says no from one that says nothing: both
// are "not Ready" to Kubernetes, but only the first is known to be ill.
func notReadyWords(name string, ready corev1.NodeCondition) string {
	since := ready.LastTransitionTime.UTC().Format("2006-01-02 15:04:05")
	if ready.Status == corev1.ConditionUnknown {
		return fmt.Sprintf("the kubelet of node %s has not been heard since %s: %s", name, since, ready.Message)
	}
	return fmt.Sprintf("node %s is not Ready since %s: %s %s", name, since, ready.Reason, ready.Message)
}

// scattered compares the leaf switches in use with the fewest that could hold
// the ranks, by the number of nodes alone; who else uses them is not asked.
func (h *Hands) scattered(ctx context.Context, workload incident.Workload, names []string, nodes map[string]corev1.Node, fabric incident.FabricSettings) incident.Finding {
	finding := incident.Finding{ID: incident.RanksScattered, Check: steps.CheckPlacement, State: incident.Unknown, Subject: subjectOf(workload.Target)}
	used, product, gpus := map[string]int{}, "", 0
	for _, name := range names {
		node := placed(nodes[name], fabric)
		if node.Leaf == "" {
			finding.Why = fmt.Sprintf("the leaf switch of node %s is not known (labels %s)", name, strings.Join(fabric.LeafLabels, ", "))
			return finding
		}
		used[node.Leaf]++
		product, gpus = node.Product, max(gpus, node.GPUs)
	}
	room := map[string]int{}
	err := h.listNodes(ctx, func(live corev1.Node) {
		node := placed(live, fabric)
		if node.Leaf != "" && node.Product == product && node.GPUs >= gpus && (node.Ready && !node.Unschedulable || slices.Contains(names, node.Name)) {
			room[node.Leaf]++
		}
	})
	if err != nil {
		finding.Why = err.Error()
		return finding
	}
	fewest := fewestLeaves(room, len(names))
	finding.State, finding.Value = incident.No, fmt.Sprintf("%d leaf switches, %d could do", len(used), fewest)
	finding.Why = fmt.Sprintf("the ranks are on %d nodes under %s", len(names), leafWords(used))
	if len(used) > fewest {
		finding.State = incident.Yes
		finding.Why += fmt.Sprintf("; %d would have room for them if no one else used it", fewest)
	}
	return finding
}

// fewestLeaves is how many switches are needed for a number of nodes when the
// largest are filled first.
func fewestLeaves(room map[string]int, nodes int) int {
	var sizes []int
	for _, size := range room {
		sizes = append(sizes, size)
	}
	slices.SortFunc(sizes, func(a, b int) int { return b - a })
	for i, size := range sizes {
		if nodes -= size; nodes <= 0 {
			return i + 1
		}
	}
	return len(sizes)
}

// leafWords writes "leaf-a (5 nodes), leaf-b (3 nodes)".
func leafWords(used map[string]int) string {
	var words []string
	for leaf, count := range used {
		words = append(words, fmt.Sprintf("%s (%d nodes)", leaf, count))
	}
	slices.Sort(words)
	return incident.Some(words)
}
