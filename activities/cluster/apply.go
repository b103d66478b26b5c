package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// writeTries bounds how often a write is built anew because the object
// changed between reading and writing.
const writeTries = 5

// ApplyChange applies a plan once. The operation id is written with the
// change itself, so a repeated attempt sees what an earlier one did. A target
// or object that is no longer what the plan was made for, and a field that
// somebody else owns, is a Conflict: nothing is forced.
func (h *Hands) ApplyChange(ctx context.Context, params steps.ApplyChangeParams) (steps.ApplyChangeResult, error) {
	target, err := h.liveTarget(ctx, params.Plan.Target)
	if err != nil {
		return steps.ApplyChangeResult{}, err
	}
	if why := replaced(params.Plan.Target, target, params.Plan.TargetUID); why != "" && !replaces(params.Plan) {
		return steps.ApplyChangeResult{}, void(why, "applying %s", params.Plan.Remedy)
	}
	return h.applyAll(ctx, params.OperationID, params.Plan.Changes)
}

// applyAll carries out changes in their order, up to the first that fails.
func (h *Hands) applyAll(ctx context.Context, operation string, changes []incident.ObjectChange) (result steps.ApplyChangeResult, err error) {
	for _, change := range changes {
		already, err := h.applyOne(ctx, operation, change)
		if err != nil {
			return result, err
		}
		if already {
			result.Already++
		} else {
			result.Applied++
		}
		h.progress(ctx)
	}
	result.At = h.Now().UTC()
	return result, nil
}

// void is the fault of a plan that no longer fits.
func void(why, format string, args ...any) error {
	fault := incident.Faultf(incident.Conflict, fmt.Errorf("%s", why), format, args...)
	fault.Next = "make a new plan"
	return fault
}

func (h *Hands) applyOne(ctx context.Context, operation string, change incident.ObjectChange) (already bool, err error) {
	for range writeTries {
		switch change.Verb {
		case verbCreate:
			already, err = h.create(ctx, operation, change)
		case verbRun:
			already, err = h.run(ctx, operation, change)
		case verbApply:
			already, err = h.applyFields(ctx, operation, change, h.patchFenced)
		case verbEdit:
			already, err = h.applyFields(ctx, operation, change, h.writeFenced)
		case verbIsolate:
			already, err = h.isolate(ctx, operation, change)
		case verbEvict:
			already, err = h.evict(ctx, change)
		case verbReplace:
			already, err = h.replace(ctx, operation, change)
		default:
			return false, incident.Faultf(incident.Invalid, nil, "%s: the verb %q is not known", nameOf(change), change.Verb)
		}
		if !raced(err) {
			break
		}
	}
	return already, faultOf(err, "applying %s", nameOf(change))
}

// raced says that an object changed between our reading and our writing, so
// that reading again decides anew.
func raced(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) && !isFieldConflict(err)
}

// faultOf classifies an answer of the API server; faults and nil pass.
func faultOf(err error, format string, args ...any) error {
	var ours *incident.Fault
	if err == nil || errors.As(err, &ours) {
		return err
	}
	if isFieldConflict(err) {
		fault := incident.Faultf(incident.Conflict, fmt.Errorf("%s", conflictWords(err)), format, args...)
		fault.Next = "ask the owner of the field; it is not taken over by force"
		return fault
	}
	return classify(err, format, args...)
}

func fieldConflicts(err error) []metav1.StatusCause {
	status, ok := err.(apierrors.APIStatus)
	if !ok || !apierrors.IsConflict(err) || status.Status().Details == nil {
		return nil
	}
	var causes []metav1.StatusCause
	for _, cause := range status.Status().Details.Causes {
		if cause.Type == metav1.CauseTypeFieldManagerConflict {
			causes = append(causes, cause)
		}
	}
	return causes
}

func isFieldConflict(err error) bool { return len(fieldConflicts(err)) > 0 }

// conflictWords names every field and who manages it.
func conflictWords(err error) string {
	var words []string
	for _, cause := range fieldConflicts(err) {
		words = append(words, fmt.Sprintf("%s: %s", strings.TrimPrefix(cause.Field, "."), cause.Message))
	}
	return strings.Join(words, ", ")
}

// create makes an object that must not exist, or be of this operation.
func (h *Hands) create(ctx context.Context, operation string, change incident.ObjectChange) (bool, error) {
	live, err := h.liveObject(ctx, change)
	if err != nil {
		return false, err
	}
	if live != nil {
		if live.GetAnnotations()[steps.OperationAnnotation] == operation {
			return true, createdAlready(change, live)
		}
		return false, void(nameOf(change)+" exists and is not of this operation", "creating %s", nameOf(change))
	}
	manifest, err := stamped(change, operation)
	if err != nil {
		return false, err
	}
	client, err := h.objectClient(change)
	if err != nil {
		return false, err
	}
	_, err = client.Create(ctx, manifest, metav1.CreateOptions{FieldManager: steps.FieldManager})
	return false, err
}

// createdAlready checks that what an earlier attempt created still stands.
func createdAlready(change incident.ObjectChange, live *unstructured.Unstructured) error {
	edited, err := editedSince(change, live)
	if err != nil || edited == "" {
		return err
	}
	return void("created before, and edited by somebody else since:\n"+edited, "creating %s", nameOf(change))
}

// stamped is a change's manifest with the operation id in it.
func stamped(change incident.ObjectChange, operation string) (*unstructured.Unstructured, error) {
	manifest := &unstructured.Unstructured{}
	if err := json.Unmarshal(change.Manifest, &manifest.Object); err != nil {
		return nil, incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(change))
	}
	annotations := manifest.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[steps.OperationAnnotation] = operation
	manifest.SetAnnotations(annotations)
	return manifest, nil
}

// applyFields sets the change's fields by a write that is fenced by the uid and
// resource version that were read.
func (h *Hands) applyFields(ctx context.Context, operation string, change incident.ObjectChange,
	write func(context.Context, incident.ObjectChange, *unstructured.Unstructured, *unstructured.Unstructured) error) (bool, error) {
	c, err := h.compare(ctx, operation, change, "applying")
	if c.done || err != nil {
		return c.done, err
	}
	if c.changed != "" {
		return false, void(c.changed, "applying %s", nameOf(change))
	}
	return false, write(ctx, change, c.live, c.manifest)
}

// comparison is an object as it stands beside the change that is wanted of it.
type comparison struct {
	live, manifest *unstructured.Unstructured
	// done: an earlier attempt of the same operation made the change.
	done bool
	// changed says what is otherwise than when the plan was made; "" = nothing.
	changed string
}

// compare looks at an object before it is changed; doing is for errors.
func (h *Hands) compare(ctx context.Context, operation string, change incident.ObjectChange, doing string) (c comparison, err error) {
	if c.live, err = h.liveObject(ctx, change); err != nil {
		return c, err
	}
	if c.live == nil {
		fault := incident.Faultf(incident.Missing, nil, "%s %s: it is gone", doing, nameOf(change))
		fault.Next = "make a new plan"
		return c, fault
	}
	if c.manifest, err = stamped(change, operation); err != nil {
		return c, err
	}
	now, err := readFields(c.live.Object, change.Fields)
	if err != nil {
		return c, incident.Faultf(incident.Invalid, err, "reading %s", nameOf(change))
	}
	if c.done, err = appliedAlready(operation, change, c.live, c.manifest, now); c.done || err != nil {
		return c, err
	}
	if c.changed, err = changedSince(change, c.live, now); err != nil {
		return c, incident.Faultf(incident.Invalid, err, "reading the plan for %s", nameOf(change))
	}
	return c, nil
}

// appliedAlready recognises the work of an earlier attempt by its mark. A
// mark beside other values means that somebody edited them since.
func appliedAlready(operation string, change incident.ObjectChange, live, manifest *unstructured.Unstructured, now fieldValues) (bool, error) {
	if string(live.GetUID()) != change.UID || live.GetAnnotations()[steps.OperationAnnotation] != operation {
		return false, nil
	}
	wanted, err := readFields(manifest.Object, change.Fields)
	if err != nil {
		return false, incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(change))
	}
	if differing := wanted.differences(now, change.Fields); len(differing) > 0 {
		return false, void("applied before, and edited by somebody else since: "+strings.Join(describeFields(now, differing), ", "), "applying %s", nameOf(change))
	}
	return true, nil
}

// patchFenced sends a server-side apply that only succeeds on the object as
// it was read. It never forces.
func (h *Hands) patchFenced(ctx context.Context, change incident.ObjectChange, live, manifest *unstructured.Unstructured) error {
	manifest.SetUID(live.GetUID())
	manifest.SetResourceVersion(live.GetResourceVersion())
	data, err := manifest.MarshalJSON()
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding %s", nameOf(change))
	}
	client, err := h.objectClient(change)
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, change.Name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: steps.FieldManager})
	return err
}
