package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// planIsolation plans to take the blamed nodes out of service: cordon and
// taint, then the ranks leave them. The ranks of one computation have to start
// together, so where their owner can be suspended all of them are stopped and
// started again, which also leaves the GPUs free for a test in between. Where
// it cannot, only the pods on the nodes are evicted.
func (h *Hands) planIsolation(ctx context.Context, d *draft) error {
	nodes, err := h.blamedNodes(ctx, d)
	if err != nil || len(nodes) == 0 {
		return err
	}
	d.plan.Isolation = &incident.Isolation{}
	for _, node := range nodes {
		if err := h.planNode(ctx, d, node); err != nil {
			return err
		}
	}
	if err := h.planLeaving(ctx, d); err != nil {
		return err
	}
	if err := h.planRoom(ctx, d); err != nil {
		return err
	}
	names := strings.Join(d.plan.Nodes, ", ")
	how := d.priceWords()
	if !d.plan.Restart {
		how = d.evictionWords()
	}
	d.plan.Summary = fmt.Sprintf("Isolate %s: cordon it and taint it %s, so that no new pod comes to it, %s The node stays isolated until somebody has repaired and released it.",
		plural(len(d.plan.Nodes), "node ", "nodes ")+names, steps.IsolatedTaint, how+"; "+d.spareWords()+".")
	return nil
}

func plural(count int, one, many string) string {
	if count == 1 {
		return one
	}
	return many
}

// blamedNodes reads the nodes that the cause blames; none, with the reason,
// when no node is blamed.
func (h *Hands) blamedNodes(ctx context.Context, d *draft) ([]corev1.Node, error) {
	blamed := d.params.Blamed
	if blamed.Kind != "node" || len(blamed.Names) == 0 {
		d.refuse("%s", notANode(blamed))
		return nil, nil
	}
	d.plan.Nodes = slices.Compact(slices.Sorted(slices.Values(blamed.Names)))
	read, unread, err := h.readNodes(ctx, d.plan.Nodes)
	if err != nil {
		return nil, err
	}
	var nodes []corev1.Node
	for _, name := range d.plan.Nodes {
		node, ok := read[name]
		if !ok {
			d.refuse("%s", unread[name])
			continue
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// notANode says why there is no node to isolate.
func notANode(blamed incident.Blamed) string {
	names := strings.Join(blamed.Names, ", ")
	switch blamed.Kind {
	case "link":
		return fmt.Sprintf("the link %s is blamed, not a node: isolating one end of a link that may be mended at the other costs GPUs for nothing; have cable, port and transceiver looked at", names)
	case "switch":
		return fmt.Sprintf("the switch %s is blamed, not its nodes: they are good, and isolating all of them would leave too few; have the switch and its uplinks looked at", names)
	case "":
		return "no node is blamed"
	}
	return strings.TrimSpace(fmt.Sprintf("a %s is blamed (%s), and its node is not proved bad", blamed.Kind, orWord(names, "not told which")))
}

// planNode adds one node to the plan: what forbids it, and what it would
// become by a dry run.
func (h *Hands) planNode(ctx context.Context, d *draft, node corev1.Node) error {
	if why := protectedBy(node); why != "" {
		d.plan.Isolation.Protected = append(d.plan.Isolation.Protected, why)
		d.refuse("%s, and such nodes are never touched", why)
	}
	if silent(node) {
		d.plan.Isolation.Unheard = append(d.plan.Isolation.Unheard, node.Name)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&node)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "reading node %s", node.Name)
	}
	live := &unstructured.Unstructured{Object: fields}
	live.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node")) // a typed client leaves it out
	if isolatedByUs(node) {
		d.refuse("node %s is isolated already (taint %s): another incident has it, or nobody has released it since", node.Name, steps.IsolatedTaint)
	}
	for _, who := range actedOn(live) {
		d.refuse("node %s is in other hands, and gpumedic only watches: %s", node.Name, who)
	}
	change, err := isolateChange(node, d.params.Incident)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "planning the isolation of node %s", node.Name)
	}
	d.plan.Changes = append(d.plan.Changes, change)
	return h.dryIsolate(ctx, d, change, live)
}

// dryIsolate asks the API server what the node would become, and so whether we
// may change it at all. A node's status moves on all the time, so that a race
// is asked again.
func (h *Hands) dryIsolate(ctx context.Context, d *draft, change incident.ObjectChange, live *unstructured.Unstructured) error {
	var err error
	for range writeTries {
		if err = h.dryIsolateOnce(ctx, d, change, live); !raced(err) {
			break
		}
		if live, err = h.liveObject(ctx, change); err != nil || live == nil {
			return err
		}
	}
	return faultOf(err, "dry run of the isolation of %s", nameOf(change))
}

func (h *Hands) dryIsolateOnce(ctx context.Context, d *draft, change incident.ObjectChange, live *unstructured.Unstructured) error {
	manifest, err := stamped(change, "")
	if err != nil {
		return err
	}
	patch, err := isolatePatch(live, manifest, "")
	if err != nil {
		return incident.Faultf(incident.Internal, err, "planning the isolation of %s", nameOf(change))
	}
	planned, err := h.patchNode(ctx, change, patch, []string{metav1.DryRunAll})
	switch {
	case err == nil:
	case apierrors.IsForbidden(err):
		d.refuse("the worker may not change nodes: bind it to the ClusterRole gpumedic-isolate (deploy/rbac.yaml has the binding) if it shall isolate nodes; %s", orWord(missingRule(err), err.Error()))
		return nil
	case apierrors.IsConflict(err):
		return err
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsNotFound(err):
		d.refuse("the API server would refuse it: %v", err)
		return nil
	default:
		return classify(err, "dry run of the isolation of %s", nameOf(change))
	}
	diff, err := unifiedDiff(nameOf(change), live.Object, planned.Object)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "showing the isolation of %s", nameOf(change))
	}
	d.plan.Diff += diff
	return nil
}

// planLeaving decides how the ranks leave the nodes.
func (h *Hands) planLeaving(ctx context.Context, d *draft) error {
	for _, ended := range endedConditions(d.live) {
		d.refuse("%s has ended (condition %s), so that nothing of it can be started elsewhere: create it anew", d.workload.Target, ended)
	}
	leaving := d.podsOn(d.plan.Nodes)
	if why := d.lateReplacement(); why != "" {
		d.refuse("%s", why)
	}
	for _, pod := range leaving {
		why, err := h.evictable(ctx, evictChange(pod))
		if err != nil {
			return err
		}
		if why != "" {
			d.refuse("%s", why)
		}
	}
	blockers := restartBlockers(d.workload.Target, d.live)
	if len(blockers) == 0 {
		d.plan.Restart = true
		return nil
	}
	if suspended(d.live, d.workload.Target.Kind) {
		d.refuse("%s", strings.Join(blockers, "; "))
		return nil
	}
	if len(leaving) == 0 {
		d.refuse("no rank is on %s now, and the ranks cannot be restarted by us: %s", strings.Join(d.plan.Nodes, ", "), strings.Join(blockers, "; "))
		return nil
	}
	return h.planEvictions(ctx, d, leaving)
}

func suspended(live *unstructured.Unstructured, kind string) bool {
	how, known := suspendables[kind]
	if !known {
		return false
	}
	value, _ := how.field.get(live.Object)
	return value == true
}

// lateReplacement says that a Job would wait for pods that cannot go, because
// their node is silent; "" when it would not.
func (d *draft) lateReplacement() string {
	policy, _, _ := unstructured.NestedString(d.live.Object, "spec", "podReplacementPolicy")
	if len(d.plan.Isolation.Unheard) == 0 || policy != "Failed" {
		return ""
	}
	return fmt.Sprintf("%s replaces a pod only once it is gone (podReplacementPolicy Failed), and the kubelet of %s does not answer: declare the node out of service (taint node.kubernetes.io/out-of-service) when its power is surely off",
		d.workload.Target, strings.Join(d.plan.Isolation.Unheard, ", "))
}

// podsOn are the ranks' pods on some nodes that have not ended.
func (d *draft) podsOn(nodes []string) []corev1.Pod {
	var found []corev1.Pod
	for _, pod := range d.pods {
		if slices.Contains(nodes, pod.Spec.NodeName) && !ended(pod) {
			found = append(found, pod)
		}
	}
	slices.SortFunc(found, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// planEvictions lets only some pods go, where their controller makes new ones.
func (h *Hands) planEvictions(ctx context.Context, d *draft, leaving []corev1.Pod) error {
	whys, err := h.notReplaced(ctx, d, leaving)
	if err != nil {
		return err
	}
	for _, why := range whys {
		d.refuse("%s", why)
	}
	for _, pod := range leaving {
		change := evictChange(pod)
		d.plan.Changes = append(d.plan.Changes, change)
		d.plan.Diff += fmt.Sprintf("evict %s (uid %s) from node %s, through the eviction API\n", nameOf(change), pod.UID, pod.Spec.NodeName)
	}
	return nil
}

// evictionWords say what an eviction does to a computation.
func (d *draft) evictionWords() string {
	return fmt.Sprintf("then evict %d of its %d ranks, which their controller starts anew; the others lose their peer, end by themselves and start again from the last checkpoint, so up to %.2f GPU-hours since they started may be lost",
		d.evictions(), d.plan.PodsRestarted, d.plan.GPUHoursLost)
}

func (d *draft) evictions() int {
	count := 0
	for _, change := range d.plan.Changes {
		if change.Verb == verbEvict {
			count++
		}
	}
	return count
}
