package cluster

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"gpumedic/incident"
)

// maxOwners bounds the way up; the longest that we know is four.
const maxOwners = 10

// kindGroups are the API groups that a bare kind stands for. A kind that is
// not listed is looked up in what the cluster serves.
var kindGroups = map[string]string{
	"Pod": "", "Node": "", "Namespace": "", "Service": "",
	"Job": "batch", "CronJob": "batch",
	"Deployment": "apps", "ReplicaSet": "apps", "StatefulSet": "apps", "DaemonSet": "apps",
	"JobSet": "jobset.x-k8s.io", "LeaderWorkerSet": "leaderworkerset.x-k8s.io",
	"TrainJob":   "trainer.kubeflow.org",
	"PyTorchJob": "kubeflow.org", "MPIJob": "kubeflow.org", "TFJob": "kubeflow.org", "JAXJob": "kubeflow.org",
	"XGBoostJob": "kubeflow.org", "PaddleJob": "kubeflow.org",
	"RayJob": "ray.io", "RayCluster": "ray.io", "RayService": "ray.io",
}

// between are the kinds that stand between a kind and its pods, from the top
// down; a kind that is listed with none owns its pods itself.
var between = map[string][]string{
	"Pod": nil, "Job": nil, "StatefulSet": nil, "RayCluster": nil,
	"PyTorchJob": nil, "TFJob": nil, "JAXJob": nil, "XGBoostJob": nil, "PaddleJob": nil,
	"JobSet": {"Job"}, "TrainJob": {"JobSet", "Job"}, "MPIJob": {"Job"}, "RayJob": {"RayCluster"},
	"LeaderWorkerSet": {"StatefulSet"},
}

// anyBetween is looked through for kinds that we do not know.
var anyBetween = []string{"TrainJob", "JobSet", "RayJob", "RayCluster", "PyTorchJob", "MPIJob", "LeaderWorkerSet", "Job", "StatefulSet"}

// notClimbed are controllers that are no part of one run: a schedule makes many
// runs, and a node owns the static pods that its kubelet reads from files.
var notClimbed = map[string]bool{"CronJob": true, "Node": true}

func knownKind(live *unstructured.Unstructured) bool {
	group, known := kindGroups[live.GetKind()]
	return known && group == live.GroupVersionKind().Group
}

// mappingOf finds the API of a bare kind.
func (h *Hands) mappingOf(kind string) (*meta.RESTMapping, error) {
	if group, known := kindGroups[kind]; known {
		return h.Mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
	}
	full, err := h.Mapper.KindFor(schema.GroupVersionResource{Resource: strings.ToLower(kind)})
	if err != nil {
		return nil, err
	}
	return h.Mapper.RESTMapping(full.GroupKind(), full.Version)
}

func (h *Hands) client(mapping *meta.RESTMapping, namespace string) dynamic.ResourceInterface {
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return h.Dynamic.Resource(mapping.Resource)
	}
	return h.Dynamic.Resource(mapping.Resource).Namespace(namespace)
}

// get reads the object that a target names; nil when it does not exist.
func (h *Hands) get(ctx context.Context, target incident.Target) (*unstructured.Unstructured, error) {
	mapping, err := h.mapping(func() (*meta.RESTMapping, error) { return h.mappingOf(target.Kind) })
	if err != nil {
		return nil, classify(err, "finding the API of %s", target)
	}
	live, err := h.client(mapping, target.Namespace).Get(ctx, target.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, classify(err, "reading %s", target)
	}
	live.SetGroupVersionKind(mapping.GroupVersionKind)
	return live, nil
}

// podOfJob splits the name of a Job's pod: job, index when it is indexed, and
// the random end.
var podOfJob = regexp.MustCompile(`^(.+?)(?:-\d+)?-[a-z0-9]{5}$`)

// findNamed reads what the alert's labels name; nil when it is not there. A
// pod that was replaced meanwhile is found by the Job that it is named after.
func (h *Hands) findNamed(ctx context.Context, hint incident.Target, r *resolution) (*unstructured.Unstructured, error) {
	live, err := h.get(ctx, hint)
	if err != nil {
		return nil, err
	}
	if live != nil {
		return live, nil
	}
	parts := podOfJob.FindStringSubmatch(hint.Name)
	if hint.Kind != "Pod" || parts == nil {
		r.note("the API server knows no %s", hint)
		return nil, nil
	}
	job := incident.Target{Cluster: hint.Cluster, Namespace: hint.Namespace, Kind: "Job", Name: parts[1]}
	if live, err = h.get(ctx, job); err != nil {
		return nil, err
	}
	if live == nil {
		r.note("the API server knows no %s, nor a Job that it could have belonged to", hint)
		return nil, nil
	}
	r.note("%s is gone; its name is that of a pod of %s", hint, job)
	return live, nil
}

// ascend walks the controllers upward from an object and returns the last one
// that can be read, with the kinds in between. What ended the way early is
// noted.
func (h *Hands) ascend(ctx context.Context, from *unstructured.Unstructured, r *resolution) (*unstructured.Unstructured, []metav1.GroupKind, error) {
	top, met := from, []*unstructured.Unstructured{from}
	var chain []metav1.GroupKind
	for range maxOwners {
		ref := metav1.GetControllerOf(top)
		if ref == nil || notClimbed[ref.Kind] {
			return top, chain, nil
		}
		owner, why, err := h.ownerOf(ctx, top, *ref)
		if err != nil {
			return nil, nil, err
		}
		if why == "" {
			if circle := circleAt(met, owner.GetUID()); circle != nil {
				top, why = circle, "the owner references form a circle"
			}
		}
		if why != "" {
			r.note("the way up ends at %s: %s", h.targetOf(top), why)
			return top, chain, nil
		}
		kind := top.GroupVersionKind().GroupKind()
		chain = append(chain, metav1.GroupKind{Group: kind.Group, Kind: kind.Kind})
		met = append(met, owner)
		top = owner
	}
	r.note("the way up ends at %s: it has more than %d owners above each other", h.targetOf(top), maxOwners)
	return top, chain, nil
}

// circleAt finds a circle that an owner closes, and of its members the one
// that comes first by kind and name, so that every alert about any of them
// means the same target; nil when there is no circle.
func circleAt(met []*unstructured.Unstructured, owner types.UID) *unstructured.Unstructured {
	start := slices.IndexFunc(met, func(object *unstructured.Unstructured) bool { return object.GetUID() == owner })
	if start < 0 {
		return nil
	}
	return slices.MinFunc(met[start:], func(a, b *unstructured.Unstructured) int {
		return strings.Compare(a.GetKind()+"/"+a.GetName(), b.GetKind()+"/"+b.GetName())
	})
}

// ownerOf reads a controller. Why says in words that it cannot be climbed to;
// the error is for an API server that gave no answer.
func (h *Hands) ownerOf(ctx context.Context, child *unstructured.Unstructured, ref metav1.OwnerReference) (owner *unstructured.Unstructured, why string, err error) {
	name := fmt.Sprintf("its owner %s %s", ref.Kind, ref.Name)
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, name + " has a malformed API version", nil
	}
	if group, known := kindGroups[ref.Kind]; known && group != version.Group {
		return nil, fmt.Sprintf("%s is of %s, which is not supported", name, ref.APIVersion), nil
	}
	mapping, err := h.mapping(func() (*meta.RESTMapping, error) {
		return h.Mapper.RESTMapping(version.WithKind(ref.Kind).GroupKind())
	})
	if meta.IsNoMatchError(err) {
		return nil, fmt.Sprintf("%s is of a kind that the cluster does not serve (%s)", name, ref.APIVersion), nil
	}
	if err != nil {
		return nil, "", classify(err, "finding the API of %s %s", ref.Kind, ref.Name)
	}
	owner, err = h.client(mapping, child.GetNamespace()).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, name + " is gone", nil
	case apierrors.IsForbidden(err):
		return nil, fmt.Sprintf("%s may not be read (%s)", name, missingRule(err)), nil
	case err != nil:
		return nil, "", classify(err, "reading %s %s/%s", strings.ToLower(ref.Kind), child.GetNamespace(), ref.Name)
	case owner.GetUID() != ref.UID:
		return nil, name + " was created anew since", nil
	}
	owner.SetGroupVersionKind(mapping.GroupVersionKind)
	return owner, "", nil
}
