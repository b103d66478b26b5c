package scenarios

import (
	"maps"

	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
)

// The failure case of memory, and the variables of the program that tell what was
// changed.
const (
	cudaOOM   = "cuda-oom"
	allocator = "PYTORCH_CUDA_ALLOC_CONF"
	segments  = ".*expandable_segments:True.*"
)

// Programs that outgrow something. An H100 has 79.1 GiB for them.
var (
	fragmenting = faults.GPUMemory{Weights: 30, Sample: 7.5, Fragments: 3}
	large8      = faults.GPUMemory{Weights: 41, Sample: 10}
	leaking     = faults.GPUMemory{Weights: 40, Sample: 2, Leak: 2.8}
	resting     = faults.GPUMemory{Weights: 30, Sample: 7.5}
)

// memory lists the incidents of GPU and host memory.
func memory() []entry {
	behind := fragments("oom-behind-nccl", "Seven ranks blame the network, the eighth ran out of GPU memory",
		"As oom-fragmentation, but the rule that fires watches NCCL. One rank's allocator gives up first and its peers report closed "+
			"connections: the incident is handed over to the memory's story and ends there.", false)
	behind.Alert = alert("DistributedTrainingFailure", "critical")
	return []entry{
		fragments("oom-fragmentation", "A job dies of CUDA out of memory every few steps, although the total would be enough",
			"The caching allocator reserves more and more that it cannot use again. Segments that can grow heal it, and the job passes "+
				"the step at which it used to die.", false),
		capacity(true), capacity(false), largerGPU(), tenant(), hostLimit(), shm(), leak(),
		fragments("oom-allocator-useless", "Segments that can grow do not help: the driver does not know them",
			"As oom-fragmentation, but the nodes' driver cannot map memory piece by piece, which no object shows. The approved setting "+
				"is applied, the job dies at the same step again, and the setting is taken back; a person takes over.", true),
		behind,
	}
}

// oom is an incident of a program's memory.
func oom(name, title, story, folder string, program faults.Training, want Expect) entry {
	program.Namespace, program.Job = Namespace, Job
	want.FailureCase = cudaOOM
	return entry{folder: folder, Scenario: Scenario{
		Name: name, Title: title, Story: story, Alert: of(cudaOOM, alert("TrainingOutOfMemory", "critical")),
		Faults: faults.Script{Trainings: []faults.Training{program}}, Answer: want.answer(), SettleUntil: UntilFailing, Expect: want,
	}}
}

// of says in the alert which failure case its rule is for.
func of(failureCase string, labels map[string]string) map[string]string {
	labels = maps.Clone(labels)
	labels["failure_case"] = failureCase
	return labels
}

func fragments(name, title, story string, rigid bool) entry {
	program := fragmenting
	program.Rigid = rigid
	want := Expect{
		Outcome: incident.Resolved, RootCause: "memory-fragmentation", BlamedKind: "config", Changes: 1,
		Training: true, Transport: "IB", Env: map[string]string{allocator: segments},
	}
	if rigid {
		want.Outcome, want.Undone, want.ClusterUnchanged, want.Training, want.Transport = incident.RolledBack, true, true, false, ""
		want.Env = map[string]string{allocator: ""}
	}
	return oom(name, title, story, "oom", faults.Training{GPU: program}, want)
}

func capacity(knob bool) entry {
	program := faults.Training{GPU: large8}
	if knob {
		return oom("oom-capacity-knob", "The micro-batch does not fit into the GPU, and the owners let it be turned",
			"Activations of eight samples do not fit beside the weights. The job's annotation declares micro-batch and accumulation as knobs "+
				"with a constant product: half the one and twice the other, and the same training fits.", "oom-capacity-knob", program,
			Expect{
				Outcome: incident.Resolved, RootCause: "true-capacity-oom", BlamedKind: "config", Changes: 1, Training: true, Transport: "IB",
				Env: map[string]string{"MICRO_BATCH": "4", "ACCUMULATION": "8"},
			})
	}
	program.GPU.Sample *= 2 // the folder's micro-batch is half as large
	return oom("oom-capacity-no-knob", "The micro-batch does not fit into the GPU, and nothing may be turned",
		"As oom-capacity-knob, but the owners declare nothing. What would help is said, and nothing is changed.", "oom", program,
		Expect{Outcome: incident.Escalated, RootCause: "true-capacity-oom", BlamedKind: "config", ClusterUnchanged: true})
}

func largerGPU() entry {
	program := faults.Training{GPU: large8}
	program.GPU.Sample *= 2
	e := oom("oom-capacity-larger-gpu", "The micro-batch does not fit into the GPU, and half of the cluster has larger ones",
		"As oom-capacity-no-knob, but eight nodes with H200 are free, and the job's selector names the H100. It is sent to the larger product, "+
			"where the same training fits.", "oom-capacity-larger-gpu", program,
		Expect{
			Outcome: incident.Resolved, RootCause: "true-capacity-oom", BlamedKind: "config", Changes: 1, Training: true, Transport: "IB",
			Env: map[string]string{"MICRO_BATCH": "4"}, Product: "NVIDIA-H200",
		})
	e.larger = "NVIDIA-H200"
	return e
}

func tenant() entry {
	node := kubelet.NodeName(3)
	e := oom("oom-foreign-process", "A process of nobody's pod holds most of one node's GPUs",
		"A process that outlived its container holds 61 GiB on a node. The rank there cannot even load the model; its peers report "+
			"closed connections. Whose process it is must be found out by a person; nothing is changed.", "oom-foreign-process",
		faults.Training{GPU: resting},
		Expect{Outcome: incident.Escalated, RootCause: "other-process-on-gpu", BlamedKind: "node", Blamed: node, ClusterUnchanged: true})
	e.Faults.Tenants = []faults.Tenant{{Node: node, PID: 4242, GiB: 61}}
	return e
}

func hostLimit() entry {
	return oom("oom-host-limit", "The loader's cache outgrows the container's memory limit",
		"GPU memory is fine. The ranks' caches grow to some 70 GiB, and the limit is 64: the kernel kills the first one that is over it. "+
			"A higher limit heals it.", "oom-host-limit", faults.Training{Host: faults.HostMemory{Base: 22, Cache: 46, CacheSteps: 8}, Loader: steady},
		Expect{Outcome: incident.Resolved, RootCause: "host-oomkilled", BlamedKind: "pod", Changes: 1, Training: true, Transport: "IB"})
}

func shm() entry {
	return oom("oom-shm", "The loader's workers find no room in /dev/shm",
		"The job's template lost its volume for /dev/shm, so the runtime's 64 MiB are all there is. The workers die of a bus error at the "+
			"third step. A volume in memory heals it.", "oom-shm", faults.Training{Loader: steady},
		Expect{Outcome: incident.Resolved, RootCause: "shm-too-small", BlamedKind: "config", Changes: 1, Training: true, Transport: "IB"})
}

func leak() entry {
	return oom("oom-leak", "The program keeps what it should give back",
		"Allocated memory grows with every step until the GPU is full. No setting mends a leak, a restart only buys time: the owners are "+
			"told, and nothing is changed.", "oom", faults.Training{GPU: leaking},
		Expect{Outcome: incident.Escalated, RootCause: "memory-leak-growth", BlamedKind: "config", ClusterUnchanged: true})
}
