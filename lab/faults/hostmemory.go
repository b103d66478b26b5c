package faults

import (
	corev1 "k8s.io/api/core/v1"
)

const (
	gib = 1 << 30
	mib = 1 << 20
	// runtimeShm is what container runtimes give for /dev/shm, in MiB.
	runtimeShm = 64
	shmPath    = "/dev/shm"
)

// hostAt is what a rank holds of its container's memory at a step, in GiB: a
// file in /dev/shm counts too.
func (p *process) hostAt(t Training, step int) float64 {
	used := t.Host.Base + p.shmNeed(t.Loader)/1024
	if t.Host.Cache > 0 {
		filled := min(1, float64(step)/float64(t.Host.CacheSteps))
		used += t.Host.Cache * filled * (1 + 0.03*noise("cache", p.job, p.rank))
	}
	return used
}

// memoryLimit is the container's, in GiB; ok is false without one.
func (p *process) memoryLimit() (limit float64, ok bool) {
	quantity, ok := p.spec.Resources.Limits[corev1.ResourceMemory]
	return float64(quantity.Value()) / gib, ok
}

// shm is the size of /dev/shm in MiB, as the pod's volumes have it. A volume in
// memory without a limit of its own may grow to the container's.
func (p *process) shm() float64 {
	for _, mount := range p.spec.VolumeMounts {
		if mount.MountPath != shmPath {
			continue
		}
		for _, v := range p.pod.Spec.Volumes {
			if v.Name == mount.Name {
				return p.volumeSize(v)
			}
		}
	}
	return runtimeShm
}

func (p *process) volumeSize(v corev1.Volume) float64 {
	switch {
	case v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil:
		return float64(v.EmptyDir.SizeLimit.Value()) / mib
	default:
		limit, ok := p.memoryLimit()
		if !ok {
			return 1 << 20 // a TiB, half of a node's
		}
		return limit * 1024
	}
}

// shmNeed is what the loader's workers keep in /dev/shm, in MiB: the batches
// that are ready, before the rank takes them.
func (p *process) shmNeed(l Loader) float64 {
	return float64(workers.number(p)*max(1, prefetch.number(p))) * l.BatchMiB
}
