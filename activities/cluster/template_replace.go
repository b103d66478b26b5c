package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Some kinds do not let their pod template change. Such an object is deleted
// and created again under its name, suspended, with the change in it. Between
// the two writes nothing of it is in the cluster, and the hand may die there:
// so what is to be created is first written beside it (template_ledger.go).
//
// A person who deletes the object in the moment after that, when the hand has
// died too, cannot be told from the hand itself: the retry creates it again,
// suspended.

// replaces says whether a plan replaces its own target. Then the target's uid
// is looked at change by change, since it differs once that is done.
func replaces(plan incident.Plan) bool {
	for _, change := range plan.Changes {
		if change.Verb == verbReplace {
			return true
		}
	}
	return false
}

// meant says how the live target is not the one that was meant; "" when it is,
// also when this incident has replaced it since, or put it back.
func (h *Hands) meant(ctx context.Context, target incident.Target, live *unstructured.Unstructured, uid, incidentID string) (string, error) {
	why := replaced(target, live, uid)
	if why == "" || live == nil || live.GetDeletionTimestamp() != nil {
		return why, nil
	}
	marks := live.GetAnnotations()
	if marks[suspendedBy] == incidentID || ofIncident(marks[steps.OperationAnnotation], incidentID) {
		return "", nil
	}
	ours, err := h.replacedBy(ctx, live, incidentID)
	if err != nil || ours {
		return "", err
	}
	return why, nil
}

// ofIncident says whether an operation is one of an incident's.
func ofIncident(operation, incidentID string) bool {
	rest, ok := strings.CutPrefix(operation, incidentID)
	return ok && (strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "@"))
}

// replace makes the change by deleting and creating; true when an earlier
// attempt has done all of it.
func (h *Hands) replace(ctx context.Context, operation string, change incident.ObjectChange) (bool, error) {
	swap := swap{hands: h, operation: operation, change: change, way: "apply"}
	live, err := h.liveObject(ctx, change)
	if err != nil {
		return false, err
	}
	switch {
	case live == nil || live.GetDeletionTimestamp() != nil:
		return false, swap.finish(ctx, live)
	case string(live.GetUID()) == change.UID:
		return false, h.replaceFirst(ctx, swap)
	case live.GetAnnotations()[steps.OperationAnnotation] == operation:
		return true, h.replacedAlready(ctx, swap, live)
	}
	return false, void(fmt.Sprintf("%s was created anew (uid %s, was %s)", nameOf(change), live.GetUID(), change.UID), "replacing %s", nameOf(change))
}

// replaceFirst replaces the object that the plan was made for.
func (h *Hands) replaceFirst(ctx context.Context, swap swap) error {
	c, err := h.compare(ctx, swap.operation, swap.change, "replacing")
	if err != nil {
		return err
	}
	if c.changed != "" {
		return void(c.changed, "replacing %s", nameOf(swap.change))
	}
	wanted, err := readFields(c.manifest.Object, swap.change.Fields)
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(swap.change))
	}
	return swap.begin(ctx, c.live, wanted, swap.operation)
}

// replacedAlready checks that the work of an earlier attempt still stands, and
// ends what it may have left.
func (h *Hands) replacedAlready(ctx context.Context, swap swap, live *unstructured.Unstructured) error {
	ours, err := fieldsOf(swap.change)
	if err != nil {
		return err
	}
	now, err := readFields(live.Object, swap.change.Fields)
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "reading %s", nameOf(swap.change))
	}
	if differing := ours.differences(now, swap.change.Fields); len(differing) > 0 {
		return void("replaced before, and edited by somebody else since: "+strings.Join(describeFields(now, differing), ", "), "replacing %s", nameOf(swap.change))
	}
	return swap.settle(ctx, live)
}

// fieldsOf are the values that a change sets.
func fieldsOf(change incident.ObjectChange) (fieldValues, error) {
	var manifest map[string]any
	if err := json.Unmarshal(change.Manifest, &manifest); err != nil {
		return nil, incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(change))
	}
	values, err := readFields(manifest, change.Fields)
	if err != nil {
		return nil, incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(change))
	}
	return values, nil
}

// undoReplace replaces the object once more, with the fields as they were.
// Edits of other fields in between stay.
func (h *Hands) undoReplace(ctx context.Context, operation string, change incident.ObjectChange, before incident.ObjectSnapshot) (undone, error) {
	was, err := decodeFields(before.Before)
	if err != nil {
		return undone{}, incident.Faultf(incident.Invalid, err, "reading the snapshot of %s", nameOf(change))
	}
	swap := swap{hands: h, operation: operation, change: change, way: "undo"}
	live, err := h.liveObject(ctx, change)
	if err != nil {
		return undone{}, err
	}
	switch {
	case live == nil || live.GetDeletionTimestamp() != nil:
		return h.undoUnfinished(ctx, swap, live)
	case live.GetAnnotations()[steps.OperationAnnotation] == operation && string(live.GetUID()) != change.UID:
		return h.undoReplaced(ctx, swap, live, was)
	}
	now, err := readFields(live.Object, change.Fields)
	if err != nil {
		return undone{}, incident.Faultf(incident.Invalid, err, "reading %s", nameOf(change))
	}
	one := notOurs(change, now, was.differences(now, change.Fields)) // never replaced, or put back by an earlier attempt
	if string(live.GetUID()) == change.UID || ofIncident(operation, live.GetAnnotations()[suspendedBy]) {
		return one, swap.settle(ctx, live)
	}
	return one, nil
}

// undoReplaced puts back what this operation created.
func (h *Hands) undoReplaced(ctx context.Context, swap swap, live *unstructured.Unstructured, was fieldValues) (undone, error) {
	ours, err := fieldsOf(swap.change)
	if err != nil {
		return undone{}, err
	}
	now, err := readFields(live.Object, swap.change.Fields)
	if err != nil {
		return undone{}, incident.Faultf(incident.Invalid, err, "reading %s", nameOf(swap.change))
	}
	if edited := ours.differences(now, swap.change.Fields); len(edited) > 0 && len(was.differences(now, swap.change.Fields)) > 0 {
		return undone{found: fmt.Sprintf("%s was edited since and is left as it is: %s", nameOf(swap.change), strings.Join(describeFields(now, edited), ", "))}, nil
	}
	err = swap.begin(ctx, live, was, "")
	return undone{restored: err == nil, whole: err == nil}, err
}

// undoUnfinished finds nothing, or something that goes: what was on its way, the
// undo or the change, is finished as an undo.
func (h *Hands) undoUnfinished(ctx context.Context, swap swap, live *unstructured.Unstructured) (undone, error) {
	for _, way := range []string{"undo", "apply"} {
		kept, err := swap.kept(ctx, way)
		if err != nil {
			return undone{}, err
		}
		if kept == nil {
			continue
		}
		manifest := kept.Wanted
		if way == "apply" {
			manifest = kept.Original
		}
		err = swap.create(ctx, live, manifest)
		return undone{restored: err == nil, whole: err == nil}, err
	}
	return undone{whole: true, found: nameOf(swap.change) + " is gone, and the change with it"}, nil
}

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
