package cluster

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
)

func ready(status corev1.ConditionStatus, reason string) func(*corev1.Node) {
	return func(node *corev1.Node) {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: reason, Message: "the kubelet's words"}}
	}
}

func TestNodeNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		second func(*corev1.Node)
		absent bool
		change func(*world)
		state  incident.State
		value  string
		why    string
	}{
		"all Ready":       {state: incident.No, why: "all 2 nodes"},
		"cordoned":        {second: func(node *corev1.Node) { node.Spec.Unschedulable = true }, state: incident.No, why: "cordoned: gpu-01"},
		"not Ready":       {second: ready(corev1.ConditionFalse, "KubeletNotReady"), state: incident.Yes, value: "KubeletNotReady", why: "the kubelet's words"},
		"not heard of":    {second: ready(corev1.ConditionUnknown, "NodeStatusUnknown"), state: incident.Yes, value: "NodeStatusUnknown", why: "has not been heard since"},
		"no condition":    {second: func(node *corev1.Node) { node.Status.Conditions = nil }, state: incident.Unknown, why: "no condition Ready"},
		"gone":            {absent: true, state: incident.Unknown, why: "not in the cluster any more"},
		"may not be read": {change: func(w *world) { w.refuse("get", "nodes", "") }, state: incident.Unknown, why: `resources ["nodes"]`},
		"no answer":       {change: func(w *world) { w.fail("get", "nodes") }, state: incident.Unknown, why: "reading node gpu-0"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{testJob(2), testPod(0, ""), testPod(1, ""), testNode(0)}
			if second := testNode(1); !test.absent {
				if test.second != nil {
					test.second(second)
				}
				objects = append(objects, second)
			}
			w := newWorld(t, objects...)
			found, _ := w.resolved(t, jobTarget)
			if test.change != nil {
				test.change(w)
			}
			result, err := w.CheckPlacement(t.Context(), paramsOf(found))
			if err != nil {
				t.Fatal(err)
			}
			findings := all(result, incident.NodeNotReady)
			if len(findings) == 0 || findings[0].State != test.state || findings[0].Value != test.value {
				t.Fatalf("%+v", findings)
			}
			contains(t, findings[0].Why, test.why)
			if test.state == incident.Yes && (findings[0].Subject != "node/gpu-01" || findings[0].Evidence[0] != "objects/node-gpu-01.json") {
				t.Errorf("%+v", findings[0])
			}
		})
	}
}

func TestScattered(t *testing.T) {
	// Sixteen nodes, the even ones under leaf-a and the odd ones under leaf-b.
	place := func(nodes ...int) []runtime.Object {
		objects := []runtime.Object{testJob(len(nodes))}
		for i, node := range nodes {
			objects = append(objects, testPod(i, "", func(pod *corev1.Pod) { pod.Spec.NodeName = fmt.Sprintf("gpu-%02d", node) }))
		}
		for i := range 16 {
			objects = append(objects, testNode(i))
		}
		for i := 16; i < 30; i++ { // under no switch that is known
			objects = append(objects, testNode(i, func(node *corev1.Node) { delete(node.Labels, "network.gpumedic.io/leaf") }))
		}
		return objects
	}
	for name, test := range map[string]struct {
		nodes  []int
		change func(*world)
		state  incident.State
		value  string
		why    string
	}{
		"under one switch":           {nodes: []int{0, 2, 4, 6}, state: incident.No, value: "1 leaf switches, 1 could do"},
		"under two without need":     {nodes: []int{0, 1, 2, 3}, state: incident.Yes, value: "2 leaf switches, 1 could do", why: "leaf-a (2 nodes), leaf-b (2 nodes)"},
		"too many for one":           {nodes: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, state: incident.No, value: "2 leaf switches, 2 could do"},
		"the others may not be seen": {nodes: []int{0, 1}, change: func(w *world) { w.refuse("list", "nodes", "") }, state: incident.Unknown, why: "listing nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, place(test.nodes...)...)
			if test.change != nil {
				test.change(w)
			}
			got := only(t, w.checked(t, w.CheckPlacement), incident.RanksScattered)
			if got.State != test.state || got.Value != test.value {
				t.Errorf("%+v", got)
			}
			contains(t, got.Why, test.why)
		})
	}
}

func TestScatteredWithoutLabels(t *testing.T) {
	bare := testNode(1)
	delete(bare.Labels, "network.gpumedic.io/leaf")
	w := newWorld(t, testJob(2), testPod(0, ""), testPod(1, ""), testNode(0), bare)
	got := only(t, w.checked(t, w.CheckPlacement), incident.RanksScattered)
	if got.State != incident.Unknown {
		t.Errorf("%+v", got)
	}
	contains(t, got.Why, "leaf switch of node gpu-01 is not known", "network.gpumedic.io/leaf")
}

func TestPlacementOfRanksThatAreNowhere(t *testing.T) {
	w := newWorld(t, []runtime.Object{testJob(2), testNode(0)}...)
	for _, finding := range w.checked(t, w.CheckPlacement).Findings {
		if finding.State != incident.Unknown {
			t.Errorf("%+v", finding)
		}
	}
}
