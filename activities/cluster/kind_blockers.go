package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
)

// ownControllers are what managedBy says where a kind's own controller acts. Any
// other value hands the object to somebody else, MultiKueue in the first place,
// who runs it in another cluster: suspending it here stops nothing.
// Sources: Kubernetes v1.37.2, JobSet v0.12.0, trainer v2.0.0, mpi-operator v0.6.0,
// training-operator v1.9.0, KubeRay v1.5.0.
var ownControllers = []string{"kubernetes.io/job-controller", "jobset.sigs.k8s.io/jobset-controller", "trainer.kubeflow.org/trainjob-controller",
	"kubeflow.org/mpi-operator", "kubeflow.org/training-operator", "ray.io/kuberay-operator"}

// raySuspends are the states in which KubeRay heeds a suspension
// (updateStatusToSuspendingIfNeeded of v1.5.0), and those that pass by themselves.
var raySuspends = []string{"", "Initializing", "Running", "Suspending", "Suspended"}

// kindBlockers lists what a kind's own controller has against a suspension; none
// when it heeds one.
func kindBlockers(target incident.Target, live *unstructured.Unstructured) []string {
	var why []string
	for _, path := range [][]string{{"spec", "managedBy"}, {"spec", "runPolicy", "managedBy"}} {
		by, _, _ := unstructured.NestedString(live.Object, path...)
		if by != "" && !slices.Contains(ownControllers, by) {
			why = append(why, fmt.Sprintf("%s is run by %s (%s), not in this cluster: make the change there", target, by, strings.Join(path, ".")))
		}
	}
	if target.Kind == "RayJob" {
		why = append(why, rayBlockers(target, live)...)
	}
	return why
}

// rayBlockers: KubeRay fails a RayJob for good that is suspended and would keep its
// cluster, or uses somebody else's (ValidateRayJobSpec of v1.5.0 and v1.7.0).
func rayBlockers(target incident.Target, live *unstructured.Unstructured) []string {
	var why []string
	if shutdown, _, _ := unstructured.NestedBool(live.Object, "spec", "shutdownAfterJobFinishes"); !shutdown {
		why = append(why, fmt.Sprintf("%s does not set shutdownAfterJobFinishes, and KubeRay takes the suspension of such a RayJob for invalid and fails it: create it anew by hand", target))
	}
	if selector, _, _ := unstructured.NestedMap(live.Object, "spec", "clusterSelector"); len(selector) > 0 {
		why = append(why, fmt.Sprintf("%s runs on a cluster that it only selects, and KubeRay suspends none such", target))
	}
	if state, _, _ := unstructured.NestedString(live.Object, "status", "jobDeploymentStatus"); !slices.Contains(raySuspends, state) {
		why = append(why, fmt.Sprintf("KubeRay suspends a RayJob only while it is Initializing or Running, and %s is %s", target, state))
	}
	return why
}

// rollBlockers lists why a kind that rolls its pods would not bring a changed
// template to them; none when it would. (Kubernetes v1.37.2: a paused Deployment
// starts no rollout; a StatefulSet replaces no pod with OnDelete, and with a
// partition only those from that ordinal up.)
func rollBlockers(target incident.Target, live *unstructured.Unstructured) []string {
	var why []string
	if paused, _, _ := unstructured.NestedBool(live.Object, "spec", "paused"); paused && target.Kind == "Deployment" {
		why = append(why, fmt.Sprintf("%s is paused, so that its pods would stay as they are: resume it first", target))
	}
	if target.Kind != "StatefulSet" {
		return why
	}
	if strategy, _, _ := unstructured.NestedString(live.Object, "spec", "updateStrategy", "type"); strategy == "OnDelete" {
		why = append(why, fmt.Sprintf("%s has the update strategy OnDelete, so that its pods would stay as they are until each is deleted: make the change by hand", target))
	}
	if partition, _, _ := unstructured.NestedInt64(live.Object, "spec", "updateStrategy", "rollingUpdate", "partition"); partition > 0 {
		why = append(why, fmt.Sprintf("%s holds its pods below %d back (partition): lower it first", target, partition))
	}
	return why
}

// rollWaits says which pods a StatefulSet's controller would wait for before it
// replaces any, "" when none: with the policy OrderedReady, its default, it goes on
// only while all pods are ready (processReplica of Kubernetes v1.37.2), so that a pod
// that never gets ready keeps the cure from itself.
func (d *draft) rollWaits() string {
	policy, _, _ := unstructured.NestedString(d.live.Object, "spec", "podManagementPolicy")
	if d.live.GetKind() != "StatefulSet" || policy == "Parallel" {
		return ""
	}
	var unready []string
	for _, pod := range d.pods {
		if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			unready = append(unready, pod.Name)
		}
	}
	if unready == nil {
		return ""
	}
	return "; its controller waits for " + incident.Some(unready) + " to be ready first: where that does not happen, delete them once the change is made"
}

// claimsThatGo notes claims that the pods mount and that would be deleted, data and
// all, with the object that is replaced: they name it, or what it makes, as owner.
func (h *Hands) claimsThatGo(ctx context.Context, d *draft) {
	asked := map[string]bool{}
	for _, pod := range templatePods(d.live.Object) {
		for _, volume := range pod.Spec.Volumes {
			if volume.PersistentVolumeClaim == nil || asked[volume.PersistentVolumeClaim.ClaimName] {
				continue
			}
			name := volume.PersistentVolumeClaim.ClaimName
			asked[name] = true
			claim, err := h.Kube.CoreV1().PersistentVolumeClaims(d.live.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
			err = classify(err, "reading claim %s", name)
			switch {
			case incident.KindOf(err) == incident.Missing && err != nil:
			case err != nil:
				d.refuse("whether claim %s would be deleted with %s is not known: %v", name, d.workload.Target, err)
			case d.goesWith(claim.OwnerReferences):
				d.refuse("claim %s belongs to %s and would be deleted with it, when it is replaced: take its owner reference away first", name, d.workload.Target)
			}
		}
	}
}

// goesWith says whether one of these owners is the target, or of a kind that it
// makes.
func (d *draft) goesWith(owners []metav1.OwnerReference) bool {
	return slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool {
		return owner.UID == d.live.GetUID() || slices.Contains(between[d.live.GetKind()], owner.Kind)
	})
}
