package commtest

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"gpumedic/incident"
)

const (
	// networksAnnotation asks Multus for further interfaces (Network Plumbing
	// Working Group, multi-network specification).
	networksAnnotation = "k8s.v1.cni.cncf.io/networks"
	hugePages          = "hugepages-2Mi"
)

// fabric is what a test's pods need on one kind of network, where the
// configuration does not say otherwise.
type fabric struct {
	resources map[string]string
	env       map[string]string
	// transports are what NCCL may report; nil = anything.
	transports []string
	// asks says what only the site can know, "" when it has said it.
	asks func(s incident.CommTestSettings) string
}

// fabrics are the known ones. NCCL_NET is an assertion, not tuning: without
// it, NCCL falls back to TCP where RDMA is missing, and the test would measure
// another network than the job uses. NCCL_IB_* stays as the image has it.
var fabrics = map[string]fabric{
	"infiniband": {
		// The name in the shared device plugin's own example.
		resources:  map[string]string{"rdma/hca_shared_devices_a": "1"},
		env:        map[string]string{"NCCL_NET": "IB"},
		transports: []string{"IB"},
	},
	"roce": {
		resources:  map[string]string{"rdma/hca_shared_devices_a": "1"},
		env:        map[string]string{"NCCL_NET": "IB"},
		transports: []string{"IB"},
		asks: func(s incident.CommTestSettings) string {
			if len(s.Networks) > 0 || s.HostNetwork {
				return ""
			}
			return "comm_test.fabric roce needs comm_test.networks or comm_test.host_network: a pod without the fabric's interface has no RoCE address"
		},
	},
	"efa": {
		// 5120Mi: aws-samples/awsome-distributed-training, nccl-tests.yaml.
		resources:  map[string]string{hugePages: "5120Mi"},
		env:        map[string]string{"FI_PROVIDER": "efa"},
		transports: []string{"Libfabric"},
		asks: func(s incident.CommTestSettings) string {
			if s.Resources["vpc.amazonaws.com/efa"] != "" {
				return ""
			}
			return "comm_test.fabric efa needs comm_test.resources[vpc.amazonaws.com/efa]: how many interfaces the instance type has, 32 on p5, 16 on p5en, 4 on p4d"
		},
	},
	"tcp": {env: map[string]string{"NCCL_NET": "Socket"}, transports: []string{"Socket"}},
}

// settled fills what the configuration leaves open with the fabric's defaults.
// A site that names any device means its own ones, not the example's.
func settled(s incident.CommTestSettings) incident.CommTestSettings {
	known := fabrics[s.Fabric]
	defaults := maps.Clone(known.resources)
	if usesDevices(s) {
		maps.DeleteFunc(defaults, func(name, _ string) bool { return isDevice(name) })
	}
	s.Resources, s.Env = merged(defaults, s.Resources), merged(known.env, s.Env)
	return s
}

// merged is base under over.
func merged(base, over map[string]string) map[string]string {
	if len(base)+len(over) == 0 {
		return nil
	}
	all := maps.Clone(over)
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range base {
		if _, set := all[name]; !set {
			all[name] = value
		}
	}
	return all
}

// isDevice: extended resources have a domain, cpu and hugepages have none.
func isDevice(resource string) bool { return strings.Contains(resource, "/") }

func usesDevices(s incident.CommTestSettings) bool {
	for name := range s.Resources {
		if isDevice(name) {
			return true
		}
	}
	return false
}

// requirements are a test pod's. Huge pages need a request of CPU or memory
// beside them (the API server says so); a limit would slow the test down.
func requirements(s incident.CommTestSettings) corev1.ResourceRequirements {
	limits := resources(s)
	requests := limits.DeepCopy()
	_, cpu := requests[corev1.ResourceCPU]
	_, memory := requests[corev1.ResourceMemory]
	for name := range limits {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && !cpu && !memory {
			requests[corev1.ResourceCPU] = resource.MustParse("1")
		}
	}
	return corev1.ResourceRequirements{Limits: limits, Requests: requests}
}

// sharedMemory is /dev/shm: the runtime's default of 64 MiB is too little for
// NCCL between the GPUs of a node.
func sharedMemory(s incident.CommTestSettings) *corev1.EmptyDirVolumeSource {
	dir := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if s.SharedMemory != "" {
		size := resource.MustParse(s.SharedMemory) // validate parsed it before
		dir.SizeLimit = &size
	}
	return dir
}

func annotations(s incident.CommTestSettings) map[string]string {
	if len(s.Networks) == 0 {
		return nil
	}
	return map[string]string{networksAnnotation: strings.Join(s.Networks, ",")}
}

// offFabric says that NCCL used another transport than the fabric's, "" when it
// did not or did not tell.
func offFabric(transport, name string) string {
	known := fabrics[name]
	if transport == "" || known.transports == nil || contained(known.transports, transport) {
		return ""
	}
	return fmt.Sprintf("NCCL used %s, not %s: the pods do not reach the %s fabric", transport, strings.Join(known.transports, " or "), name)
}

// contained compares without case: versions of a plugin differ in it.
func contained(names []string, name string) bool {
	for _, known := range names {
		if strings.EqualFold(known, name) {
			return true
		}
	}
	return false
}
