package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/lab/kubelet"
	"gpumedic/lab/scenarios"
)

// isolatedTaint is what a node bears that gpumedic took out of service.
const isolatedTaint = "gpumedic.io/isolated"

// checkIsolated wants exactly the nodes that the scenario names to be blamed
// and out of service, and every other node to be as it was.
func (r *Rig) checkIsolated(ctx context.Context, e *Ending) []string {
	want := slices.Sorted(slices.Values(e.Scenario.Expect.Isolated))
	var wrong []string
	if blamed := slices.Sorted(slices.Values(e.View.Record.Blamed.Names)); len(want) > 0 && !slices.Equal(blamed, want) {
		wrong = append(wrong, fmt.Sprintf("blamed is %v, must be exactly %v", blamed, want))
	}
	for n := range e.Scenario.Topology.Nodes {
		name := kubelet.NodeName(n)
		before, after := e.Before["nodes/"+name], e.After["nodes/"+name]
		switch {
		case slices.Contains(want, name):
			wrong = append(wrong, checkOut(name, after)...)
		case before != after && !e.Scenario.Expect.ClusterUnchanged: // else said already
			wrong = append(wrong, "healthy node "+name+" was changed:\n"+before+"\nbecame\n"+after)
		}
	}
	return append(wrong, r.checkEmpty(ctx, want)...)
}

// checkOut wants a node to be cordoned and to bear the taint.
func checkOut(name, object string) []string {
	var node corev1.Node
	if err := json.Unmarshal([]byte(object), &node); err != nil {
		return []string{fmt.Sprintf("reading node %s: %v", name, err)}
	}
	var wrong []string
	if !node.Spec.Unschedulable {
		wrong = append(wrong, "node "+name+" is not cordoned")
	}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == isolatedTaint && t.Effect == corev1.TaintEffectNoSchedule }) {
		wrong = append(wrong, fmt.Sprintf("node %s does not bear the taint %s, only %v", name, isolatedTaint, node.Spec.Taints))
	}
	return wrong
}

// checkEmpty wants no rank of the job on the nodes.
func (r *Rig) checkEmpty(ctx context.Context, nodes []string) []string {
	if len(nodes) == 0 {
		return nil
	}
	pods, err := r.Admin.CoreV1().Pods(scenarios.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{fmt.Sprintf("looking where the ranks are: %v", err)}
	}
	var wrong []string
	for _, pod := range pods.Items {
		if slices.Contains(nodes, pod.Spec.NodeName) {
			wrong = append(wrong, fmt.Sprintf("pod %s is on the isolated node %s", pod.Name, pod.Spec.NodeName))
		}
	}
	return wrong
}
