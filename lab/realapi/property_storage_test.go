package realapi

import (
	"fmt"
	"math/rand/v2"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/lab/kubelet"
	"gpumedic/steps"
)

// copied stands for a program that copies a directory: no byte is copied.
func copied(c kubelet.Container) kubelet.Exit {
	for _, variable := range c.Spec.Env {
		if variable.Value == secret {
			fmt.Fprintln(c.Out, "a secret of the ranks has come to the copy")
			return kubelet.Exit{Code: 1}
		}
	}
	fmt.Fprintln(c.Out, "gpumedic: copied (simulated)")
	return kubelet.Exit{}
}

// storage makes the classes, which all tests share, and slow claims. The volume of a
// fast claim is made when its first pod, which copies, has a node.
func (w *world) storage() {
	w.Helper()
	gone, yes := corev1.PersistentVolumeReclaimDelete, true
	for name, mode := range map[string]storagev1.VolumeBindingMode{"realapi-hdd": storagev1.VolumeBindingImmediate, "realapi-ssd": storagev1.VolumeBindingWaitForFirstConsumer} {
		_, err := w.admin.StorageV1().StorageClasses().Create(w.ctx, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name},
			Provisioner: kubelet.Provisioner, ReclaimPolicy: &gone, VolumeBindingMode: &mode, AllowVolumeExpansion: &yes}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			w.must(err)
		}
	}
	w.boundClaim("corpus", "realapi-hdd")
	w.boundClaim("corpus-of-theirs", "realapi-hdd")
}

func (w *world) boundClaim(name, class string) {
	w.Helper()
	claims := w.admin.CoreV1().PersistentVolumeClaims(w.namespace)
	_, err := claims.Create(w.ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("50Gi")}}}}, metav1.CreateOptions{})
	w.must(err)
	w.until("claim "+name+" is bound", func() bool {
		claim, err := claims.Get(w.ctx, name, metav1.GetOptions{})
		w.must(err)
		return claim.Status.Phase == corev1.ClaimBound
	})
}

// coldCache gives a job a dataset and an empty place for a copy of it, or only the
// variable that would name one.
func coldCache(random *rand.Rand, job *batchv1.Job) {
	onSlowClaim(random, job)
	job.Annotations = map[string]string{incident.KnobAnnotation: declaredCache}
	if random.IntN(2) == 0 {
		return
	}
	setEnv(job, "CACHE_DIR", "/cache/images")
	if random.IntN(2) == 0 {
		return
	}
	size := resource.MustParse([]string{"10Gi", "100Gi"}[random.IntN(2)])
	job.Spec.Template.Spec.Volumes = append(job.Spec.Template.Spec.Volumes, corev1.Volume{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &size}}})
	trainer(job).VolumeMounts = append(trainer(job).VolumeMounts, corev1.VolumeMount{Name: "cache", MountPath: "/cache"})
}

// onSlowClaim lets a job read its dataset from the slow claim.
func onSlowClaim(random *rand.Rand, job *batchv1.Job) {
	readOnly := random.IntN(2) == 0
	job.Spec.Template.Spec.Volumes = append(job.Spec.Template.Spec.Volumes, corev1.Volume{Name: "dataset", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "corpus", ReadOnly: readOnly}}})
	trainer(job).VolumeMounts = append(trainer(job).VolumeMounts, corev1.VolumeMount{Name: "dataset", MountPath: "/data", ReadOnly: true})
}

func volumeNamed(job *batchv1.Job, name string) *corev1.Volume {
	for i := range job.Spec.Template.Spec.Volumes {
		if job.Spec.Template.Spec.Volumes[i].Name == name {
			return &job.Spec.Template.Spec.Volumes[i]
		}
	}
	return nil
}

// claimsAndCopies adds the claims and the jobs that the world did not begin with.
func (p *trial) claimsAndCopies(state map[string]any) {
	p.Helper()
	claims, err := p.admin.CoreV1().PersistentVolumeClaims(p.namespace).List(p.ctx, metav1.ListOptions{LabelSelector: steps.OwnerLabel})
	p.must(err)
	for _, claim := range claims.Items {
		claim.Spec.VolumeName = ""
		state["claim "+claim.Name] = claim.Spec
	}
	jobs, err := p.admin.BatchV1().Jobs(p.namespace).List(p.ctx, metav1.ListOptions{LabelSelector: steps.OwnerLabel})
	p.must(err)
	for _, job := range jobs.Items {
		state["copy "+job.Name] = *job.Spec.BackoffLimit
	}
}

// editPrepared is somebody else's edit of a claim and of the job that copies to it.
func (p *trial) editPrepared() {
	p.Helper()
	_, err := p.admin.CoreV1().PersistentVolumeClaims(p.namespace).Patch(p.ctx, p.plan.Prepare[0].Name, types.MergePatchType,
		[]byte(`{"spec":{"resources":{"requests":{"storage":"99Gi"}}}}`), metav1.PatchOptions{FieldManager: "somebody"})
	p.must(err)
	_, err = p.admin.BatchV1().Jobs(p.namespace).Patch(p.ctx, p.plan.Prepare[1].Name, types.MergePatchType,
		[]byte(`{"spec":{"ttlSecondsAfterFinished":99}}`), metav1.PatchOptions{FieldManager: "somebody"})
	p.must(err)
}

// clear removes what a change that was not undone has left.
func (p *trial) clear() {
	p.Helper()
	left, background := metav1.ListOptions{LabelSelector: steps.OwnerLabel}, metav1.DeletePropagationBackground
	p.must(p.admin.BatchV1().Jobs(p.namespace).DeleteCollection(p.ctx, metav1.DeleteOptions{PropagationPolicy: &background}, left))
	claims := p.admin.CoreV1().PersistentVolumeClaims(p.namespace)
	p.must(claims.DeleteCollection(p.ctx, metav1.DeleteOptions{}, left))
	p.until("the claims are gone", func() bool {
		list, err := claims.List(p.ctx, left)
		p.must(err)
		return len(list.Items) == 0
	})
}
