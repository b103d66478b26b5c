package kubelet

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestNodesAreDealtInBlocks(t *testing.T) {
	topology := DefaultTopology()
	got := map[string]string{}
	for _, n := range []int{0, 3, 4, 7, 8, 15} {
		labels := topology.node(n, 1).Labels
		got[NodeName(n)] = labels[LeafLabel] + " " + labels[RackLabel]
	}
	want := map[string]string{
		"gpu-00": "leaf-a rack-1", "gpu-03": "leaf-a rack-1", "gpu-04": "leaf-a rack-2",
		"gpu-07": "leaf-a rack-2", "gpu-08": "leaf-b rack-3", "gpu-15": "leaf-b rack-4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheLastNodesMayHaveLargerGPUs(t *testing.T) {
	topology := DefaultTopology()
	topology.Larger, topology.LargerProduct = 8, "NVIDIA-H200"
	for n, want := range map[int]string{0: topology.Product, 7: topology.Product, 8: "NVIDIA-H200", 15: "NVIDIA-H200"} {
		if got := topology.node(n, 1).Labels["nvidia.com/gpu.product"]; got != want {
			t.Errorf("node %d has %s, want %s", n, got, want)
		}
	}
}

func TestWhatCannotBeATopologyIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Topology){
		"of 0 nodes":             func(t *Topology) { t.Nodes = 0 },
		"of 2817 nodes":          func(t *Topology) { t.Nodes = maxNodes + 1 },
		"with -1 GPUs":           func(t *Topology) { t.GPUs = -1 },
		"0 leaf switches":        func(t *Topology) { t.Leafs = 0 },
		"4 racks and 0 zones":    func(t *Topology) { t.Zones = nil },
		"want Config, Runner":    nil,
		"the larger product":     func(t *Topology) { t.Larger = 2 },
		"of 27 leaf switches, 4": func(t *Topology) { t.Leafs = 27 },
	} {
		topology := DefaultTopology()
		var err error
		if change == nil {
			_, err = Start(context.Background(), Options{Topology: topology})
		} else {
			change(&topology)
			err = topology.check()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestPodAddressesDiffer(t *testing.T) {
	k := &Kubelet{ips: map[string]int{}}
	seen := map[string]string{}
	for _, node := range []string{"gpu-00", "gpu-01", "gpu-255", "gpu-256", NodeName(maxNodes - 1), "somebody-else"} {
		for range 200 {
			address := k.address(node)
			if other, taken := seen[address]; taken {
				t.Fatalf("%s was given to %s and %s", address, other, node)
			}
			seen[address] = node
		}
	}
}

func TestGPUsOfAPod(t *testing.T) {
	want := func(n string) corev1.Container {
		return corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{gpuResource: resource.MustParse(n)}}}
	}
	for _, c := range []struct {
		name string
		spec corev1.PodSpec
		want int64
	}{
		{"none", corev1.PodSpec{Containers: []corev1.Container{{}}}, 0},
		{"containers together", corev1.PodSpec{Containers: []corev1.Container{want("4"), {}, want("2")}}, 6},
		{"a greedier start", corev1.PodSpec{Containers: []corev1.Container{want("1")}, InitContainers: []corev1.Container{want("2"), want("3")}}, 3},
	} {
		if got := gpus(&c.spec); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// What has ended holds no GPUs, and neither does what is on another node.
func TestAdmissionCountsWhatRuns(t *testing.T) {
	spec := func(node, count string) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{gpuResource: resource.MustParse(count)}},
		}}}}
	}
	k := &Kubelet{topology: DefaultTopology(), pods: map[types.UID]*pod{
		"a": {spec: spec("gpu-00", "5"), phase: corev1.PodRunning},
		"b": {spec: spec("gpu-00", "8"), phase: corev1.PodFailed},
		"c": {spec: spec("gpu-01", "8"), phase: corev1.PodPending},
	}}
	if reason := k.admit(spec("gpu-00", "3")); reason != "" {
		t.Errorf("refused: %s", reason)
	}
	if reason := k.admit(spec("gpu-00", "4")); !strings.Contains(reason, "requested: 4, used: 5, capacity: 8") {
		t.Errorf("got %q", reason)
	}
	if reason := k.admit(spec("gpu-01", "0")); reason != "" {
		t.Errorf("a pod without GPUs is refused: %s", reason)
	}
}

func TestConditionsKeepTheirTime(t *testing.T) {
	before := nextConditions(nil, corev1.PodPending, true, false)
	long := metav1.NewTime(start.Add(-time.Hour))
	for i := range before {
		before[i].LastTransitionTime = long
	}
	after := nextConditions(before, corev1.PodRunning, true, true)
	for _, c := range after {
		if kept := c.LastTransitionTime.Equal(&long); kept != (c.Type == corev1.PodInitialized) {
			t.Errorf("%s: kept its time: %v", c.Type, kept)
		}
	}
	if last := nextConditions(after, corev1.PodSucceeded, true, false); last[2].Reason != "PodCompleted" {
		t.Errorf("at the end: %+v", last[2])
	}
}
