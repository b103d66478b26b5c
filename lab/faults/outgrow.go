package faults

import (
	"strconv"

	"gpumedic/lab/kubelet"
)

const (
	loading = "model = model.to(device)"
	forward = "loss = model(batch)"
	nextOne = "batch = next(batches)"
	// fullAt is the step at which the workers have filled /dev/shm.
	fullAt = 3
)

// load plays what comes before the first step; over says that there is none.
func (m *Model) load(p *process, t Training) (exit kubelet.Exit, over bool) {
	if t == (Training{}) {
		return kubelet.Exit{}, false
	}
	if problem := refuse(p); problem != "" {
		p.say("[rank%d]: %s", p.rank, problem)
		return kubelet.Exit{Code: 2}, true
	}
	p.sayOptions()
	if p.expandable() && t.GPU.Rigid {
		p.say("[rank%d]:[W CUDAAllocatorConfig.h:28] Warning: expandable_segments not supported on this platform (function operator())", p.rank)
	}
	return m.outgrow(p, t, 0)
}

// outgrow plays what a step needs; over says that the rank does not survive it.
func (m *Model) outgrow(p *process, t Training, step int) (exit kubelet.Exit, over bool) {
	if limit, ok := p.memoryLimit(); ok && p.hostAt(t, step) > limit {
		return kubelet.Exit{Code: 137, Reason: "OOMKilled"}, true // the kernel says nothing to the program
	}
	if step >= fullAt && p.shmNeed(t.Loader) > p.shm() {
		p.busError()
		return kubelet.Exit{Code: 1}, true
	}
	if t.GPU.Weights == 0 {
		return kubelet.Exit{}, false
	}
	share := m.memoryAt(p, t.GPU, step)
	if share.request > 0 {
		where := forward
		if step == 0 {
			where = loading
		}
		p.raise(where, p.outOfMemory(share))
		return kubelet.Exit{Code: 1}, true
	}
	if step > 0 {
		p.sayMemoryReport(share, step)
	}
	return kubelet.Exit{}, false
}

// busError prints how a loader tells that a worker was killed for writing where
// /dev/shm has no more room.
func (p *process) busError() {
	worker := p.pid + 200 + int(hash("worker", p.pod.UID)%64)
	p.say("[rank%d]: ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).", p.rank)
	p.raise(nextOne, "RuntimeError: DataLoader worker (pid "+strconv.Itoa(worker)+") is killed by signal: Bus error. "+
		"It is possible that dataloader's workers are out of shared memory. Please try to raise your shared memory limit.")
}
