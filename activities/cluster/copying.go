package cluster

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// copyScript copies what is in directory $1 into directory $2 with the attributes of
// the files, and may be repeated. What the file system itself keeps at the top is
// left out. The copy counts only when as many files are there.
const copyScript = `set -eu
echo "gpumedic: copying $1 to $2"
mkdir -p "$2"
cd "$1"
find . -mindepth 1 -maxdepth 1 ! -name lost+found -exec sh -c 'to=$1; shift; cp -a "$@" "$to"/' sh "$2" {} +
count() { find "$1" -name lost+found -prune -o -type f -print | wc -l; }
from=$(count "$1")
to=$(count "$2")
echo "gpumedic: $from files there, $to files here"
[ "$to" -ge "$from" ]
`

// copyContainer copies from one directory to another, as the user that the ranks are.
func (d *draft) copyContainer(name string, like corev1.Container, from, to string, mounts ...corev1.VolumeMount) corev1.Container {
	amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	c := corev1.Container{
		Name: name, Image: orWord(d.params.Storage.Image, like.Image),
		Command: []string{"/bin/sh", "-c", copyScript, "gpumedic", from, to}, VolumeMounts: mounts,
		Resources: corev1.ResourceRequirements{Requests: amounts, Limits: amounts}, SecurityContext: plainUser(like.SecurityContext),
	}
	if c.Image == like.Image {
		c.ImagePullPolicy = like.ImagePullPolicy
	}
	return c
}

// plainUser is a container's user without what only the ranks need.
func plainUser(like *corev1.SecurityContext) *corev1.SecurityContext {
	no := false
	user := &corev1.SecurityContext{AllowPrivilegeEscalation: &no}
	if like == nil {
		return user
	}
	user.RunAsUser, user.RunAsGroup, user.RunAsNonRoot, user.SeccompProfile = like.RunAsUser, like.RunAsGroup, like.RunAsNonRoot, like.SeccompProfile
	if like.Capabilities != nil && len(like.Capabilities.Drop) > 0 {
		user.Capabilities = &corev1.Capabilities{Drop: like.Capabilities.Drop}
	}
	return user
}

// podSpecAt reads the pod spec at a path; false, with a reason, when it is malformed.
func (d *draft) podSpecAt(at fieldPath) (corev1.PodSpec, bool) {
	var spec corev1.PodSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(at.fieldsAt(d.live.Object), &spec); err != nil {
		d.refuse("the pod template of %s cannot be read: %v", d.workload.Target, err)
		return spec, false
	}
	return spec, true
}

// under says whether a directory is another one or in it.
func under(dir, top string) bool {
	return path.Clean(dir) == path.Clean(top) || strings.HasPrefix(path.Clean(dir)+"/", strings.TrimSuffix(path.Clean(top), "/")+"/")
}

// mountOf is the volume mounted nearest above a directory, false when it is in the
// container's own layer.
func mountOf(container corev1.Container, dir string) (nearest corev1.VolumeMount, found bool) {
	for _, mount := range mountsOf(&container) {
		if under(dir, mount.MountPath) && len(path.Clean(mount.MountPath)) >= len(path.Clean(nearest.MountPath)) {
			nearest, found = mount, true
		}
	}
	return nearest, found
}

// volumeOf is a volume of a pod spec by name.
func volumeOf(spec corev1.PodSpec, name string) corev1.Volume {
	at := slices.IndexFunc(spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == name })
	if at < 0 {
		return corev1.Volume{}
	}
	return spec.Volumes[at]
}

// ownMarks are the labels and annotations of an object that an incident creates.
func (d *draft) ownMarks() (labels, annotations map[string]string) {
	return map[string]string{steps.OwnerLabel: steps.OwnerValue(d.params.Incident), "app.kubernetes.io/managed-by": steps.FieldManager},
		map[string]string{"gpumedic.io/incident-id": d.params.Incident, "gpumedic.io/target": d.workload.Target.String()}
}

// gibOf writes bytes as whole GiB, rounded up.
func gibOf(bytes int64) int64 { return (bytes + gibi - 1) / gibi }

// declaredCache is the knob of role cache-dir that means a container; the zero knob
// when there is none.
func declaredCache(list []incident.Knob, container string) incident.Knob {
	for _, knob := range list {
		if knob.Role == incident.KnobCacheDir && (knob.Container == "" || knob.Container == container) {
			return knob
		}
	}
	return incident.Knob{}
}
