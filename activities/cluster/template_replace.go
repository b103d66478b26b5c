package cluster

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	ours, now, err := twoSides(swap.change, live)
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "reading %s", nameOf(swap.change))
	}
	if differing := ours.differences(now, swap.change.Fields); len(differing) > 0 {
		return void("replaced before, and edited by somebody else since: "+strings.Join(describeFields(now, differing), ", "), "replacing %s", nameOf(swap.change))
	}
	return swap.settle(ctx, live)
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
	ours, now, err := twoSides(swap.change, live)
	if err != nil {
		return undone{}, incident.Faultf(incident.Invalid, err, "reading %s", nameOf(swap.change))
	}
	if edited := ours.differences(now, swap.change.Fields); len(edited) > 0 && len(was.differences(now, swap.change.Fields)) > 0 {
		return leftEdited(swap.change, now, edited), nil
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
