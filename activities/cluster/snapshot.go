package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

// maxSnapshot bounds a snapshot that is read back, in bytes.
const maxSnapshot = 16 << 20

// Verbs of a change.
const (
	verbCreate = "create"
	verbRun    = "run"
	verbApply  = "apply"
)

// creates says whether a change makes an object that was not there.
func creates(change incident.ObjectChange) bool {
	return change.Verb == verbCreate || change.Verb == verbRun
}

// TakeSnapshot keeps the fields that a plan touches, and the whole objects
// beside them, as evidence. It changes nothing and may be repeated. Changed
// means that the plan was made for something that is no longer there.
func (h *Hands) TakeSnapshot(ctx context.Context, params steps.TakeSnapshotParams) (steps.TakeSnapshotResult, error) {
	var result steps.TakeSnapshotResult
	target, err := h.liveTarget(ctx, params.Plan.Target)
	if err != nil {
		return result, err
	}
	var why []string
	if changed := replaced(params.Plan.Target, target, params.Plan.TargetUID); changed != "" {
		why = append(why, changed)
	}
	snapshot := incident.Snapshot{TakenAt: h.Now().UTC()}
	for _, change := range params.Plan.All() {
		live, err := h.liveObject(ctx, change)
		if err != nil {
			return result, err
		}
		object, changed, err := snapshotOf(change, live)
		if err != nil {
			return result, incident.Faultf(incident.Invalid, err, "taking the snapshot of %s", nameOf(change))
		}
		if changed != "" {
			why = append(why, changed)
		}
		if err := h.keepWhole(ctx, change, live); err != nil {
			return result, err
		}
		snapshot.Objects = append(snapshot.Objects, object)
	}
	if result.Snapshot, err = h.putJSON(ctx, "snapshot.json", snapshot); err != nil {
		return result, err
	}
	result.Changed, result.Why = len(why) > 0, strings.Join(why, "; ")
	return result, nil
}

// liveObject reads a change's object; nil when it does not exist.
func (h *Hands) liveObject(ctx context.Context, change incident.ObjectChange) (*unstructured.Unstructured, error) {
	client, err := h.objectClient(change)
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, change.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, classify(err, "reading %s", nameOf(change))
	}
	return live, nil
}

// snapshotOf is the touched fields of a live object, and in words what makes
// the plan void.
func snapshotOf(change incident.ObjectChange, live *unstructured.Unstructured) (incident.ObjectSnapshot, string, error) {
	kept := incident.ObjectSnapshot{APIVersion: change.APIVersion, Kind: change.Kind, Namespace: change.Namespace, Name: change.Name}
	if live == nil {
		if !creates(change) {
			return kept, nameOf(change) + " is gone", nil
		}
		return kept, "", nil
	}
	kept.Existed, kept.UID = true, string(live.GetUID())
	if creates(change) {
		return kept, nameOf(change) + " exists already", nil
	}
	now, err := readFields(live.Object, change.Fields)
	if err != nil {
		return kept, "", err
	}
	if kept.Before, err = json.Marshal(now); err != nil {
		return kept, "", err
	}
	changed, err := changedSince(change, live, now)
	return kept, changed, err
}

// changedSince says how a live object differs from the one that the plan was
// made from, in its identity or the touched fields; "" when it does not.
func changedSince(change incident.ObjectChange, live *unstructured.Unstructured, now fieldValues) (string, error) {
	if string(live.GetUID()) != change.UID {
		return fmt.Sprintf("%s was created anew (uid %s, was %s)", nameOf(change), live.GetUID(), change.UID), nil
	}
	before, err := decodeFields(change.Before)
	if err != nil {
		return "", err
	}
	if differing := before.differences(now, change.Fields); len(differing) > 0 {
		return fmt.Sprintf("%s was changed since the plan: %s", nameOf(change), strings.Join(describeFields(now, differing), ", ")), nil
	}
	return "", nil
}

// describeFields writes "spec.x is 3" or "spec.x is not set".
func describeFields(values fieldValues, paths []string) []string {
	var words []string
	for _, path := range paths {
		value, ok := values[path]
		if !ok {
			words = append(words, path+" is not set")
			continue
		}
		text, _ := json.Marshal(value) // it came from JSON
		words = append(words, fmt.Sprintf("%s is %s", path, redact.String(string(text))))
	}
	return words
}

// keepWhole stores the object as it is, redacted; none when it does not exist.
func (h *Hands) keepWhole(ctx context.Context, change incident.ObjectChange, live *unstructured.Unstructured) error {
	if live == nil {
		return nil
	}
	data, err := live.MarshalJSON()
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding %s", nameOf(change))
	}
	name := fmt.Sprintf("objects/%s-%s.before.json", strings.ToLower(change.Kind), change.Name)
	_, err = h.putJSON(ctx, name, json.RawMessage(redact.JSON(data)))
	return err
}

// loadSnapshot reads a snapshot back from the evidence.
func (h *Hands) loadSnapshot(ctx context.Context, ref incident.EvidenceRef) (incident.Snapshot, error) {
	var snapshot incident.Snapshot
	err := incident.ReadJSON(ctx, h.Store, ref, maxSnapshot, &snapshot)
	return snapshot, err
}

// find returns the snapshot of a change's object.
func find(snapshot incident.Snapshot, change incident.ObjectChange) (incident.ObjectSnapshot, error) {
	for _, object := range snapshot.Objects {
		if object.Kind == change.Kind && object.Namespace == change.Namespace && object.Name == change.Name {
			return object, nil
		}
	}
	return incident.ObjectSnapshot{}, incident.Faultf(incident.Invalid, nil, "the snapshot holds nothing of %s", nameOf(change))
}
