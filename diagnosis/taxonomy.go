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
		"Lower the micro-batch and raise gradient accumulation by the same factor, shorten sequences, turn on activation checkpointing or sharding, or move to a larger GPU."},
	{"memory-fragmentation", "cuda-oom", "config",
		"enough GPU memory is free or cached, but not in one piece",
		"Set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True (PYTORCH_ALLOC_CONF from 2.9 on) and restart; the batch can stay as it is."},
	{"other-process-on-gpu", "cuda-oom", "node",
		"another process holds the GPU's memory",
		"Find who holds the memory: nvidia-smi --query-compute-apps=pid,used_memory --format=csv on the node. End what is left over, or give the pod a GPU of its own."},
	{"memory-leak-growth", "cuda-oom", "config",
		"memory use grows with every step",
		"Plot memory over steps. Look for losses or outputs kept with their graph (use .item(), detach()), growing caches and lists; a restart only buys time."},
	{"memory-reservation-config", "cuda-oom", "config",
		"the server or framework is told to reserve more or less memory than fits",
		"Fit the reservation to the card: --gpu-memory-utilization, --max-model-len, --max-num-seqs (vLLM), --mem-fraction-static (SGLang), XLA_PYTHON_CLIENT_MEM_FRACTION (JAX)."},
	{"host-oomkilled", "cuda-oom", "pod",
		"the host or the container ran out of memory and killed the process",
		"Raise the container's memory limit or use less: fewer loader workers, smaller prefetch, less pinned memory. /dev/shm counts as memory too. GPU memory is not the matter."},
	{"mig-or-sharing-config", "cuda-oom", "config",
		"the GPU slice or its sharing is set up wrong for this work",
		"Ask for a slice the nodes offer and that is large enough (kubectl describe node | grep nvidia.com/), or for a whole GPU; time-slicing does not divide memory."},
	{"insufficient-gpu-capacity", "gpu-unschedulable", "config",
		"all GPUs there are, are taken",
		"See who holds the GPUs: kubectl describe nodes | grep -A9 'Allocated resources'. Free some, wait, ask for fewer per pod, or add nodes."},
	{"autoscaler-cannot-add-gpu-node", "gpu-unschedulable", "config",
		"the autoscaler does not add the node that would help",
		"Read why the autoscaler declines (its events and log): limits of the node group, template without the GPU resource, no machines left in the zone. Raise or correct it."},
	{"untolerated-taint", "gpu-unschedulable", "config",
		"the GPU nodes carry a taint that the pod does not tolerate",
		"Add a toleration for the taint named above to the pod's template, or take the taint off the node if it is not meant: kubectl describe node | grep Taints."},
	{"node-or-pod-affinity-mismatch", "gpu-unschedulable", "config",
		"a selector or affinity excludes the GPU nodes",
		"Compare the pod's nodeSelector and affinity with the labels there are: kubectl get nodes -L nvidia.com/gpu.product. Correct the value, or relax the rule."},
	{"quota-exceeded", "gpu-unschedulable", "config",
		"a quota or queue refuses the GPUs",
		"See what is used: kubectl describe resourcequota (Kueue: kubectl describe clusterqueue). Free something or ask for more; no pod exists until then."},
	{"volume-bind-or-mount-failure", "dataset-slow", "config",
		"a volume cannot be bound or mounted where the pod runs",
		"kubectl describe the claim and the pod: is the claim bound, its class right, its zone that of the GPU nodes, the CSI driver's pod on this node running, the server reachable?"},
	{"device-plugin-not-registered", "device-plugin/driver", "node",
		"the node advertises no GPU at all",
		"Look for the device plugin's pod on that node and its log (kubectl get pods -A -o wide | grep device-plugin), then for the driver: nvidia-smi on the node."},
	{"device-plugin-allocation-failure", "device-plugin/driver", "node",
		"the device plugin cannot give out a GPU it advertises",
		"Restart the device plugin's pod on that node, then delete the failed pod so that it is scheduled again. If it returns, compare the plugin's and the kubelet's list of devices."},
	{"unhealthy-gpu-device", "device-plugin/driver", "node",
		"the device plugin withdrew a GPU after an error",
		"Find the Xid that made the plugin withdraw the GPU (dmesg | grep Xid). Reset or replace the GPU; the plugin offers it again only after its pod was restarted."},
	{"container-runtime-not-configured", "device-plugin/driver", "node",
		"the node's container runtime lacks the GPU runtime or driver library",
		"On the node: nvidia-ctk runtime configure --runtime=containerd, restart containerd; check that the RuntimeClass nvidia exists and the plugin's pod uses it."},
	{"container-lost-device-access", "device-plugin/driver", "node",
		"the container had its GPU and lost access to it",
		"Restart the pod. For good: update the container toolkit and use CDI, or the cgroupfs driver; systemctl daemon-reload on the node takes the devices away otherwise."},
	{"driver-library-mismatch", "device-plugin/driver", "node",
		"the kernel module and the driver's libraries differ",
		"Reload the kernel module or reboot the node, so that module and libraries are of one version; hold back unattended upgrades of the driver."},
	{"idle-gpu-node-not-removed", "gpu-cost-spike", "config",
		"a node is paid for although no GPU on it is used",
		"See what keeps the node: the autoscaler's status and log, pods that may not be evicted, scale-down disabled by annotation, requests for CPU by system pods. Drain it."},
	{"gpu-fell-off-bus", "gpu-hardware", "node",
		"a GPU no longer answers on PCIe",
		"Cordon the node and power-cycle it; a reboot is often not enough. If it returns, have the card, riser and power checked."},
	{"ecc-uncorrectable", "gpu-hardware", "node",
		"a GPU has uncorrectable memory errors",
		"Cordon the node, drain it and reset the GPU. nvidia-smi -q -d ECC,ROW_REMAPPER tells whether it must be replaced."},
	{"ecc-row-remap-or-retirement", "gpu-hardware", "node",
		"a GPU waits for a reset to remap rows",
		"Drain the node and reset the GPU, which makes the pending remapping take effect. If remapping failed, have the card replaced."},
	{"nvlink-or-nvswitch-error", "gpu-hardware", "node",
		"an NVLink or NVSwitch is at fault",
		"Cordon the node; nvidia-smi nvlink -s and -e show the links. Reset all GPUs of the baseboard together; if it returns, have the link or switch repaired."},
	{"gpu-thermal-or-power", "gpu-hardware", "node",
		"a GPU throttles or shut down by heat or power",
		"Check fans, air flow and power of the node: nvidia-smi -q -d TEMPERATURE,POWER,PERFORMANCE. Drain it while it throttles."},
	{"app-memory-fault-xid", "gpu-hardware", "rank",
		"a program's bad memory access raised an Xid; the board is sound",
		"Debug the program (compute-sanitizer, CUDA_LAUNCH_BLOCKING=1); the GPU needs no repair unless other jobs fail on it too."},
	{"gpu-fault-or-firmware-hang", "gpu-hardware", "node",
		"the GPU or its firmware hangs",
		"Cordon the node and reset the GPU, or reboot. Update driver and firmware when it happens on several cards, replace the card when on one."},
	{"input-pipeline-too-slow", "dataset-slow", "config",
		"storage or preprocessing cannot feed the GPUs",
		"More loader workers and prefetch, a cache on local disks, fewer and larger files, or faster storage. Compare data time with step time before and after."},
	{"dataloader-deadlock-or-misconfig", "dataset-slow", "config",
		"loader workers hang or their number is wrong",
		"py-spy dump on the hung process shows where. Try num_workers=0, the start method spawn, and no threads (OpenCV, HDF5) before the fork."},
	{"storage-read-error-or-stale-handle", "dataset-slow", "",
		"the file system or object stream breaks while reading",
		"Look at the file system's own log and the mount on that node; remount or restart the mount's pod, then restart the job from its checkpoint."},
	{"engine-dead-or-hung", "inference-timeout", "pod",
		"the engine's loop or worker is dead, the front end still answers",
		"Restart the server; its log above the first of these lines tells what ended the engine. Let the liveness probe ask the engine, not the web server alone."},
	{"queue-saturation-or-batching", "inference-timeout", "config",
		"more requests than slots or cache",
		"Add replicas or GPUs, limit requests in flight, shorten contexts, or give the cache more memory; watch waiting requests and cache use."},
	{"response-timeout-too-short", "inference-timeout", "config",
		"a limit is shorter than the inference takes",
		"Raise the limit that was hit (client, ingress, worker or queue), stream the answer, or bound the work of one request."},
	{"cold-model-load", "inference-timeout", "config",
		"requests come while the model is loading",
		"Give a startup probe and the load limit the time that loading takes, keep weights near (cache, fast volume), and keep one replica warm."},
	{"probe-kill", "inference-timeout", "config",
		"a probe restarts a server that works or would come up",
		"Use a startupProbe with failureThreshold x periodSeconds above the longest load, and let the liveness probe start after it."},
	{"runtime-or-engine-version-mismatch", "model-version-mismatch", "config",
		"the engine or library does not fit the model",
		"Build the engine file with the very runtime and GPU that serve it, or change the runtime to the version named above."},
	{"model-shape-or-arch-mismatch", "model-version-mismatch", "config",
		"weights or requests have another shape than the model served",
		"Compare the checkpoint's configuration with the model that is built (layers, hidden and vocabulary size, parallel sharding), and the request's shape with the model's input."},
	{"wrong-model-version-or-name", "model-version-mismatch", "config",
		"the model's version or name is not there",
		"List what the server sees (repository path, version folders, served names) and what was asked for; correct the path, the version policy or the name."},
	{"cpu-fallback-gpu-unused", "low-gpu-utilization", "config",
		"the work runs on the CPU because GPU libraries are missing",
		"Install the GPU build and the libraries named above in the image, then check from inside the pod that the framework sees the GPU."},
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
		"Look at the program and its data; the platform is sound."},
}
