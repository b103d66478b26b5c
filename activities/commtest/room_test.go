package commtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/localize"
	"gpumedic/steps"
)

const rdmaName = "rdma/hca_shared_devices_a"

func nodeWith(name string, gpus, hcas int64) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		gpuName: *resource.NewQuantity(gpus, resource.DecimalSI), rdmaName: *resource.NewQuantity(hcas, resource.DecimalSI),
		corev1.ResourcePods: resource.MustParse("110"),
	}}}
}

func holder(name, node string, gpus int64) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training", UID: types.UID("uid-of-" + name)},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{gpuName: *resource.NewQuantity(gpus, resource.DecimalSI), rdmaName: resource.MustParse("1")},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// pages answers pod lists as the API server does: selected by fields, and in
// pages of two, whatever limit was asked; client-go's fake does neither.
func pages(t *testing.T, w *world, pods ...*corev1.Pod) {
	w.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		list := action.(clienttesting.ListActionImpl)
		if list.ListOptions.Limit == 0 {
			t.Error("pods are listed without a limit")
		}
		var matching []corev1.Pod
		for _, pod := range pods {
			set := fields.Set{"spec.nodeName": pod.Spec.NodeName, "status.phase": string(pod.Status.Phase)}
			if list.ListRestrictions.Fields.Matches(set) {
				matching = append(matching, *pod)
			}
		}
		first, _ := strconv.Atoi(list.ListOptions.Continue)
		page := &corev1.PodList{Items: matching[min(first, len(matching)):min(first+2, len(matching))]}
		if first+2 < len(matching) {
			page.Continue = strconv.Itoa(first + 2)
		}
		return true, page, nil
	})
}

func roomParams(t *testing.T, kept *store, nodes ...string) steps.CheckTestRoomParams {
	t.Helper()
	workload := incident.Workload{
		JobNames: []string{"llama"},
		Ranks:    []incident.Rank{{Pod: "rank-0", UID: "uid-of-rank-0"}, {Pod: "rank-1", UID: "uid-of-rank-1"}},
	}
	data, err := json.Marshal(workload)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := kept.Put(context.Background(), "workload.json", strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	p := params()
	p.Settings.GPUsPerNode = 8
	return steps.CheckTestRoomParams{Incident: p.Incident, Namespace: p.Namespace, Nodes: nodes, Settings: p.Settings, Workload: ref}
}

func TestCheckTestRoom(t *testing.T) {
	ended := holder("ended", "gpu-00", 8)
	ended.Status.Phase = corev1.PodSucceeded
	restarted := holder("rank-0-again", "gpu-00", 8)
	restarted.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "llama", Controller: new(true)}}
	cordoned := nodeWith("gpu-00", 8, 63)
	cordoned.Spec.Unschedulable = true
	cordoned.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}
	tolerated := nodeWith("gpu-00", 8, 63)
	tolerated.Spec.Taints = []corev1.Taint{{Key: gpuName, Effect: corev1.TaintEffectNoSchedule}}
	short := func(free, target, others int) []steps.NodeRoom {
		return []steps.NodeRoom{{Node: "gpu-00", Wanted: 8, Free: free, ByTarget: target, ByOthers: others}}
	}
	for name, c := range map[string]struct {
		node  *corev1.Node
		pods  []*corev1.Pod
		room  incident.State
		freed incident.State
		short []steps.NodeRoom
		why   string
	}{
		"empty":              {nodeWith("gpu-00", 8, 63), nil, incident.Yes, incident.Yes, nil, "all 2 nodes have room"},
		"ended pods hold no": {nodeWith("gpu-00", 8, 63), []*corev1.Pod{ended}, incident.Yes, incident.Yes, nil, "all 2 nodes have room"},
		"another node's":     {nodeWith("gpu-00", 8, 63), []*corev1.Pod{holder("x", "gpu-07", 8)}, incident.Yes, incident.Yes, nil, "all 2 nodes"},
		"held by the target": {nodeWith("gpu-00", 8, 63), []*corev1.Pod{holder("rank-0", "gpu-00", 8)}, incident.No, incident.Yes,
			short(0, 8, 0), "1 of 2 nodes have no room for a test pod: gpu-00: 0 of 8 nvidia.com/gpu are free; the workload's own ranks hold it"},
		"held by the target's next pod": {nodeWith("gpu-00", 8, 63), []*corev1.Pod{restarted}, incident.No, incident.Yes, short(0, 8, 0), "own ranks hold it"},
		"held by others, over pages": {nodeWith("gpu-00", 8, 63),
			[]*corev1.Pod{holder("rank-0", "gpu-00", 2), holder("a", "gpu-00", 2), holder("b", "gpu-00", 1), holder("c", "gpu-00", 1), holder("d", "gpu-00", 1)},
			incident.No, incident.No, short(1, 2, 5),
			"stopping the workload's own ranks would not be enough: gpu-00: 3 of 8 nvidia.com/gpu, held by training/a (2), training/b (1), training/c (1) and 1 more pods"},
		"no RDMA device left": {nodeWith("gpu-00", 16, 1), []*corev1.Pod{holder("rank-1", "gpu-00", 8)}, incident.No, incident.Yes,
			short(8, 8, 0), "0 of 1 rdma/hca_shared_devices_a are free"},
		"no such device":   {nodeWith("gpu-00", 8, 0), nil, incident.No, incident.No, short(8, 0, 0), "0 of 1 rdma/hca_shared_devices_a"},
		"too few GPUs":     {nodeWith("gpu-00", 4, 63), nil, incident.No, incident.No, short(4, 0, 0), "4 of 8 nvidia.com/gpu"},
		"cordoned":         {cordoned, nil, incident.No, incident.No, short(8, 0, 0), "its taint node.kubernetes.io/unschedulable:NoSchedule is not tolerated"},
		"not there":        {nil, nil, incident.No, incident.No, short(0, 0, 0), "gpu-00: it is not in the cluster"},
		"tolerated taint":  {tolerated, nil, incident.Yes, incident.Yes, nil, "all 2 nodes have room"},
		"partly by target": {nodeWith("gpu-00", 8, 63), []*corev1.Pod{holder("rank-0", "gpu-00", 4)}, incident.No, incident.Yes, short(4, 4, 0), "4 of 8"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{nodeWith("gpu-01", 8, 63)}
			if c.node != nil {
				objects = append(objects, c.node)
			}
			w, kept := newWorld(t, objects...), &store{}
			pages(t, w, c.pods...)
			p := roomParams(t, kept, "gpu-00", "gpu-01")
			p.Settings.Tolerations = []incident.Toleration{{Key: gpuName, Operator: "Exists"}}
			got, err := (&Hands{Kube: w, Store: kept}).CheckTestRoom(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			if got.Room != c.room || got.Freed != c.freed {
				t.Errorf("room %s, freed %s, want %s and %s: %s", got.Room, got.Freed, c.room, c.freed, got.Why)
			}
			if diff := cmp.Diff(c.short, got.Short); diff != "" {
				t.Errorf("short (-want +got):\n%s", diff)
			}
			contains(t, got.Why, c.why)
		})
	}
}

func TestRoomThatCannotBeTold(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	refuse := func(w *world, verb, resource string, err error) {
		w.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
	}
	for name, c := range map[string]struct {
		change      func(w *world, p *steps.CheckTestRoomParams)
		room, freed incident.State
		retry       bool
	}{
		"nodes may not be read": {func(w *world, _ *steps.CheckTestRoomParams) {
			refuse(w, "get", "nodes", apierrors.NewForbidden(nodes, "gpu-00", errors.New("no")))
		}, incident.Unknown, incident.Unknown, false},
		"the API server is busy": {func(w *world, _ *steps.CheckTestRoomParams) {
			refuse(w, "list", "pods", apierrors.NewServiceUnavailable("later"))
		}, "", "", true},
		"the workload was not kept": {func(_ *world, p *steps.CheckTestRoomParams) { p.Workload = incident.EvidenceRef{} }, incident.No, incident.Unknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, kept := newWorld(t, nodeWith("gpu-00", 8, 63)), &store{}
			pages(t, w, holder("rank-0", "gpu-00", 8))
			p := roomParams(t, kept, "gpu-00")
			c.change(w, &p)
			got, err := (&Hands{Kube: w, Store: kept}).CheckTestRoom(context.Background(), p)
			if c.retry {
				if !incident.KindOf(err).Retryable() {
					t.Errorf("got %+v, error %v; want one that is tried again", got, err)
				}
				return
			}
			if err != nil || got.Room != c.room || got.Freed != c.freed || got.Why == "" {
				t.Errorf("room %s, freed %s, want %s and %s: %s; error %v", got.Room, got.Freed, c.room, c.freed, got.Why, err)
			}
		})
	}
}

// TestPlanCommTest: the step says what the planner says.
func TestPlanCommTest(t *testing.T) {
	p := steps.PlanCommTestParams{ExpectedGBps: 370, MaxRounds: 3, Prior: map[string]float64{"gpu-02": 0.3}}
	for i := range 4 {
		p.Nodes = append(p.Nodes, incident.Node{Name: fmt.Sprintf("gpu-%02d", i), Leaf: "a"})
	}
	h := &Hands{}
	first, err := h.PlanCommTest(context.Background(), p)
	if err != nil || first.Verdict != nil || len(first.Groups) == 0 {
		t.Fatalf("first round %+v, error %v", first, err)
	}
	round := incident.Round{Number: 1, Groups: first.Groups}
	for _, group := range first.Groups {
		round.Outcomes = append(round.Outcomes, incident.Outcome{ID: group.ID, Nodes: group.Nodes, Result: incident.TestPass, BusBWGBps: 360})
	}
	p.Rounds = append(p.Rounds, round)
	want := localize.Next(localize.Input{Nodes: p.Nodes, Prior: p.Prior, ExpectedGBps: 370, MaxRounds: 3}, p.Rounds)
	got, err := h.PlanCommTest(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, localize.Step(got)); diff != "" {
		t.Errorf("(-planner +step):\n%s", diff)
	}
}
