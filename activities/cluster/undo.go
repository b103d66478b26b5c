package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/steps"
)

// removal is how long an undo waits until what it deleted is gone.
const removal = 30 * time.Second

// undone is what became of one object.
type undone struct {
	restored bool
	// found says what stands in the way, or there instead; "" for nothing.
	found string
	// whole: nothing of the change is left on the object.
	whole bool
}

// UndoChange takes back what ApplyChange did under the same operation id, in
// reverse order, and may be repeated: what was undone or never done counts as
// complete. What somebody else edited since is left as it is and reported, and then
// what the plan had prepared is left too: it may be in use.
func (h *Hands) UndoChange(ctx context.Context, params steps.UndoChangeParams) (steps.UndoChangeResult, error) {
	result := steps.UndoChangeResult{Complete: true}
	snapshot, err := h.loadSnapshot(ctx, params.Snapshot)
	if err != nil {
		return steps.UndoChangeResult{}, err
	}
	if err := h.undoAll(ctx, params.OperationID, params.Plan.Changes, snapshot, &result); err != nil {
		return steps.UndoChangeResult{}, err
	}
	if result.Complete {
		err = h.undoAll(ctx, params.OperationID, params.Plan.Prepare, snapshot, &result)
	} else {
		for _, change := range params.Plan.Prepare {
			result.Found = append(result.Found, nameOf(change)+" is left, since what was not put back may use it")
		}
	}
	result.At = h.Now().UTC()
	return result, err
}

// undoAll undoes changes in reverse order and adds to the result.
func (h *Hands) undoAll(ctx context.Context, operation string, changes []incident.ObjectChange, snapshot incident.Snapshot, result *steps.UndoChangeResult) error {
	for _, change := range slices.Backward(changes) {
		before, err := find(snapshot, change)
		if err != nil {
			return err
		}
		one, err := h.undoOne(ctx, operation, change, before)
		if err != nil {
			return err
		}
		result.Complete = result.Complete && one.whole
		if one.restored {
			result.Restored++
		}
		if one.found != "" {
			result.Found = append(result.Found, one.found)
		}
		h.progress(ctx)
	}
	return nil
}

func (h *Hands) undoOne(ctx context.Context, operation string, change incident.ObjectChange, before incident.ObjectSnapshot) (one undone, err error) {
	for range writeTries {
		switch change.Verb {
		case verbCreate, verbRun:
			one, err = h.undoCreate(ctx, operation, change)
		case verbIsolate:
			one, err = h.undoIsolate(ctx, operation, change, before)
		case verbEvict: // its controller has replaced the pod; there is nothing to put back
			one, err = undone{whole: true}, nil
		case verbReplace:
			one, err = h.undoReplace(ctx, operation, change, before)
		default:
			one, err = h.undoFields(ctx, operation, change, before)
		}
		if !raced(err) {
			break
		}
	}
	return one, faultOf(err, "undoing %s", nameOf(change))
}

// undoCreate deletes the object that this operation created, unless its
// content is no longer what we created. It waits a while until it is gone: a claim
// goes once no pod has it any more.
func (h *Hands) undoCreate(ctx context.Context, operation string, change incident.ObjectChange) (undone, error) {
	live, err := h.liveObject(ctx, change)
	if err != nil {
		return undone{}, err
	}
	if live == nil {
		return undone{whole: true}, nil
	}
	if live.GetAnnotations()[steps.OperationAnnotation] != operation {
		return undone{whole: true, found: nameOf(change) + " stands there, made by somebody else"}, nil
	}
	edited, err := editedSince(change, live)
	if err != nil {
		return undone{}, err
	}
	if edited != "" {
		return undone{found: fmt.Sprintf("%s was edited since it was created and is left as it is:\n%s", nameOf(change), edited)}, nil
	}
	if user, err := h.lastUserOf(ctx, change); err != nil || user != "" {
		return undone{found: fmt.Sprintf("%s is left, because pod %s mounts it", nameOf(change), user)}, err
	}
	client, err := h.objectClient(change)
	if err != nil {
		return undone{}, err
	}
	uid, version := live.GetUID(), live.GetResourceVersion()
	background := metav1.DeletePropagationBackground
	err = client.Delete(ctx, change.Name, metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err == nil {
		err = h.awaitRemoved(ctx, change, live)
	}
	return undone{restored: err == nil, whole: err == nil}, err
}

// awaitRemoved waits until a deleted object is gone, at most removal: whoever still
// holds it keeps it from going, and the ranks must not wait for that.
func (h *Hands) awaitRemoved(ctx context.Context, change incident.ObjectChange, was *unstructured.Unstructured) error {
	for until := h.Now().Add(removal); h.Now().Before(until); {
		live, err := h.liveObject(ctx, change)
		if err != nil || live == nil || live.GetUID() != was.GetUID() {
			return err
		}
		h.progress(ctx)
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// editedSince shows how an object differs from what its change created, apart
// from status and metadata; "" when it does not. Fields that we did not send
// and the server filled with defaults would count: manifests are complete, but for
// those kinds whose controllers write into them.
func editedSince(change incident.ObjectChange, live *unstructured.Unstructured) (string, error) {
	var created map[string]any
	if err := json.Unmarshal(change.Manifest, &created); err != nil {
		return "", incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(change))
	}
	ours, theirs := content(created), content(live.Object)
	if sameValue(ours, theirs) || written[change.Kind] && covers(plain(theirs), plain(ours)) {
		return "", nil
	}
	diff, err := unifiedDiff(nameOf(change), ours, theirs)
	if err != nil {
		return "", incident.Faultf(incident.Internal, err, "comparing %s", nameOf(change))
	}
	return diff, nil
}

// written are kinds into whose spec controllers and admission write: of these only
// what we wrote is compared.
var written = map[string]bool{"PersistentVolumeClaim": true, "Job": true}

// covers says whether everything in ours stands in theirs too. Both are plain
// values of JSON; elements of lists may be in another order, among others.
func covers(theirs, ours any) bool {
	switch ours := ours.(type) {
	case map[string]any:
		fields, ok := theirs.(map[string]any)
		for key, value := range ours {
			ok = ok && covers(fields[key], value)
		}
		return ok
	case []any:
		list, _ := theirs.([]any)
		for _, value := range ours {
			if !slices.ContainsFunc(list, func(their any) bool { return covers(their, value) }) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(theirs, ours)
}

// content is an object without its metadata and status.
func content(object map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range object {
		if key != "metadata" && key != "status" {
			out[key] = value
		}
	}
	return out
}

// undoFields puts the touched fields back, if their values are still ours.
func (h *Hands) undoFields(ctx context.Context, operation string, change incident.ObjectChange, before incident.ObjectSnapshot) (undone, error) {
	s, err := h.lookBack(ctx, change, before)
	if s.live == nil || err != nil {
		return undone{whole: err == nil, found: s.gone}, err
	}
	if s.live.GetAnnotations()[steps.OperationAnnotation] != operation {
		return notOurs(change, s.now, s.left), nil // never applied, or undone by an earlier attempt
	}
	if edited := s.ours.differences(s.now, change.Fields); len(edited) > 0 && len(s.left) > 0 {
		return leftEdited(change, s.now, edited), nil
	}
	if err := h.putBack(ctx, change, s.live, s.was); err != nil {
		return undone{}, err
	}
	return h.lookAgain(ctx, change, s.was)
}

// undoing holds a changed object's fields as they were, as we set them and as they
// are; left names those that are not as they were.
type undoing struct {
	// live is nil when the object is gone, and then gone says so.
	live           *unstructured.Unstructured
	gone           string
	was, ours, now fieldValues
	left           []string
}

// lookBack looks at an object before its change is undone.
func (h *Hands) lookBack(ctx context.Context, change incident.ObjectChange, before incident.ObjectSnapshot) (s undoing, err error) {
	live, err := h.liveObject(ctx, change)
	if err != nil {
		return s, err
	}
	if live == nil || string(live.GetUID()) != change.UID {
		s.gone = nameOf(change) + " is gone, and the change with it"
		return s, nil
	}
	s.live = live
	if s.was, s.ours, s.now, err = threeSides(change, before, live); err != nil {
		return s, incident.Faultf(incident.Invalid, err, "reading what to undo of %s", nameOf(change))
	}
	s.left = s.was.differences(s.now, change.Fields)
	return s, nil
}

// threeSides reads the fields as they were, as we set them and as they are.
func threeSides(change incident.ObjectChange, before incident.ObjectSnapshot, live *unstructured.Unstructured) (was, ours, now fieldValues, err error) {
	if was, err = decodeFields(before.Before); err != nil {
		return nil, nil, nil, err
	}
	ours, now, err = twoSides(change, live)
	return was, ours, now, err
}

// twoSides reads the fields as we set them and as they are.
func twoSides(change incident.ObjectChange, live *unstructured.Unstructured) (ours, now fieldValues, err error) {
	var manifest map[string]any
	if err := json.Unmarshal(change.Manifest, &manifest); err != nil {
		return nil, nil, err
	}
	if ours, err = readFields(manifest, change.Fields); err != nil {
		return nil, nil, err
	}
	now, err = readFields(live.Object, change.Fields)
	return ours, now, err
}

// leftEdited is the answer for fields that somebody else has edited since.
func leftEdited(change incident.ObjectChange, now fieldValues, edited []string) undone {
	return undone{found: fmt.Sprintf("%s was edited since and is left as it is: %s", nameOf(change), strings.Join(describeFields(now, edited), ", "))}
}

// notOurs is the answer for an object without our mark.
func notOurs(change incident.ObjectChange, now fieldValues, left []string) undone {
	if len(left) == 0 {
		return undone{whole: true}
	}
	return undone{found: fmt.Sprintf("%s bears no mark of this operation and is left as it is: %s", nameOf(change), strings.Join(describeFields(now, left), ", "))}
}

// putBack releases the fields that were applied and not set before: the API
// server removes those that only we own, and our mark. Fields that had a value,
// or were edited, are written back in the same write.
func (h *Hands) putBack(ctx context.Context, change incident.ObjectChange, live *unstructured.Unstructured, was fieldValues) error {
	if len(was) == 0 && change.Verb == verbApply {
		return h.patchFenced(ctx, change, live, &unstructured.Unstructured{Object: identity(change)})
	}
	restored, err := merged(live.Object, was, change.Fields)
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "putting %s back", nameOf(change))
	}
	object := &unstructured.Unstructured{Object: restored}
	annotations := object.GetAnnotations()
	delete(annotations, steps.OperationAnnotation)
	object.SetAnnotations(annotations)
	client, err := h.objectClient(change)
	if err != nil {
		return err
	}
	_, err = client.Update(ctx, object, metav1.UpdateOptions{FieldManager: steps.FieldManager}) // carries uid and resource version
	return err
}

// lookAgain checks that the fields are as they were: a value that somebody
// else applied too outlives our release.
func (h *Hands) lookAgain(ctx context.Context, change incident.ObjectChange, was fieldValues) (undone, error) {
	live, err := h.liveObject(ctx, change)
	if err != nil {
		return undone{}, err
	}
	if live == nil {
		return undone{restored: true, whole: true}, nil
	}
	now, err := readFields(live.Object, change.Fields)
	if err != nil {
		return undone{}, incident.Faultf(incident.Invalid, err, "reading %s", nameOf(change))
	}
	left := was.differences(now, change.Fields)
	if len(left) == 0 {
		return undone{restored: true, whole: true}, nil
	}
	return undone{restored: true, found: fmt.Sprintf("%s: our claim is given up, and somebody else keeps %s", nameOf(change), strings.Join(describeFields(now, left), ", "))}, nil
}
