package cluster

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
)

// kin is what a target owns, directly or through others.
type kin struct {
	// top is the target itself; nil when it is gone.
	top *unstructured.Unstructured
	// kinds and parents of every owner below the target, the target included.
	kinds   map[types.UID]string
	parents map[types.UID]types.UID
	jobs    []batchv1.Job
	pods    []corev1.Pod
}

// adopt takes an object in when one of ours controls it.
func (k *kin) adopt(object metav1.Object, kind string) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	if ref == nil || k.kinds[ref.UID] == "" {
		return false
	}
	k.kinds[object.GetUID()], k.parents[object.GetUID()] = kind, ref.UID
	return true
}

// descend finds everything that a target owns by the owner references, whose
// word is better than that of labels. Lists are read page by page.
func (h *Hands) descend(ctx context.Context, top *unstructured.Unstructured, chain []metav1.GroupKind, r *resolution) (kin, error) {
	found := kin{top: top, kinds: map[types.UID]string{top.GetUID(): top.GetKind()}, parents: map[types.UID]types.UID{}}
	if top.GetKind() == "Job" && knownKind(top) {
		var job batchv1.Job
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(top.Object, &job); err != nil {
			return found, incident.Faultf(incident.Invalid, err, "reading job %s/%s", top.GetNamespace(), top.GetName())
		}
		found.jobs = append(found.jobs, job)
	}
	kinds, sure := between[top.GetKind()]
	if !sure || !knownKind(top) {
		kinds = append(chainKinds(chain), anyBetween...)
	}
	for _, kind := range kinds {
		err := h.adoptKind(ctx, top.GetNamespace(), kind, &found)
		switch {
		case err == nil, incident.KindOf(err) == incident.Missing:
		case !sure && incident.KindOf(err) == incident.Forbidden:
			r.note("ranks below a %s may be missing: %v", kind, err)
		default:
			return found, err
		}
	}
	return found, h.adoptPods(ctx, top, &found)
}

// chainKinds are the kinds met on the way up that nobody else knows of, from
// the top down.
func chainKinds(chain []metav1.GroupKind) []string {
	var kinds []string
	for i := len(chain) - 1; i >= 0; i-- {
		if _, known := kindGroups[chain[i].Kind]; !known {
			kinds = append(kinds, chain[i].Kind)
		}
	}
	return kinds
}

// adoptKind takes in the objects of a kind; Missing when there is no such API.
func (h *Hands) adoptKind(ctx context.Context, namespace, kind string, found *kin) error {
	if kind == "Job" {
		return h.adoptJobs(ctx, namespace, found)
	}
	mapping, err := h.mappingOf(kind)
	if err != nil {
		return classify(err, "finding the API of kind %s", kind)
	}
	return eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.client(mapping, namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing %s of namespace %s", mapping.Resource.Resource, namespace)
		}
		for i := range page.Items {
			found.adopt(&page.Items[i], kind)
		}
		return page.GetContinue(), nil
	})
}

func (h *Hands) adoptJobs(ctx context.Context, namespace string, found *kin) error {
	return eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.BatchV1().Jobs(namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing jobs of namespace %s", namespace)
		}
		for _, job := range page.Items {
			if found.adopt(&job, "Job") {
				found.jobs = append(found.jobs, job)
			}
		}
		return page.Continue, nil
	})
}

func (h *Hands) adoptPods(ctx context.Context, top *unstructured.Unstructured, found *kin) error {
	namespace := top.GetNamespace()
	return eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing pods of namespace %s", namespace)
		}
		for _, pod := range page.Items {
			if pod.UID == top.GetUID() || found.adopt(&pod, "Pod") {
				found.pods = append(found.pods, pod)
			}
		}
		return page.Continue, nil
	})
}

// podsOf lists all pods of a target by ownership, also those of earlier
// attempts. None when the target is gone and uid is "".
func (h *Hands) podsOf(ctx context.Context, target incident.Target, uid string) ([]corev1.Pod, error) {
	top := &unstructured.Unstructured{Object: map[string]any{}}
	if uid == "" {
		live, err := h.get(ctx, target)
		if err != nil || live == nil {
			return nil, err
		}
		top = live
	} else {
		mapping, err := h.mappingOf(target.Kind)
		if err != nil {
			return nil, classify(err, "finding the API of %s", target)
		}
		top.SetGroupVersionKind(mapping.GroupVersionKind)
		top.SetNamespace(target.Namespace)
		top.SetName(target.Name)
		top.SetUID(types.UID(uid))
	}
	var r resolution
	found, err := h.descend(ctx, top, nil, &r)
	return found.pods, err
}
