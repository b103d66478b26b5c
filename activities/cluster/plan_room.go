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

// planRoom finds where the ranks can be once the nodes are isolated, and
// refuses a plan after which the target could not start again: to isolate a
// node is of no use to anybody whose job then waits for ever.
func (h *Hands) planRoom(ctx context.Context, d *draft) error {
	all, err := h.readFloor(ctx)
	if err != nil {
		return err
	}
	d.plan.Isolation.Domains = all.domainsOf(d.plan.Nodes, d.workload.Target.Cluster, d.params.Fabric)
	moving := d.moving()
	if len(moving) == 0 {
		d.refuse("no pod of the ranks is there to see what they need of a node")
		return nil
	}
	if why := d.unkept(&moving[0]); why != "" {
		d.refuse("%s", why)
		return nil
	}
	all.without(moving)
	candidates := d.candidates(all, &moving[0])
	seats := all.seat(moving, candidates, d.closest(), apart(&moving[0]))
	d.plan.Isolation.After = d.after(seats, candidates)
	d.spares = all.spares(&moving[0], candidates, seats)
	if seats.left > 0 {
		d.refuse("without %s only %d of %d ranks find room again: it takes %d more with %s each on nodes that are Ready, not cordoned and allowed by the pods' selectors and tolerations",
			strings.Join(d.plan.Nodes, ", "), len(moving)-seats.left, len(moving), seats.left, lackWords(&moving[0]))
	}
	d.plan.Wanted = incident.Wanted{
		Transport: wantedTransport(requestedRDMA(d.live.Object, d.params.Fabric.RDMAResources), d.plan.Isolation.After), CommTest: d.plan.Restart,
	}
	return nil
}

// moving are the pods that need a place: all ranks when all restart, those on
// the nodes else. Ranks without a pod now are taken to be like the others.
func (d *draft) moving() []corev1.Pod {
	if !d.plan.Restart {
		return d.podsOn(d.plan.Nodes)
	}
	pods := slices.Clone(d.pods)
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for len(pods) > 0 && len(pods) < d.workload.WantedRanks {
		like := pods[0]
		like.Name = fmt.Sprintf("missing-%d", len(pods))
		pods = append(pods, like)
	}
	return pods
}

// unkept says why cordon and taint would not keep the pods away, or why they
// could go nowhere else; "" when all is well.
func (d *draft) unkept(pod *corev1.Pod) string {
	taint := corev1.Taint{Key: steps.IsolatedTaint, Value: steps.OwnerValue(d.params.Incident), Effect: corev1.TaintEffectNoSchedule}
	switch {
	case tolerates(pod, taint):
		return "the pods of the ranks tolerate every taint, so that cordon and taint would not keep them off the node: name the taints that they tolerate"
	case len(pod.Spec.ResourceClaims) > 0:
		return "the ranks get their devices by resource claims, and what of these is free elsewhere is not known"
	}
	return ""
}

// candidates are the nodes that the scheduler would consider, in the order in
// which the ranks would rather have them: where they are now, under their leaf
// switches, elsewhere.
func (d *draft) candidates(all floor, pod *corev1.Pod) []corev1.Node {
	now, leafs := map[string]bool{}, map[string]bool{}
	for _, node := range d.workload.Nodes {
		now[node.Name], leafs[node.Leaf] = true, node.Leaf != ""
	}
	rank := func(node corev1.Node) int {
		switch {
		case now[node.Name]:
			return 0
		case leafs[placed(node, d.params.Fabric).Leaf]:
			return 1
		}
		return 2
	}
	var found []corev1.Node
	for i := range all.nodes {
		if node := all.nodes[i]; !slices.Contains(d.plan.Nodes, node.Name) && mayTake(pod, &node) {
			found = append(found, node)
		}
	}
	slices.SortStableFunc(found, func(a, b corev1.Node) int { return rank(a) - rank(b) })
	return found
}

// closest is how many ranks share a node now at most; at least one.
func (d *draft) closest() int {
	count, most := map[string]int{}, 1
	for _, rank := range d.workload.Ranks {
		if rank.Node != "" {
			count[rank.Node]++
			most = max(most, count[rank.Node])
		}
	}
	return most
}

// after are the nodes that the ranks would be on, by name: the ones that found
// a seat, and, when only some ranks move, those of the others.
func (d *draft) after(seats seating, candidates []corev1.Node) []incident.Node {
	var nodes []incident.Node
	for _, node := range candidates {
		if seats.taken[node.Name] > 0 {
			nodes = append(nodes, placed(node, d.params.Fabric))
		}
	}
	for _, node := range d.workload.Nodes {
		stays := !d.plan.Restart && !slices.Contains(d.plan.Nodes, node.Name)
		if stays && !slices.ContainsFunc(nodes, func(n incident.Node) bool { return n.Name == node.Name }) {
			nodes = append(nodes, node)
		}
	}
	slices.SortFunc(nodes, func(a, b incident.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// spares are the candidates with room for one more rank on which none would
// be.
func (f floor) spares(pod *corev1.Pod, candidates []corev1.Node, seats seating) []string {
	var names []string
	for _, node := range candidates {
		if seats.taken[node.Name] == 0 && f.fits(pod, node) {
			names = append(names, node.Name)
		}
	}
	return names
}

// spareWords say how much room is left, for people.
func (d *draft) spareWords() string {
	var fresh []string
	for _, node := range d.plan.Isolation.After {
		if !slices.ContainsFunc(d.workload.Nodes, func(n incident.Node) bool { return n.Name == node.Name }) {
			fresh = append(fresh, node.Name)
		}
	}
	place := "there is room for them on the nodes that they have"
	if len(fresh) > 0 {
		place = "there is room for them, on " + incident.Some(fresh) + " instead"
	}
	return fmt.Sprintf("%s, and %d more spare nodes could take a rank", place, len(d.spares))
}
