package kubelet

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SimulatedAnnotation marks nodes that are no machines.
const SimulatedAnnotation = "gpumedic.io/simulated"

// Labels of a node's place in the network, as a site would set them.
const (
	LeafLabel = "network.gpumedic.io/leaf"
	RackLabel = "network.gpumedic.io/rack"
)

// maxNodes is how many /24 of pod addresses there are, less one.
const maxNodes = 11 * 256

// Topology is the shape of the simulated cluster. Nodes are dealt to leaf
// switches, racks and zones in contiguous blocks.
type Topology struct {
	// GPUs is per node, the others are of the whole cluster.
	Nodes, GPUs, Leafs, Racks int
	// Product as the GPU operator labels it, "NVIDIA-H100-80GB-HBM3".
	Product string
	// Larger is how many of the last nodes have LargerProduct instead; none when 0.
	Larger        int
	LargerProduct string
	// RDMA resource and how many each node offers; "" offers none.
	RDMA  string
	HCAs  int
	Zones []string
}

func (t Topology) check() error {
	switch {
	case t.Nodes < 1 || t.Nodes > maxNodes:
		return fmt.Errorf("topology of %d nodes: want 1 to %d", t.Nodes, maxNodes)
	case t.GPUs < 0 || t.HCAs < 0:
		return fmt.Errorf("topology with %d GPUs and %d %s per node: want no less than 0", t.GPUs, t.HCAs, t.RDMA)
	case t.Larger < 0 || t.Larger > t.Nodes || (t.Larger > 0) != (t.LargerProduct != ""):
		return fmt.Errorf("topology with %d of %d nodes of the larger product %q: want both or neither", t.Larger, t.Nodes, t.LargerProduct)
	case t.Leafs < 1 || t.Racks < 1 || len(t.Zones) == 0 || t.Leafs > 26:
		return fmt.Errorf("topology of %d leaf switches, %d racks and %d zones: want at least one of each, and 26 leaf switches at most", t.Leafs, t.Racks, len(t.Zones))
	}
	return nil
}

// DefaultTopology is 16 nodes of 8 H100 on 2 leaf switches in 4 racks.
func DefaultTopology() Topology {
	return Topology{
		Nodes: 16, GPUs: 8, Leafs: 2, Racks: 4, Product: "NVIDIA-H100-80GB-HBM3",
		RDMA: "rdma/hca_shared_devices_a", HCAs: 63, Zones: []string{"zone-1"},
	}
}

const nodePrefix = "gpu-"

// NodeName is the name of the n-th node, "gpu-07".
func NodeName(n int) string { return fmt.Sprintf(nodePrefix+"%02d", n) }

// LeafName is the name of the n-th leaf switch, "leaf-b".
func LeafName(n int) string { return fmt.Sprintf("leaf-%c", 'a'+n) }

// node builds the n-th Node object; port is where its logs are served.
func (t Topology) node(n int, port int32) *corev1.Node {
	name := NodeName(n)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("192"),
		corev1.ResourceMemory: resource.MustParse("2Ti"),
		corev1.ResourcePods:   resource.MustParse("110"),
		// Local disks, as on machines with eight NVMe drives.
		corev1.ResourceEphemeralStorage: resource.MustParse("7Ti"),
		"nvidia.com/gpu":                *resource.NewQuantity(int64(t.GPUs), resource.DecimalSI),
	}
	if t.RDMA != "" {
		capacity[corev1.ResourceName(t.RDMA)] = *resource.NewQuantity(int64(t.HCAs), resource.DecimalSI)
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{SimulatedAnnotation: "true"},
			Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
				corev1.LabelTopologyZone: t.Zones[n*len(t.Zones)/t.Nodes],
				LeafLabel:                LeafName(n * t.Leafs / t.Nodes),
				RackLabel:                fmt.Sprintf("rack-%d", 1+n*t.Racks/t.Nodes),
				"nvidia.com/gpu.product": t.product(n), "nvidia.com/gpu.present": "true",
				"nvidia.com/gpu.count": fmt.Sprint(t.GPUs),
			},
		},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: name}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
			NodeInfo:        corev1.NodeSystemInfo{KubeletVersion: "v1.37.2-simulated", OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "simulated://1"},
			Conditions:      nodeConditions(metav1.Now()),
		},
	}
}

// product is that of the n-th node.
func (t Topology) product(n int) string {
	if n >= t.Nodes-t.Larger {
		return t.LargerProduct
	}
	return t.Product
}

func nodeConditions(now metav1.Time) []corev1.NodeCondition {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"),
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
	}
}
