package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/steps"
)

// simulatedAnnotation marks a node that is not a real machine.
const simulatedAnnotation = "gpumedic.io/simulated"

// noRanks are kinds that exist without ranks, and why.
var noRanks = map[string]string{
	"Node":       "a node has no ranks",
	"Namespace":  "a namespace has no ranks",
	"Deployment": "the replicas of a Deployment are no ranks of one computation",
	"ReplicaSet": "the replicas of a ReplicaSet are no ranks of one computation",
	"DaemonSet":  "the pods of a DaemonSet are no ranks of one computation",
	"CronJob":    "a CronJob is a schedule; its Jobs are the runs",
	"Service":    "a Service has no ranks",
	"RayService": "the replicas of a RayService are no ranks of one computation",
}

// ResolveTarget finds what an alert is about: from the object that its labels
// name up the owner references to the one that can be acted on, and down again
// to all of its ranks and their nodes. It reads only and may be repeated. Found
// false is an answer of the API server; not to get one is an error.
func (h *Hands) ResolveTarget(ctx context.Context, params steps.ResolveTargetParams) (steps.ResolveTargetResult, error) {
	found, err := h.resolve(ctx, params.Hint, params.Fabric)
	if err != nil || !found.found {
		return steps.ResolveTargetResult{Target: params.Hint, Why: found.words()}, err
	}
	ref, err := h.putJSON(ctx, "workload.json", found.workload)
	if err != nil {
		return steps.ResolveTargetResult{}, err
	}
	h.Log.Info("target is resolved", "target", found.workload.Target, "ranks", len(found.workload.Ranks), "nodes", len(found.workload.Nodes))
	return steps.ResolveTargetResult{
		Found: true, Target: found.workload.Target, Supported: found.unsupported == "", Why: found.words(),
		Workload: ref, Summary: h.summaryFor(ctx, found.workload), Simulated: found.simulated,
	}, nil
}

// summaryFor is the summary with only those pod labels that network policies
// of the namespace select by. Test pods carry them, to be treated as the ranks
// are; any other label would make them match the workload's own affinities and
// Services as well.
func (h *Hands) summaryFor(ctx context.Context, workload incident.Workload) incident.WorkloadSummary {
	summary := summarize(workload)
	summary.PodLabels = nil
	policies, err := h.networkPolicies(ctx, workload.Target.Namespace)
	if err != nil {
		h.Log.Warn("test pods will carry no labels of the ranks, because the policies could not be read", "error", err)
		return summary
	}
	selectedBy := map[string]bool{}
	for _, policy := range policies {
		for key := range policy.Spec.PodSelector.MatchLabels {
			selectedBy[key] = true
		}
		for _, expression := range policy.Spec.PodSelector.MatchExpressions {
			selectedBy[expression.Key] = true
		}
	}
	for key, value := range workload.PodLabels {
		if selectedBy[key] {
			if summary.PodLabels == nil {
				summary.PodLabels = map[string]string{}
			}
			summary.PodLabels[key] = value
		}
	}
	return summary
}

// resolution is a target with what was met on the way to it.
type resolution struct {
	found bool
	// unsupported says why the kind has no ranks; "" when it has.
	unsupported string
	notes       []string
	workload    incident.Workload
	// pods are all pods of the target, also those of earlier attempts.
	pods      []corev1.Pod
	simulated []string
}

func (r *resolution) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *resolution) words() string {
	if r.unsupported != "" {
		return strings.Join(append([]string{r.unsupported}, r.notes...), "; ")
	}
	return strings.Join(r.notes, "; ")
}

func (h *Hands) resolve(ctx context.Context, hint incident.Target, fabric incident.FabricSettings) (resolution, error) {
	var r resolution
	named, err := h.findNamed(ctx, hint, &r)
	if err != nil || named == nil {
		return r, err
	}
	top, chain, err := h.ascend(ctx, named, &r)
	if err != nil {
		return r, err
	}
	r.found = true
	if err := h.survey(ctx, top, chain, fabric, &r); err != nil {
		return r, err
	}
	if owner := metav1.GetControllerOf(top); top.GetKind() == "Pod" && owner != nil && !notClimbed[owner.Kind] {
		r.unsupported = "the ranks beside this pod cannot be found without its owner"
	}
	return r, nil
}

// lookUp reads a canonical target anew: its ranks and nodes as they are now,
// and all of its pods. A target that is gone is Missing.
func (h *Hands) lookUp(ctx context.Context, target incident.Target, fabric incident.FabricSettings) (incident.Workload, []corev1.Pod, error) {
	var r resolution
	live, err := h.get(ctx, target)
	if err != nil {
		return incident.Workload{}, nil, err
	}
	if live == nil {
		return incident.Workload{}, nil, incident.Faultf(incident.Missing, nil, "reading %s: it is gone", target)
	}
	err = h.survey(ctx, live, nil, fabric, &r)
	return r.workload, r.pods, err
}

// survey fills the workload of a canonical target.
func (h *Hands) survey(ctx context.Context, live *unstructured.Unstructured, chain []metav1.GroupKind, fabric incident.FabricSettings, r *resolution) error {
	r.workload = incident.Workload{Target: h.targetOf(live), UID: string(live.GetUID()), Labels: live.GetLabels()}
	if why, none := noRanks[live.GetKind()]; none {
		r.unsupported = why
		if live.GetKind() == "Node" {
			return h.placeNodes(ctx, []string{live.GetName()}, fabric, r)
		}
		return nil
	}
	kin, err := h.descend(ctx, live, chain, r)
	if err != nil {
		return err
	}
	r.pods = kin.pods
	fillRanks(&r.workload, live, kin)
	if len(kin.pods) == 0 && len(kin.jobs) == 0 && !knownKind(live) {
		r.unsupported = fmt.Sprintf("%s has no pods now, and how its kind makes ranks is not known", r.workload.Target)
	}
	if n := len(r.workload.Earlier); n > 0 {
		r.note("%d pods of earlier attempts still exist", n)
	}
	return h.placeNodes(ctx, nodeNames(r.workload), fabric, r)
}

// targetOf names an object as a target of this cluster.
func (h *Hands) targetOf(live *unstructured.Unstructured) incident.Target {
	return incident.Target{Cluster: h.Cluster, Namespace: live.GetNamespace(), Kind: live.GetKind(), Name: live.GetName()}
}

// nodeNames lists the nodes of the ranks and of earlier attempts, sorted.
func nodeNames(workload incident.Workload) []string {
	var names []string
	for _, rank := range slices.Concat(workload.Ranks, workload.Earlier) {
		if rank.Node != "" {
			names = append(names, rank.Node)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// summarize keeps what decisions need. Of the nodes only those that carry
// ranks stay, without what only checks read, so that a thousand of them still
// fit into a history.
func summarize(workload incident.Workload) incident.WorkloadSummary {
	summary := incident.WorkloadSummary{
		UID: workload.UID, Ranks: len(workload.Ranks), WantedRanks: workload.WantedRanks, Suspended: workload.Suspended,
		JobNames: workload.JobNames, PodLabels: workload.PodLabels, Placed: places(workload),
	}
	phases, carries := map[string]int{}, map[string]bool{}
	for _, rank := range workload.Ranks {
		summary.GPUs += rank.GPUs
		phases[rank.Phase]++
		carries[rank.Node] = true
	}
	for phase, count := range phases {
		summary.Phases = append(summary.Phases, incident.Count{Name: phase, Count: count})
	}
	slices.SortFunc(summary.Phases, func(a, b incident.Count) int { return strings.Compare(a.Name, b.Name) })
	for _, node := range workload.Nodes {
		if carries[node.Name] || len(workload.Ranks) == 0 {
			summary.Nodes = append(summary.Nodes, incident.Node{Name: node.Name, Leaf: node.Leaf, Rack: node.Rack, Zone: node.Zone, NVLinkDomain: node.NVLinkDomain,
				GPUs: node.GPUs, Ready: node.Ready, Unschedulable: node.Unschedulable})
		}
	}
	return summary
}
