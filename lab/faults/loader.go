package faults

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Loader is how a rank comes to its batches.
type Loader struct {
	// CPUSeconds is what one worker needs to decode and augment one batch.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
	// BatchMiB and Files of one batch; 0 MiB = the loader is not played.
	BatchMiB float64 `json:"batch_mib,omitempty"`
	Files    int     `json:"files,omitempty"`
	// Mute: the program does not log how long it waits for data.
	Mute bool `json:"mute,omitempty"`
}

// localMBps is what a node's own disks and page cache give.
const localMBps = 6000.0

// waitForData is how long a step of so many seconds waits for its batch. Without
// workers the rank does everything itself; with them the slowest of processor,
// bandwidth and opening of files sets the pace.
func (m *Model) waitForData(p *process, l Loader, compute float64) float64 {
	if l.BatchMiB == 0 {
		return 0
	}
	source := m.source(p)
	reading, opening := l.BatchMiB*mib/1e6/source.MBps, float64(l.Files)*source.Latency/1000
	w := float64(workers.number(p))
	if w == 0 {
		return l.CPUSeconds + reading + opening
	}
	period := max(l.CPUSeconds/min(w, p.cpus()), reading, opening/w)
	return max(0, period-compute) + 0.003
}

// cpus the container may use; a node's when it has no limit.
func (p *process) cpus() float64 {
	if q, ok := p.spec.Resources.Limits[corev1.ResourceCPU]; ok {
		return q.AsApproximateFloat64()
	}
	return 192
}

// source is where batches come from: a warm cache, else the volume of the data.
func (m *Model) source(p *process) Storage {
	if p.cached() {
		return local
	}
	return m.sourceAt(p, dataDir.text(p))
}

// local is how quick a node's own storage is.
var local = Storage{MBps: localMBps, Latency: 0.05}

// sourceAt is how quick the volume under a path is.
func (m *Model) sourceAt(p *process, path string) Storage {
	volume := p.volumeAt(path)
	if volume == nil || volume.PersistentVolumeClaim == nil {
		return local
	}
	class := m.view.class(p.pod.Namespace, volume.PersistentVolumeClaim.ClaimName)
	for _, s := range m.currentScript().Storage {
		if s.Class == class {
			return s
		}
	}
	return local
}

// cached says whether the cache's folder was filled before the program began: an
// init container has the same volume. A cache that only the program itself fills
// is cold for the whole first epoch.
func (p *process) cached() bool {
	volume := p.volumeAt(cacheDir.text(p))
	if volume == nil {
		return false
	}
	for _, c := range p.pod.Spec.InitContainers {
		for _, mount := range c.VolumeMounts {
			if mount.Name == volume.Name {
				return true
			}
		}
	}
	return false
}

// volumeAt is the volume under a path of the container, nil when it is none's.
func (p *process) volumeAt(path string) *corev1.Volume {
	best, name := "", ""
	for _, mount := range p.spec.VolumeMounts {
		under := path == mount.MountPath || strings.HasPrefix(path, strings.TrimSuffix(mount.MountPath, "/")+"/")
		if under && len(mount.MountPath) > len(best) {
			best, name = mount.MountPath, mount.Name
		}
	}
	for i, v := range p.pod.Spec.Volumes {
		if best != "" && v.Name == name {
			return &p.pod.Spec.Volumes[i]
		}
	}
	return nil
}
