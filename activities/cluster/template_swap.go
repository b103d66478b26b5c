package cluster

import (
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gpumedic/incident"
	"gpumedic/steps"
)

// swap is one object that is deleted and created again, on one of two ways:
// "apply" and "undo".
type swap struct {
	hands     *Hands
	operation string
	change    incident.ObjectChange
	way       string
}

// begin keeps what is to be created, deletes what is there and creates. mark is
// the operation that the new object bears, "" for none.
func (s swap) begin(ctx context.Context, live *unstructured.Unstructured, values fieldValues, mark string) error {
	if err := s.stopped(live); err != nil {
		return err
	}
	original := freshCopy(live.Object)
	fields, err := merged(original, values, s.change.Fields)
	if err != nil {
		return void(err.Error(), "replacing %s", nameOf(s.change))
	}
	wanted := &unstructured.Unstructured{Object: fields}
	annotations := wanted.GetAnnotations()
	delete(annotations, steps.OperationAnnotation)
	if mark != "" {
		annotations[steps.OperationAnnotation] = mark
	}
	wanted.SetAnnotations(annotations)
	if err := s.keep(ctx, live, kept{Original: original, Wanted: wanted.Object}); err != nil {
		return err
	}
	if err := s.remove(ctx, live); err != nil {
		return err
	}
	return s.create(ctx, live, wanted.Object)
}

// stopped demands that the ranks were stopped by the incident that replaces.
func (s swap) stopped(live *unstructured.Unstructured) error {
	how := suspendables[live.GetKind()]
	value, _ := how.field.get(live.Object)
	if value != true || !ofIncident(s.operation, live.GetAnnotations()[suspendedBy]) {
		return incident.Faultf(incident.Invalid, nil, "replacing %s: it is not suspended by this incident", nameOf(s.change))
	}
	return nil
}

// remove deletes the object as it was read, and what it owns before it: no name
// is taken twice and no old rank holds a GPU when the new one starts.
func (s swap) remove(ctx context.Context, live *unstructured.Unstructured) error {
	client, err := s.hands.objectClient(s.change)
	if err != nil {
		return err
	}
	uid, version, foreground := live.GetUID(), live.GetResourceVersion(), metav1.DeletePropagationForeground
	err = client.Delete(ctx, s.change.Name, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if apierrors.IsNotFound(err) {
		return s.whoDeleted(ctx)
	}
	return err
}

// siblingPatience is how long another attempt of the same operation has to
// create what it has deleted.
const siblingPatience = 5 * time.Second

// whoDeleted tells another attempt of this operation, which creates the object
// again, from a person, who does not: a race is decided anew, and a person's
// deletion is not taken back.
func (s swap) whoDeleted(ctx context.Context) error {
	for until := s.hands.Now().Add(siblingPatience); s.hands.Now().Before(until); {
		live, err := s.hands.liveObject(ctx, s.change)
		if err != nil {
			return err
		}
		if live != nil {
			return apierrors.NewAlreadyExists(schema.GroupResource{Resource: live.GetKind()}, live.GetName())
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return void("somebody deleted it just now", "replacing %s", nameOf(s.change))
}

// finish ends the work of an attempt that died after its deletion.
func (s swap) finish(ctx context.Context, live *unstructured.Unstructured) error {
	kept, err := s.kept(ctx, s.way)
	if err != nil {
		return err
	}
	if kept == nil && live != nil {
		return void(nameOf(s.change)+" is being deleted by somebody else", "replacing %s", nameOf(s.change))
	}
	if kept == nil {
		fault := incident.Faultf(incident.Missing, nil, "replacing %s: it is gone", nameOf(s.change))
		fault.Next = "make a new plan"
		return fault
	}
	return s.create(ctx, live, kept.Wanted)
}

// create waits until the name is free and creates; another attempt of the same
// operation may have been quicker, and raced then decides anew.
func (s swap) create(ctx context.Context, going *unstructured.Unstructured, manifest map[string]any) error {
	if going != nil {
		if err := s.awaitGone(ctx, going); err != nil {
			return err
		}
	}
	client, err := s.hands.objectClient(s.change)
	if err != nil {
		return err
	}
	created, err := client.Create(ctx, &unstructured.Unstructured{Object: manifest}, metav1.CreateOptions{FieldManager: steps.FieldManager})
	if err != nil {
		return err
	}
	return s.settle(ctx, created)
}

func (s swap) awaitGone(ctx context.Context, going *unstructured.Unstructured) error {
	for {
		live, err := s.hands.liveObject(ctx, s.change)
		if err != nil || live == nil || live.GetUID() != going.GetUID() {
			return err
		}
		s.hands.progress(ctx)
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			fault := incident.Faultf(incident.TimedOut, err, "waiting for %s to go", nameOf(s.change))
			fault.Next = "look for finalizers of it and of what it owns: " + strings.Join(live.GetFinalizers(), ", ")
			return fault
		}
	}
}

// freshCopy is an object as its owner would create it: without what the server
// and the kind's controller set.
func freshCopy(object map[string]any) map[string]any {
	out := &unstructured.Unstructured{Object: (&unstructured.Unstructured{Object: object}).DeepCopy().Object}
	delete(out.Object, "status")
	for _, name := range append([]string{"deletionTimestamp", "deletionGracePeriodSeconds"}, serverFields...) {
		unstructured.RemoveNestedField(out.Object, "metadata", name)
	}
	dropJobIdentity(out.Object)
	return out.Object
}
