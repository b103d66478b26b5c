package diagnosis

// Label is one root cause of the taxonomy.
type Label struct {
	ID string
	// FailureCase is where this cause is usually seen; it occurs in others too.
	FailureCase string
	// Blames is the kind of thing at fault when only text speaks (see
	// incident.Blamed), "" when text cannot tell.
	Blames string
	// Meaning completes "the cause is that ..."; Advice is what a person does.
	Meaning string
	Advice  string
}

// FailureCases returns the closed list of failure cases.
func FailureCases() []string {
	return []string{
		"nccl-failure", "cuda-oom", "gpu-unschedulable", "inference-timeout", "dataset-slow",
		"model-version-mismatch", "low-gpu-utilization", "gpu-cost-spike", "gpu-hardware",
		"device-plugin/driver", "none-of-these",
	}
}

// IsFailureCase says whether id is one of FailureCases.
func IsFailureCase(id string) bool {
	for _, known := range FailureCases() {
		if id == known {
			return true
		}
	}
	return false
}

// IsRootCause says whether id is in the taxonomy.
func IsRootCause(id string) bool {
	_, ok := LabelOf(id)
	return ok
}

// LabelOf returns the label of a root cause, false when there is none.
func LabelOf(id string) (Label, bool) {
	for _, label := range taxonomy {
		if label.ID == id {
			return label, true
		}
	}
	return Label{}, false
}

// Taxonomy returns the closed list of root causes.
func Taxonomy() []Label { return append([]Label(nil), taxonomy...) }

var taxonomy = []Label{
	{"shm-too-small", "nccl-failure", "config",
		"the container's /dev/shm is too small for NCCL segments or loader tensors",
		"Mount an emptyDir with medium Memory at /dev/shm and give it a size limit that fits."},
	{"duplicate-gpu", "nccl-failure", "config",
		"two ranks use the same GPU",
		"Give each rank a GPU of its own: check LOCAL_RANK, CUDA_VISIBLE_DEVICES and GPU sharing on the node."},
	{"wrong-socket-interface", "nccl-failure", "config",
		"NCCL or Gloo is told to use, or picked, an interface that is absent or leads nowhere",
		"Correct or remove NCCL_SOCKET_IFNAME (and GLOO_SOCKET_IFNAME); in pods it is usually eth0."},
	{"network-unreachable-or-port-blocked", "nccl-failure", "",
		"the ranks cannot reach each other: a policy, a firewall or a dead node drops the traffic",
		"Look at NetworkPolicies, firewalls and sidecars between the ranks; all TCP ports between them must be open."},
	{"rendezvous-or-launcher-unreachable", "nccl-failure", "",
		"the master, the store or a launcher could not be reached or resolved before NCCL began",
		"Check that the master pod runs, that its name resolves (headless Service) and that its port is open."},
	{"rdma-or-net-plugin-unavailable", "nccl-failure", "config",
		"the pod has no usable RDMA device or network plugin, so NCCL fails or falls back to TCP",
		"Request the RDMA device resource, and check that the image carries libibverbs or the vendor's plugin."},
	{"roce-gid-or-hca-misconfig", "nccl-failure", "config",
		"RDMA is there, but the GID index, the HCA list or the rails do not fit",
		"Check NCCL_IB_GID_INDEX and NCCL_IB_HCA against the adapters on each node."},
	{"ib-link-error", "nccl-failure", "link",
		"a cable, port or adapter is at fault",
		"Look at the link counters of the adapters named, and test the nodes in pairs."},
	{"gpudirect-or-p2p-problem", "nccl-failure", "node",
		"GPUs cannot reach each other or the adapter directly over PCIe or NVLink",
		"Check the peer-memory module, ACS and IOMMU settings on the node."},
	{"fabric-manager-not-ready", "nccl-failure", "node",
		"the NVSwitch fabric manager is absent, stopped or was restarted without a GPU reset",
		"Check the fabric manager on the node and restart it together with the GPUs."},
	{"memlock-ulimit", "nccl-failure", "config",
		"the locked-memory limit is too low to register memory for RDMA",
		"Raise LimitMEMLOCK of the container runtime, or give the container the capability IPC_LOCK."},
	{"fd-or-process-limit", "nccl-failure", "config",
		"the limit on open files or processes was reached",
		"Raise the limit on open files, or lower the number of workers and connections."},
	{"collective-mismatch-or-uneven-work", "nccl-failure", "rank",
		"the ranks issue different collectives, sizes or counts",
		"Compare the collectives named per rank: uneven data, a branch, or unused parameters make them differ."},
	{"rank-straggler-timeout", "nccl-failure", "rank",
		"one rank comes too late to a collective that the others wait in",
		"Find what the late rank does (loading, checkpoint, stuck); a longer timeout only hides it."},
	{"peer-process-died", "nccl-failure", "pod",
		"one rank died first and the others only notice",
		"Repair what ended that rank (its exit code and its last lines tell), then restart from the checkpoint."},
	{"cuda-error-underlying", "nccl-failure", "rank",
		"a CUDA error in a kernel surfaces through NCCL's watchdog",
		"Run with CUDA_LAUNCH_BLOCKING=1 to find the kernel; NCCL only carried the news."},
	{"library-version-mismatch-or-bug", "nccl-failure", "config",
		"NCCL, CUDA and driver do not fit, or the ranks run different builds",
		"Use one image on all ranks, with a CUDA that the nodes' driver supports."},
	{"true-capacity-oom", "cuda-oom", "config",
		"the model and batch need more GPU memory than there is",
		"Use a smaller micro-batch, recomputation or sharding, or a larger GPU."},
	{"memory-fragmentation", "cuda-oom", "config",
		"enough GPU memory is free or cached, but not in one piece",
		"Set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True and restart."},
	{"other-process-on-gpu", "cuda-oom", "node",
		"another process holds the GPU's memory",
		"Find and end the other process on that GPU, or move the pod."},
	{"memory-leak-growth", "cuda-oom", "config",
		"memory use grows with every step",
		"Compare memory over steps; tensors are kept alive somewhere."},
	{"memory-reservation-config", "cuda-oom", "config",
		"the server or framework is told to reserve more or less memory than fits",
		"Adjust the reservation (memory utilisation, maximum length)."},
	{"host-oomkilled", "cuda-oom", "pod",
		"the host or the container ran out of memory and killed the process",
		"Raise the container's memory limit or lower its use; GPU memory is not the matter."},
	{"mig-or-sharing-config", "cuda-oom", "config",
		"the GPU slice or its sharing is set up wrong for this work",
		"Choose a larger slice or a GPU that is not shared."},
	{"insufficient-gpu-capacity", "gpu-unschedulable", "config",
		"all GPUs there are, are taken",
		"Free GPUs or add nodes."},
	{"autoscaler-cannot-add-gpu-node", "gpu-unschedulable", "config",
		"the autoscaler does not add the node that would help",
		"Check the node group's template and limits."},
	{"untolerated-taint", "gpu-unschedulable", "config",
		"the GPU nodes carry a taint that the pod does not tolerate",
		"Add the toleration to the pod."},
	{"node-or-pod-affinity-mismatch", "gpu-unschedulable", "config",
		"a selector or affinity excludes the GPU nodes",
		"Correct the selector or affinity."},
	{"quota-exceeded", "gpu-unschedulable", "config",
		"a quota or queue refuses the GPUs",
		"Free quota or ask for more."},
	{"volume-bind-or-mount-failure", "dataset-slow", "config",
		"a volume cannot be bound or mounted where the pod runs",
		"Look at the claim, its class and zone, and the mount's error."},
	{"device-plugin-not-registered", "device-plugin/driver", "node",
		"the node advertises no GPU at all",
		"Check the device plugin's pod on that node."},
	{"device-plugin-allocation-failure", "device-plugin/driver", "node",
		"the device plugin cannot give out a GPU it advertises",
		"Restart the device plugin on that node and compare its books with the kubelet's."},
	{"unhealthy-gpu-device", "device-plugin/driver", "node",
		"the device plugin withdrew a GPU after an error",
		"Look for the Xid on that node; replace or reset the GPU."},
	{"container-runtime-not-configured", "device-plugin/driver", "node",
		"the node's container runtime lacks the GPU runtime or driver library",
		"Configure the container toolkit on the node."},
	{"container-lost-device-access", "device-plugin/driver", "node",
		"the container had its GPU and lost access to it",
		"Restart the pod, and update the runtime so that a daemon reload does not take devices away."},
	{"driver-library-mismatch", "device-plugin/driver", "node",
		"the kernel module and the driver's libraries differ",
		"Reboot the node or reload the driver."},
	{"idle-gpu-node-not-removed", "gpu-cost-spike", "config",
		"a node is paid for although no GPU on it is used",
		"Check what keeps the autoscaler from removing it."},
	{"gpu-fell-off-bus", "gpu-hardware", "node",
		"a GPU no longer answers on PCIe",
		"Take the node out of service and have it repaired."},
	{"ecc-uncorrectable", "gpu-hardware", "node",
		"a GPU has uncorrectable memory errors",
		"Take the GPU out of service and reset or replace it."},
	{"ecc-row-remap-or-retirement", "gpu-hardware", "node",
		"a GPU waits for a reset to remap rows",
		"Drain the node and reset the GPU."},
	{"nvlink-or-nvswitch-error", "gpu-hardware", "node",
		"an NVLink or NVSwitch is at fault",
		"Take the node out of service and look at its NVLink counters."},
	{"gpu-thermal-or-power", "gpu-hardware", "node",
		"a GPU throttles or shut down by heat or power",
		"Check cooling and power of the node."},
	{"app-memory-fault-xid", "gpu-hardware", "rank",
		"a program's bad memory access raised an Xid; the board is sound",
		"Debug the program; the GPU needs no repair."},
	{"gpu-fault-or-firmware-hang", "gpu-hardware", "node",
		"the GPU or its firmware hangs",
		"Reset the GPU, and replace it when it happens again."},
	{"input-pipeline-too-slow", "dataset-slow", "config",
		"storage or preprocessing cannot feed the GPUs",
		"Raise loader workers and prefetch, or cache the data nearer."},
	{"dataloader-deadlock-or-misconfig", "dataset-slow", "config",
		"loader workers hang or their number is wrong",
		"Check the number of workers and the start method."},
	{"storage-read-error-or-stale-handle", "dataset-slow", "",
		"the file system or object stream breaks while reading",
		"Look at the storage and its mount, then restart."},
	{"engine-dead-or-hung", "inference-timeout", "pod",
		"the engine's loop or worker is dead, the front end still answers",
		"Restart the server, and let a probe see the engine."},
	{"queue-saturation-or-batching", "inference-timeout", "config",
		"more requests than slots or cache",
		"Add replicas or adjust batching."},
	{"response-timeout-too-short", "inference-timeout", "config",
		"a limit is shorter than the inference takes",
		"Raise the limit that was hit, or stream the answer."},
	{"cold-model-load", "inference-timeout", "config",
		"requests come while the model is loading",
		"Use a startup probe and keep a replica warm."},
	{"probe-kill", "inference-timeout", "config",
		"a probe restarts a server that works or would come up",
		"Give the probe more time."},
	{"runtime-or-engine-version-mismatch", "model-version-mismatch", "config",
		"the engine or library does not fit the model",
		"Build the engine with the runtime's version, or change the runtime."},
	{"model-shape-or-arch-mismatch", "model-version-mismatch", "config",
		"weights or requests have another shape than the model served",
		"Check the checkpoint against the model's configuration."},
	{"wrong-model-version-or-name", "model-version-mismatch", "config",
		"the model's version or name is not there",
		"Check the repository path and the version policy."},
	{"cpu-fallback-gpu-unused", "low-gpu-utilization", "config",
		"the work runs on the CPU because GPU libraries are missing",
		"Install the missing GPU libraries in the image."},
	{"benign-nccl-info", "none-of-these", "",
		"harmless NCCL lines of a run that works",
		"Nothing to do."},
	{"benign-framework-or-serving-log", "none-of-these", "",
		"harmless lines of a framework or server",
		"Nothing to do."},
	{"benign-kernel-or-kubelet-noise", "none-of-these", "",
		"harmless lines of kernel or kubelet",
		"Nothing to do."},
	{"ordinary-app-error", "none-of-these", "",
		"a plain error of the program or its data",
		"Look at the program; the platform is sound."},
}
