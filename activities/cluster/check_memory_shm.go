package cluster

import (
	"context"
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"gpumedic/incident"
)

const shmPath = "/dev/shm"

var (
	// runtimeShm is what a container gets where its pod mounts nothing there:
	// the default of containerd and of CRI-O.
	runtimeShm = resource.MustParse("64Mi")
	// shmPerGPU is what loader workers and NCCL of one GPU's process need at
	// least: batches of images are tens of MiB, a few of them per worker.
	shmPerGPU = resource.MustParse("1Gi")
)

// shm is the shared memory of one rank.
type shm struct {
	// size is nil where it is not bounded by itself; unknown says why it cannot
	// be told.
	size    *resource.Quantity
	unknown string
	words   string
}

// shmSmall takes the rank with the least.
func (s scene) shmSmall(ctx context.Context) incident.Finding {
	return s.gravest(ctx, incident.ShmSmall, func(pod corev1.Pod, rank incident.Rank, workers workerCount) (incident.State, string, string) {
		have := shmOf(pod, containerNamed(pod, rank.Container))
		state, why := have.enough(rank.GPUs, workers)
		return state, have.value(), why
	})
}

// enough compares with what loaders and NCCL need. A rank that says that it has
// no loader workers and has one GPU needs none for them.
func (m shm) enough(gpus int, workers workerCount) (incident.State, string) {
	need := shmPerGPU.DeepCopy()
	need.Set(shmPerGPU.Value() * int64(max(1, gpus)))
	switch {
	case m.unknown != "":
		return incident.Unknown, m.unknown
	case m.size == nil || m.size.Cmp(need) >= 0:
		return incident.No, m.words
	case gpus == 0 && workers.number <= 0:
		return incident.No, m.words + "; no GPU and no loader worker needs more"
	case gpus <= 1 && workers.number == 0:
		return incident.No, fmt.Sprintf("%s; it has no loader workers (%s) and one GPU, which need no more", m.words, workers.from)
	}
	why := fmt.Sprintf("%s; %d GPUs with their loader workers need %s or more", m.words, max(1, gpus), need.String())
	if workers.number > 0 {
		why = fmt.Sprintf("%s; %d loader workers (%s) pass their batches through it", m.words, workers.number, workers.from)
	}
	return incident.Yes, why
}

func (m shm) value() string {
	if m.size == nil {
		return ""
	}
	return m.size.String()
}

// shmOf says what /dev/shm of a container is.
func shmOf(pod corev1.Pod, container *corev1.Container) shm {
	volume, mounted := shmVolume(pod, container)
	switch {
	case pod.Spec.HostIPC && !mounted:
		return shm{unknown: "the pod uses the node's own /dev/shm (hostIPC), whose size is not known here"}
	case !mounted:
		return shm{size: &runtimeShm, words: fmt.Sprintf("nothing is mounted at %s, so that it has the container runtime's default of %s", shmPath, runtimeShm.String())}
	case volume == nil || volume.EmptyDir == nil:
		return shm{unknown: fmt.Sprintf("what is mounted at %s is no emptyDir, and its size is not known here", shmPath)}
	case !isMemoryVolume(volume):
		return shm{words: fmt.Sprintf("%s is the emptyDir %s on the node's disk, which is slow but not small", shmPath, volume.Name)}
	case volume.EmptyDir.SizeLimit == nil || volume.EmptyDir.SizeLimit.IsZero():
		return shm{words: fmt.Sprintf("%s is the memory volume %s, bounded by the pod's memory limit alone", shmPath, volume.Name)}
	}
	return shm{size: volume.EmptyDir.SizeLimit, words: fmt.Sprintf("%s is the memory volume %s of %s", shmPath, volume.Name, volume.EmptyDir.SizeLimit.String())}
}

// shmVolume finds what a container mounts at /dev/shm; nil and true when the
// pod does not say what it is.
func shmVolume(pod corev1.Pod, container *corev1.Container) (*corev1.Volume, bool) {
	if container == nil {
		return nil, false
	}
	for _, mount := range container.VolumeMounts {
		if path.Clean(mount.MountPath) == shmPath {
			return volumeNamed(pod, mount.Name), true
		}
	}
	return nil, false
}

func volumeNamed(pod corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

func isMemoryVolume(volume *corev1.Volume) bool {
	return volume.EmptyDir != nil && volume.EmptyDir.Medium == corev1.StorageMediumMemory
}
