package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// What is to be created when an object is replaced is kept in the cluster, in a
// ControllerRevision beside the object: Kubernetes' own kind for templates as
// they were. It holds environments as they are, secrets included, which may
// neither be in a plan nor among the evidence. It bears the resource version of
// the object that it was made from, and once the new object is there that owns
// it, so that both go together.

// kept is a replacement on its way.
type kept struct {
	Original map[string]any `json:"original"`
	Wanted   map[string]any `json:"wanted"`
}

// wayLabel selects the revisions of one way of one operation on one object.
const wayLabel = "gpumedic.io/replacement"

func (s swap) label(way string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", s.operation, way, s.change.Kind, s.change.Name))
	return hex.EncodeToString(sum[:8])
}

// keep writes down what is to be created before anything is deleted.
func (s swap) keep(ctx context.Context, live *unstructured.Unstructured, what kept) error {
	data, err := json.Marshal(what)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding %s", nameOf(s.change))
	}
	owner, _ := incidentOf(s.operation, live)
	revision := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.change.Namespace, Name: "gpumedic-" + s.label(s.way) + "-" + live.GetResourceVersion(),
			Labels:      map[string]string{wayLabel: s.label(s.way), steps.OwnerLabel: steps.OwnerValue(owner)},
			Annotations: map[string]string{steps.OperationAnnotation: s.operation}},
		Data: runtime.RawExtension{Raw: data}, Revision: 1,
	}
	_, err = s.hands.Kube.AppsV1().ControllerRevisions(s.change.Namespace).Create(ctx, revision, metav1.CreateOptions{FieldManager: steps.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil // of an earlier attempt, made from the same object
	}
	if err != nil {
		return classify(err, "keeping the original of %s", nameOf(s.change))
	}
	return nil
}

// incidentOf is the incident that stopped the object, whose operation this is.
func incidentOf(operation string, live *unstructured.Unstructured) (string, bool) {
	by := live.GetAnnotations()[suspendedBy]
	return by, ofIncident(operation, by)
}

// kept reads what a way of this operation was about to create; nil when nothing
// was. Of several the one made last counts: the object could only be deleted as
// it was then.
func (s swap) kept(ctx context.Context, way string) (*kept, error) {
	list, err := s.revisions(ctx, wayLabel+"="+s.label(way))
	if err != nil {
		return nil, err
	}
	var newest *appsv1.ControllerRevision
	for i := range list {
		if len(list[i].OwnerReferences) == 0 && (newest == nil || versionOf(list[i]) > versionOf(*newest)) {
			newest = &list[i]
		}
	}
	if newest == nil {
		return nil, nil
	}
	var what kept
	if err := json.Unmarshal(newest.Data.Raw, &what); err != nil {
		return nil, incident.Faultf(incident.Invalid, err, "reading what was kept of %s", nameOf(s.change))
	}
	return &what, nil
}

// versionOf is the resource version in a revision's name. Versions of one kind
// are numbers that grow (KEP-5504).
func versionOf(revision appsv1.ControllerRevision) uint64 {
	prefix := len("gpumedic-") + len(revision.Labels[wayLabel]) + 1
	if len(revision.Name) < prefix {
		return 0
	}
	number, _ := strconv.ParseUint(revision.Name[prefix:], 10, 64)
	return number
}

func (s swap) revisions(ctx context.Context, selector string) ([]appsv1.ControllerRevision, error) {
	list, err := s.hands.Kube.AppsV1().ControllerRevisions(s.change.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, classify(err, "listing what was kept of %s", nameOf(s.change))
	}
	return list.Items, nil
}

// settle gives what was kept to the object that was created. It may be
// repeated. What belongs to an object that is gone goes with it.
func (s swap) settle(ctx context.Context, created *unstructured.Unstructured) error {
	for _, way := range []string{"apply", "undo"} {
		list, err := s.revisions(ctx, wayLabel+"="+s.label(way))
		if err != nil {
			return err
		}
		for _, revision := range list {
			if len(revision.OwnerReferences) > 0 {
				continue
			}
			if err := s.give(ctx, revision, created); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s swap) give(ctx context.Context, revision appsv1.ControllerRevision, created *unstructured.Unstructured) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": revision.UID, "resourceVersion": revision.ResourceVersion,
		"ownerReferences": []metav1.OwnerReference{{APIVersion: created.GetAPIVersion(), Kind: created.GetKind(), Name: created.GetName(), UID: created.GetUID()}},
	}})
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding the owner of %s", revision.Name)
	}
	_, err = s.hands.Kube.AppsV1().ControllerRevisions(s.change.Namespace).Patch(ctx, revision.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: steps.FieldManager})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // another attempt did it
	}
	if err != nil {
		return classify(err, "giving what was kept to %s", nameOf(s.change))
	}
	return nil
}

// replacedBy says whether an incident created a live object in the place of
// another one.
func (h *Hands) replacedBy(ctx context.Context, live *unstructured.Unstructured, incidentID string) (bool, error) {
	list, err := h.Kube.AppsV1().ControllerRevisions(live.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: steps.OwnerLabel + "=" + steps.OwnerValue(incidentID)})
	if apierrors.IsForbidden(err) {
		return false, nil // who may not keep revisions has replaced nothing
	}
	if err != nil {
		return false, classify(err, "listing what incident %s has replaced", incidentID)
	}
	for _, revision := range list.Items {
		for _, owner := range revision.OwnerReferences {
			if owner.UID == live.GetUID() {
				return true, nil
			}
		}
	}
	return false, nil
}
