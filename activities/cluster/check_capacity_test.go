package cluster

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
)

// requested does to a pod's limits what the API server does.
func requested(pod *corev1.Pod) {
	for i := range pod.Spec.Containers {
		requestLimits(&pod.Spec.Containers[i])
	}
}

// withGPUs makes a node of a product with so many GPUs in all and on offer.
func withGPUs(product string, memory string, capacity, offered int64) func(*corev1.Node) {
	return func(node *corev1.Node) {
		node.Labels[gpuProduct] = product
		if memory != "" {
			node.Labels[gpuMemory] = memory
		}
		node.Status.Capacity = corev1.ResourceList{"nvidia.com/gpu": *resource.NewQuantity(capacity, resource.DecimalSI)}
		node.Status.Allocatable = corev1.ResourceList{"nvidia.com/gpu": *resource.NewQuantity(offered, resource.DecimalSI),
			"rdma/hca_shared_devices_a": resource.MustParse("63"), "pods": resource.MustParse("110")}
	}
}

func h100(capacity, offered int64) func(*corev1.Node) {
	return withGPUs("NVIDIA-H100-80GB-HBM3", "81559", capacity, offered)
}

// holding is somebody else's pod with GPUs on a node.
func holding(node int, gpus string) *corev1.Pod {
	pod := testPod(node, "other", limited("nvidia.com/gpu", gpus), requested)
	pod.OwnerReferences = nil
	return pod
}

func TestCheckCapacityUnexposed(t *testing.T) {
	for name, test := range map[string]struct {
		node func(*corev1.Node)
		want expect
	}{
		"all":   {h100(8, 8), expect{incident.No, "", "", []string{"all 2 GPU nodes"}}},
		"none":  {h100(0, 0), expect{incident.Yes, "node/gpu-01", "0 of 0", []string{"has not registered"}}},
		"fewer": {h100(8, 6), expect{incident.Yes, "node/gpu-01", "6 of 8", nil}},
		"less than the label says": {func(node *corev1.Node) { h100(4, 4)(node); node.Labels[gpuCount] = "8" },
			expect{incident.Yes, "node/gpu-01", "4 of 8", nil}},
		"more slices than GPUs": {func(node *corev1.Node) { h100(32, 32)(node); node.Labels[gpuCount] = "8" }, expect{state: incident.No}},
		"MIG slices alone": {func(node *corev1.Node) {
			h100(0, 0)(node)
			node.Status.Capacity["nvidia.com/mig-1g.10gb"], node.Status.Allocatable["nvidia.com/mig-1g.10gb"] = resource.MustParse("7"), resource.MustParse("7")
		}, expect{state: incident.No}},
		"no GPU node": {func(node *corev1.Node) { delete(node.Labels, gpuProduct); node.Status.Allocatable = nil }, expect{incident.No, "", "", []string{"all 1 GPU nodes"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testJob(1), testPod(0, "", requested), testNode(0, h100(8, 8)), testNode(1, test.node))
			test.want.compare(t, only(t, w.checked(t, w.CheckCapacity), incident.GPUsUnexposed))
		})
	}
	t.Run("many", func(t *testing.T) {
		objects := []runtime.Object{testJob(1), testPod(0, "", requested)}
		for i := range 20 {
			objects = append(objects, testNode(i, h100(8, 7)))
		}
		w := newWorld(t, objects...)
		found := all(w.checked(t, w.CheckCapacity), incident.GPUsUnexposed)
		if len(found) != 16 {
			t.Fatalf("%d findings", len(found))
		}
		contains(t, found[15].Why, "4 more nodes")
	})
}

func TestCheckCapacityFragmented(t *testing.T) {
	cordoned := func(node *corev1.Node) { h100(8, 8)(node); node.Spec.Unschedulable = true }
	for name, test := range map[string]struct {
		more []runtime.Object
		want expect
	}{
		"room":                {[]runtime.Object{testNode(1, h100(8, 8))}, expect{incident.No, "", "12 free, at most 8 on one node", []string{"a rank needs 4", "12 of NVIDIA-H100-80GB-HBM3"}}},
		"none free":           {[]runtime.Object{holding(0, "4")}, expect{incident.No, "", "0 free, at most 0 on one node", nil}},
		"too few":             {[]runtime.Object{holding(0, "2")}, expect{incident.No, "", "2 free, at most 2 on one node", nil}},
		"fragmented":          {[]runtime.Object{holding(0, "2"), testNode(1, h100(8, 8)), holding(1, "5")}, expect{incident.Yes, "", "5 free, at most 3 on one node", []string{"a rank needs 4"}}},
		"free where none may": {[]runtime.Object{holding(0, "4"), testNode(1, cordoned)}, expect{incident.No, "", "0 free, at most 0 on one node", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(test.more, testJob(1), testPod(0, "", requested), testNode(0, h100(8, 8)))...)
			got := only(t, w.checked(t, w.CheckCapacity), incident.GPUsFragmented)
			test.want.compare(t, got)
		})
	}
}

func TestCheckCapacityLarger(t *testing.T) {
	const h200, b200 = "NVIDIA-H200", "NVIDIA-B200"
	big := func(n int, product, memory string, options ...func(*corev1.Node)) *corev1.Node {
		return testNode(n, append([]func(*corev1.Node){withGPUs(product, memory, 8, 8)}, options...)...)
	}
	tainted := func(node *corev1.Node) {
		node.Spec.Taints = []corev1.Taint{{Key: "pool", Value: "big", Effect: corev1.TaintEffectNoSchedule}}
	}
	tolerant := func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "pool", Operator: corev1.TolerationOpExists}}
	}
	choosy := func(key, value string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{key: value} }
	}
	for name, test := range map[string]struct {
		pod  func(*corev1.Pod)
		own  func(*corev1.Node)
		more []runtime.Object
		want expect
	}{
		"none":                        {want: expect{incident.No, "", "", []string{"more memory than NVIDIA-H100-80GB-HBM3 (80 GiB)"}}},
		"room":                        {more: []runtime.Object{big(2, h200, "143771")}, want: expect{incident.Yes, "", h200, []string{"all 2 ranks find room on 1 nodes", "140 GiB"}}},
		"by its name":                 {more: []runtime.Object{big(2, h200, "")}, want: expect{incident.Yes, "", h200, []string{"131 GiB"}}},
		"the smallest that is larger": {more: []runtime.Object{big(2, b200, "183359"), big(3, h200, "143771")}, want: expect{incident.Yes, "", h200, nil}},
		"the next where that is full": {more: []runtime.Object{big(2, b200, "183359"), big(3, h200, "143771"), holding(3, "4")}, want: expect{incident.Yes, "", b200, nil}},
		"not for all":                 {more: []runtime.Object{big(2, h200, "143771"), holding(2, "2")}, want: expect{incident.No, "", "", []string{"NVIDIA-H200 (140 GiB) for 1 of 2 ranks"}}},
		"two nodes of one product":    {more: []runtime.Object{big(2, h200, "143771"), holding(2, "4"), big(3, h200, "143771"), holding(3, "4")}, want: expect{incident.Yes, "", h200, []string{"on 2 nodes"}}},
		"not of two products":         {more: []runtime.Object{big(2, h200, "143771"), holding(2, "4"), big(3, b200, "183359"), holding(3, "4")}, want: expect{state: incident.No}},
		"as large":                    {more: []runtime.Object{big(2, "NVIDIA-H100-PCIe", "81920")}, want: expect{state: incident.No}},
		"a taint":                     {more: []runtime.Object{big(2, h200, "143771", tainted)}, want: expect{state: incident.No}},
		"a taint that is tolerated":   {pod: tolerant, more: []runtime.Object{big(2, h200, "143771", tainted)}, want: expect{incident.Yes, "", h200, nil}},
		"a selector of the product":   {pod: choosy(gpuProduct, "NVIDIA-H100-80GB-HBM3"), more: []runtime.Object{big(2, h200, "143771")}, want: expect{incident.Yes, "", h200, nil}},
		"a selector of something":     {pod: choosy("team", "nlp"), more: []runtime.Object{big(2, h200, "143771")}, want: expect{state: incident.No}},
		"slices":                      {more: []runtime.Object{big(2, h200+"-SHARED", "143771")}, want: expect{state: incident.No}},
		"unknown memory":              {own: withGPUs("ACME-X", "", 8, 8), more: []runtime.Object{big(2, h200, "143771")}, want: expect{incident.Unknown, "", "", []string{`"ACME-X"`}}},
	} {
		t.Run(name, func(t *testing.T) {
			options := []func(*corev1.Pod){requested}
			if test.pod != nil {
				options = append(options, test.pod)
			}
			objects := append(test.more, testJob(2))
			for i := range 2 {
				own := h100(8, 8)
				if test.own != nil {
					own = test.own
				}
				objects = append(objects, testPod(i, "", options...), testNode(i, own))
			}
			w := newWorld(t, objects...)
			test.want.compare(t, only(t, w.checked(t, w.CheckCapacity), incident.LargerGPUFree))
		})
	}
}

// TestCheckCapacityOfTemplate: the ranks are gone, and the template says what
// they would need; the API server does not fill in requests there.
func TestCheckCapacityOfTemplate(t *testing.T) {
	objects := []runtime.Object{testJob(2)}
	for i := range 2 {
		objects = append(objects, testNode(i, withGPUs("NVIDIA-H200", "143771", 8, 2)))
	}
	w := newWorld(t, objects...)
	got := only(t, w.checked(t, w.CheckCapacity), incident.GPUsFragmented)
	if got.Value != fmt.Sprintf("%d free, at most %d on one node", 4, 2) || got.State != incident.Yes {
		t.Errorf("%+v", got)
	}
}

func TestMemoryOfProducts(t *testing.T) {
	for product, want := range map[string]int{"NVIDIA-A100-SXM4-40GB": 38146, "NVIDIA-A100-80GB-PCIe": 76293, "Tesla-V100-SXM2-16GB": 15258,
		"NVIDIA-H200": 134468, "NVIDIA-GeForce-RTX-4090": 0, "": 0} {
		if got := memoryOf(corev1.Node{}); got != 0 {
			t.Errorf("a node without labels has %d MiB", got)
		}
		node := testNode(0, labelled(gpuProduct, product))
		if got := memoryOf(*node); got != want {
			t.Errorf("%s has %d MiB, want %d", product, got, want)
		}
	}
}
