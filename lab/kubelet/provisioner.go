package kubelet

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"
)

// Provisioner is whose classes the simulated provisioner serves. It makes a
// PersistentVolume for each of their claims, and no disk; that the claim is bound to
// it is the real controller's doing.
const Provisioner = "lab.gpumedic.io/disk"

// driver is the same as CSI names it.
const driver = "disk.lab.gpumedic.io"

// provisioner plays the external provisioner of a CSI driver.
type provisioner struct {
	k       *Kubelet
	claims  corelisters.PersistentVolumeClaimLister
	classes storagelisters.StorageClassLister
}

// provision follows claims, and volumes whose claims are gone.
func (k *Kubelet) provision(ctx context.Context) error {
	claims, classes := k.watches.Core().V1().PersistentVolumeClaims(), k.watches.Storage().V1().StorageClasses()
	volumes := k.watches.Core().V1().PersistentVolumes()
	p := &provisioner{k: k, claims: claims.Lister(), classes: classes.Lister()}
	handlers := map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		claims.Informer():  {AddFunc: p.claim, UpdateFunc: func(_, o any) { p.claim(o) }},
		volumes.Informer(): {AddFunc: p.volume, UpdateFunc: func(_, o any) { p.volume(o) }},
		classes.Informer(): {},
	}
	for informer, handler := range handlers {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("following claims: %w", err)
		}
	}
	k.watches.Start(k.ctx.Done())
	for informer := range handlers {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return fmt.Errorf("following claims: %w", context.Cause(ctx))
		}
	}
	return nil
}

// claim makes the volume of a claim that the volume controller handed to us, once a
// pod's node is known where the class waits for that.
func (p *provisioner) claim(o any) {
	claim, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Annotations[volume.AnnStorageProvisioner] != Provisioner || claim.Spec.StorageClassName == nil {
		return
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		p.k.log.Warn("a claim's class is not known", "claim", claim.Namespace+"/"+claim.Name, "error", err)
		return
	}
	if mode := class.VolumeBindingMode; mode != nil && *mode == storagev1.VolumeBindingWaitForFirstConsumer && claim.Annotations[volume.AnnSelectedNode] == "" {
		return
	}
	p.k.tasks.Go(func() { p.make(claim, class) })
}

func (p *provisioner) make(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) {
	made := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(claim.UID),
			Annotations: map[string]string{volume.AnnDynamicallyProvisioned: Provisioner, SimulatedAnnotation: "true"}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class.Name, AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode,
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef:               &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "simulated-" + string(claim.UID)}},
		},
	}
	if class.ReclaimPolicy != nil {
		made.Spec.PersistentVolumeReclaimPolicy = *class.ReclaimPolicy
	}
	_, err := p.k.client.CoreV1().PersistentVolumes().Create(p.k.ctx, made, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && p.k.ctx.Err() == nil {
		p.k.log.Warn("a volume was not made", "claim", claim.Namespace+"/"+claim.Name, "error", err)
	}
}

// volume deletes one of ours that its claim has left, where its class says so.
func (p *provisioner) volume(o any) {
	left, ok := o.(*corev1.PersistentVolume)
	if !ok || left.Annotations[volume.AnnDynamicallyProvisioned] != Provisioner || left.Status.Phase != corev1.VolumeReleased ||
		left.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || left.DeletionTimestamp != nil {
		return
	}
	p.k.tasks.Go(func() {
		err := p.k.client.CoreV1().PersistentVolumes().Delete(p.k.ctx, left.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &left.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && p.k.ctx.Err() == nil {
			p.k.log.Warn("a volume was not deleted", "volume", left.Name, "error", err)
		}
	})
}
