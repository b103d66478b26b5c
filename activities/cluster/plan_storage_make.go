package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// copyTries is how often a copy is begun again, keptJob how long its Job stays.
	copyTries, keptJob = 2, 3600
	copyFrom, copyTo   = "/gpumedic/from", "/gpumedic/to"
)

// prepared is an object that is made before the ranks are stopped.
type prepared struct {
	metav1.ObjectMeta
	verb, version, kind string
	object              any
}

// newClaim is as large as the old one, and as open; the copy must be able to write.
func (d *draft) newClaim(m move) prepared {
	meta := d.ownMeta("gpumedic-"+m.claim.Name, m)
	meta.Annotations["gpumedic.io/copied-from"] = m.claim.Name
	modes := append([]corev1.PersistentVolumeAccessMode(nil), m.claim.Spec.AccessModes...)
	if !writes(modes) {
		modes = append(modes, corev1.ReadWriteMany)
	}
	claim := corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, ObjectMeta: meta,
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: modes, StorageClassName: &m.faster.Name, VolumeMode: m.claim.Spec.VolumeMode,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(gibOf(m.bytes)*gibi, resource.BinarySI)}},
		},
	}
	return prepared{ObjectMeta: meta, verb: verbCreate, version: "v1", kind: claim.Kind, object: &claim}
}

func writes(modes []corev1.PersistentVolumeAccessMode) bool {
	for _, mode := range modes {
		if mode != corev1.ReadOnlyMany {
			return true
		}
	}
	return false
}

// ownMeta names an object of this incident and claim.
func (d *draft) ownMeta(prefix string, m move) metav1.ObjectMeta {
	sum := sha256.Sum256([]byte(d.params.Incident + "/" + string(m.claim.UID)))
	const room = 63 - len("-000000")
	if len(prefix) > room {
		prefix = strings.TrimRight(prefix[:room], "-.")
	}
	labels, annotations := d.ownMarks()
	return metav1.ObjectMeta{Name: prefix + "-" + hex.EncodeToString(sum[:3]), Namespace: d.workload.Target.Namespace, Labels: labels, Annotations: annotations}
}

// copyJob reads the old claim and writes the new one, where the ranks may run too: a
// volume of one zone is then made where they can reach it.
func (d *draft) copyJob(m move) prepared {
	meta := d.ownMeta("gpumedic-copy-"+m.claim.Name, m)
	tries, limit, kept := int32(copyTries), int64(copyTime.Seconds()), int32(keptJob)
	job := batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: meta,
		Spec: batchv1.JobSpec{BackoffLimit: &tries, ActiveDeadlineSeconds: &limit, TTLSecondsAfterFinished: &kept,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{steps.OwnerLabel: meta.Labels[steps.OwnerLabel], steps.CopyLabel: "true", "sidecar.istio.io/inject": "false"}},
				Spec:       d.copyPod(m)}},
	}
	return prepared{ObjectMeta: meta, verb: verbRun, version: "batch/v1", kind: job.Kind, object: &job}
}

func (d *draft) copyPod(m move) corev1.PodSpec {
	no := false
	claim := func(name, claim string, readOnly bool) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: readOnly}}}
	}
	pod := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, ImagePullSecrets: m.spec.ImagePullSecrets,
		NodeSelector: m.spec.NodeSelector, Tolerations: m.spec.Tolerations, SecurityContext: m.spec.SecurityContext,
		Containers: []corev1.Container{d.copyContainer("copy", m.container, copyFrom, copyTo,
			corev1.VolumeMount{Name: "from", MountPath: copyFrom, ReadOnly: true}, corev1.VolumeMount{Name: "to", MountPath: copyTo})},
		Volumes: []corev1.Volume{claim("from", m.claim.Name, true), claim("to", d.newClaim(m).Name, false)},
	}
	if m.spec.Affinity != nil {
		pod.Affinity = &corev1.Affinity{NodeAffinity: m.spec.Affinity.NodeAffinity}
	}
	if nodes := nodeNames(incident.Workload{Ranks: d.workload.Ranks}); !manyNodes(m.claim) && len(nodes) > 0 {
		pod.NodeSelector = map[string]string{corev1.LabelHostname: nodes[0]} // the volume is attached there
	}
	return pod
}

// plainManifest is an object as the map that is sent, without the empty fields that
// Go's types write.
func plainManifest(object any) (map[string]any, error) {
	manifest, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("as a manifest: %w", err)
	}
	metadata, _ := manifest["metadata"].(map[string]any)
	delete(metadata, "creationTimestamp")
	delete(manifest, "status")
	return manifest, nil
}
