package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
)

// planReplacement plans to evict the pods of the blamed ranks, so that their
// controller makes new ones. The node stays in service: nothing proves it bad.
func (h *Hands) planReplacement(ctx context.Context, d *draft) error {
	for _, name := range managers(d.live) { // told, not in the way: the target itself is not edited
		h.Log.Info("the target is managed by a GitOps controller", "target", d.workload.Target, "by", name)
	}
	leaving := d.blamedPods()
	if len(leaving) == 0 {
		return nil
	}
	for _, ended := range endedConditions(d.live) {
		d.refuse("%s has ended (condition %s), so that its pods are not replaced: create it anew", d.workload.Target, ended)
	}
	if suspended(d.live, d.workload.Target.Kind) {
		d.refuse("%s is suspended, not by this incident, so that its pods are not replaced", d.workload.Target)
	}
	for _, pod := range leaving {
		d.plan.Nodes = append(d.plan.Nodes, pod.Spec.NodeName)
		why, err := h.evictable(ctx, evictChange(pod))
		if err != nil {
			return err
		}
		if why != "" {
			d.refuse("%s", why)
		}
	}
	d.plan.Nodes = slices.Compact(slices.Sorted(slices.Values(d.plan.Nodes)))
	if err := h.planEvictions(ctx, d, leaving); err != nil {
		return err
	}
	d.plan.Wanted = incident.Wanted{Transport: wantedTransport(requestedRDMA(d.live.Object, d.params.Fabric.RDMAResources), d.workload.Nodes)}
	d.plan.Summary = fmt.Sprintf("Replace %s of %s: %s. The scheduler may put a new pod on the same node, which nothing proves bad.",
		podWords(leaving), d.workload.Target, strings.TrimPrefix(d.evictionWords(), "then "))
	return nil
}

func podWords(pods []corev1.Pod) string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return plural(len(pods), "pod ", "pods ") + incident.Some(names)
}

// blamedPods are the live pods of the ranks that are blamed, by rank, pod or
// node; none, with the reason, when nobody is.
func (d *draft) blamedPods() []corev1.Pod {
	blamed := d.params.Blamed
	wanted := map[string]bool{}
	for _, rank := range d.workload.Ranks {
		name := map[string]string{"rank": strconv.Itoa(rank.Index), "pod": rank.Pod, "node": rank.Node}[blamed.Kind]
		if name != "" && slices.Contains(blamed.Names, name) {
			wanted[rank.Pod] = true
		}
	}
	if len(wanted) == 0 {
		d.refuse("no rank of %s is blamed: %s", d.workload.Target, orWord(strings.TrimSpace(blamed.Kind+" "+strings.Join(blamed.Names, ", ")), "nobody is"))
		return nil
	}
	var found []corev1.Pod
	for _, pod := range d.pods {
		if wanted[pod.Name] && pod.DeletionTimestamp == nil && !ended(pod) && pod.Spec.NodeName != "" {
			found = append(found, pod)
		}
	}
	if len(found) == 0 {
		d.refuse("the blamed ranks have ended, or are about to be replaced: there is no pod left to evict")
	}
	slices.SortFunc(found, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return found
}
