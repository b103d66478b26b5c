package ioprobe

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/testpods"
)

// mostVolumes are probed; the budget is shared among them.
const mostVolumes = 2

// dataVariable finds variables that name where the dataset lies.
var dataVariable = regexp.MustCompile(`^(TRAIN_?|TRAINING_?)?DATA(SET)?_?(DIR|PATH|ROOT)?$`)

// notData are drivers of volumes in pod specs that hold keys, not data.
var notData = regexp.MustCompile(`secret|cert|spiffe|vault`)

// dataVolume is a volume of a rank with the place it is mounted at.
type dataVolume struct {
	// subject is "pvc/NAME" or "volume/NAME".
	subject string
	volume  corev1.Volume
	mount   corev1.VolumeMount
	// dir is what is read: the mount's path, or a directory below it where a
	// variable names one.
	dir   string
	named bool
	// refusal says why it cannot be probed, "" when it can.
	refusal string
}

// dataVolumes are the volumes from which a container reads its data, in the
// order of its mounts, and why others that may be are not probed.
func (h *Hands) dataVolumes(ctx context.Context, pod *corev1.Pod, container string) (probed []dataVolume, refused []string, err error) {
	at := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == container })
	if at < 0 {
		return nil, []string{fmt.Sprintf("pod %s has no container %q", pod.Name, container)}, nil
	}
	dirs := dataDirs(pod.Spec.Containers[at])
	var remote []dataVolume
	for _, mount := range pod.Spec.Containers[at].VolumeMounts {
		one := dataVolume{mount: mount}
		if one.dir, one.named = below(mount.MountPath, dirs); !one.find(pod) {
			continue
		}
		beyond, err := h.beyondNode(ctx, pod.Namespace, &one)
		if err != nil {
			return nil, nil, err
		}
		if beyond {
			remote = append(remote, one)
		}
	}
	for _, one := range likeliest(remote) {
		switch {
		case one.refusal != "":
			refused = append(refused, one.subject+" "+one.refusal)
		case len(probed) == mostVolumes:
			refused = append(refused, fmt.Sprintf("%s is one more than the %d that are probed", one.subject, mostVolumes))
		default:
			probed = append(probed, one)
		}
	}
	return probed, refused, nil
}

// likeliest keeps the volumes that a variable names, else those that are only
// read, else all.
func likeliest(all []dataVolume) []dataVolume {
	for _, likely := range []func(dataVolume) bool{
		func(v dataVolume) bool { return v.named },
		func(v dataVolume) bool { return v.mount.ReadOnly || v.onlyRead() },
	} {
		kept := slices.DeleteFunc(slices.Clone(all), func(v dataVolume) bool { return !likely(v) })
		if len(kept) > 0 {
			return kept
		}
	}
	return all
}

func (v dataVolume) onlyRead() bool {
	claim := v.volume.PersistentVolumeClaim
	return claim != nil && claim.ReadOnly || v.volume.NFS != nil && v.volume.NFS.ReadOnly
}

// dataDirs are the directories that the container's own variables name.
func dataDirs(c corev1.Container) []string {
	var dirs []string
	for _, v := range c.Env {
		if dataVariable.MatchString(strings.ToUpper(v.Name)) && path.IsAbs(v.Value) {
			dirs = append(dirs, path.Clean(v.Value))
		}
	}
	return dirs
}

// below is the first directory at or under a mount's path, else that path.
func below(mount string, dirs []string) (dir string, named bool) {
	root := strings.TrimSuffix(path.Clean(mount), "/") + "/"
	for _, dir := range dirs {
		if strings.HasPrefix(dir+"/", root) {
			return dir, true
		}
	}
	return mount, false
}

// find looks the mount's volume up, and refuses a mount whose path is computed.
func (v *dataVolume) find(pod *corev1.Pod) bool {
	at := slices.IndexFunc(pod.Spec.Volumes, func(one corev1.Volume) bool { return one.Name == v.mount.Name })
	if at < 0 {
		return false
	}
	v.volume, v.subject = pod.Spec.Volumes[at], "volume/"+v.mount.Name
	if v.mount.SubPathExpr != "" {
		v.refusal = "is mounted at a sub path that each pod computes"
	}
	return true
}

// beyondNode says whether a volume's data comes from elsewhere. What the kubelet
// fills, what lies on the node and what begins empty with the pod does not.
func (h *Hands) beyondNode(ctx context.Context, namespace string, v *dataVolume) (bool, error) {
	source := v.volume.VolumeSource
	switch {
	case source.PersistentVolumeClaim != nil:
		return h.claim(ctx, namespace, source.PersistentVolumeClaim.ClaimName, v)
	case source.CSI != nil:
		return !notData.MatchString(source.CSI.Driver), nil
	case source.NFS != nil, source.CephFS != nil, source.RBD != nil, source.Glusterfs != nil, source.ISCSI != nil, source.FC != nil,
		source.AzureFile != nil, source.AzureDisk != nil, source.GCEPersistentDisk != nil, source.AWSElasticBlockStore != nil,
		source.Cinder != nil, source.VsphereVolume != nil, source.PortworxVolume != nil, source.Quobyte != nil, source.FlexVolume != nil:
		return true, nil
	}
	return false, nil
}

// claim looks at the claim and the volume behind it. What may not be read is
// taken for a volume beyond the node: the probe itself will tell.
func (h *Hands) claim(ctx context.Context, namespace, name string, v *dataVolume) (bool, error) {
	v.subject = "pvc/" + name
	claim, err := h.Kube.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return true, nil
	case err != nil:
		return false, testpods.Fault(err, "reading persistentvolumeclaim %s/%s", namespace, name)
	case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod):
		v.refusal = "may be mounted by one pod alone (ReadWriteOncePod), and a rank has it"
	case claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		v.refusal = "is a block device without a file system"
	case claim.Spec.VolumeName == "":
		v.refusal = "is not bound"
	}
	if v.refusal != "" {
		return true, nil
	}
	volume, err := h.Kube.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, testpods.Fault(err, "reading persistentvolume %s", claim.Spec.VolumeName)
	}
	csi := volume.Spec.CSI
	return volume.Spec.Local == nil && volume.Spec.HostPath == nil && (csi == nil || !strings.Contains(csi.Driver, "local")), nil
}
