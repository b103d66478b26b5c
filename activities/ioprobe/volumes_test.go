package ioprobe

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// TestDataVolumes: what is probed of a rank's volumes, and why not the others.
func TestDataVolumes(t *testing.T) {
	once := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}
	block := func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }
	local := corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/x"}}
	mount := func(pod *corev1.Pod, name, path string, source corev1.VolumeSource) *corev1.VolumeMount {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		trainer := &pod.Spec.Containers[1]
		trainer.VolumeMounts = append(trainer.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
		return &trainer.VolumeMounts[len(trainer.VolumeMounts)-1]
	}
	share := corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.9", Path: "/ckpt"}}
	for name, c := range map[string]struct {
		claim   *corev1.PersistentVolumeClaim
		volume  corev1.PersistentVolumeSource
		alter   func(*corev1.Pod)
		dirs    []string
		refused string
	}{
		"read-only before written": {claim("web-images", nil), nfs, func(pod *corev1.Pod) { mount(pod, "ckpt", "/ckpt", share) }, []string{"/data"}, ""},
		"the one that a variable names": {claim("web-images", nil), nfs, func(pod *corev1.Pod) {
			mount(pod, "corpus", "/corpus", share)
			pod.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "DATA_DIR", Value: "/corpus/v2/"}, {Name: "TOKENIZER", Value: "/data/t"}}
		}, []string{"/corpus/v2"}, ""},
		"not a name that only begins alike": {claim("web-images", nil), nfs, func(pod *corev1.Pod) {
			pod.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "DATA_DIR", Value: "/data2"}}
		}, []string{"/data"}, ""},
		"all where none is only read": {claim("web-images", nil), nfs, func(pod *corev1.Pod) {
			pod.Spec.Containers[1].VolumeMounts[0].ReadOnly = false
			mount(pod, "ckpt", "/ckpt", share)
			mount(pod, "third", "/third", share)
		}, []string{"/data", "/ckpt"}, "volume/third is one more than the 2 that are probed"},
		"one pod alone":      {claim("web-images", once), nfs, nil, nil, "pvc/web-images may be mounted by one pod alone (ReadWriteOncePod), and a rank has it"},
		"a block device":     {claim("web-images", block), nfs, nil, nil, "pvc/web-images is a block device without a file system"},
		"not bound":          {claim("web-images", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "" }), nfs, nil, nil, "pvc/web-images is not bound"},
		"a disk of the node": {claim("web-images", nil), local, nil, nil, ""},
		"keys are no dataset": {claim("web-images", nil), local, func(pod *corev1.Pod) {
			mount(pod, "keys", "/keys", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "secrets-store.csi.k8s.io"}})
		}, nil, ""},
		"a computed path": {claim("web-images", nil), nfs, func(pod *corev1.Pod) { pod.Spec.Containers[1].VolumeMounts[0].SubPathExpr = "$(POD)" }, nil, "pvc/web-images is mounted at a sub path that each pod computes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.claim, volume("web-images", c.volume))
			pod := rankPod("llama-0")
			if c.alter != nil {
				c.alter(pod)
			}
			probed, refused, err := w.hands().dataVolumes(context.Background(), pod, "trainer")
			if err != nil {
				t.Fatal(err)
			}
			var dirs []string
			for _, v := range probed {
				dirs = append(dirs, v.dir)
			}
			if !slices.Equal(dirs, c.dirs) {
				t.Errorf("probed %q, want %q", dirs, c.dirs)
			}
			if c.refused == "" && len(refused) > 0 || c.refused != "" && !slices.Equal(refused, []string{c.refused}) {
				t.Errorf("refused %q, want %q", refused, c.refused)
			}
		})
	}
}
