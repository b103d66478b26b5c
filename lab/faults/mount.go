package faults

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/lab/kubelet"
)

var _ kubelet.Mounter = (*Model)(nil)

// Mount says why a pod's volumes cannot be mounted, as the kubelet reports it of
// an NFS server that does not answer; "" when they can.
func (m *Model) Mount(pod *corev1.Pod) string {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil || !slices.Contains(m.currentScript().BrokenClaims, v.PersistentVolumeClaim.ClaimName) {
			continue
		}
		volume := m.view.volume(pod.Namespace, v.PersistentVolumeClaim.ClaimName)
		return fmt.Sprintf("MountVolume.SetUp failed for volume %q : mount failed: exit status 32\nMounting command: mount\n"+
			"Mounting arguments: -t nfs -o nfsvers=4.1 10.96.8.20:/export/%s /var/lib/kubelet/pods/%s/volumes/kubernetes.io~nfs/%s\n"+
			"Output: mount.nfs: Connection timed out", volume, volume, pod.UID, volume)
	}
	return ""
}
