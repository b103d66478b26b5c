package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// verbIsolate cordons and taints a node. The list of taints is atomic to
// server-side apply, so a node is changed by a merge patch instead that holds
// the whole list and only succeeds on the node as it was read.
const verbIsolate = "isolate"

// isolatedFields are what isolating a node touches, beside our mark.
var isolatedFields = []string{"spec.unschedulable", "spec.taints[key=" + steps.IsolatedTaint + "]"}

// isolateChange is the change that takes a node out of service.
func isolateChange(node corev1.Node, incidentID string) (incident.ObjectChange, error) {
	live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&node)
	if err != nil {
		return incident.ObjectChange{}, err
	}
	change := incident.ObjectChange{Verb: verbIsolate, APIVersion: "v1", Kind: "Node", Name: node.Name, UID: string(node.UID),
		ResourceVersion: node.ResourceVersion, Fields: isolatedFields}
	before, err := readFields(live, isolatedFields)
	if err != nil {
		return change, err
	}
	if change.Before, err = json.Marshal(before); err != nil {
		return change, err
	}
	manifest := identity(change)
	manifest["spec"] = map[string]any{"unschedulable": true, "taints": []any{map[string]any{
		"key": steps.IsolatedTaint, "value": steps.OwnerValue(incidentID), "effect": string(corev1.TaintEffectNoSchedule)}}}
	change.Manifest, err = json.Marshal(manifest)
	return change, err
}

// isolate takes a node out of service once: cordon, taint and mark are one
// write.
func (h *Hands) isolate(ctx context.Context, operation string, change incident.ObjectChange) (bool, error) {
	c, err := h.compare(ctx, operation, change, "isolating")
	if c.done || err != nil {
		return c.done, err
	}
	if others := append(actedOn(c.live), c.changed); strings.Join(others, "") != "" {
		return false, void(strings.Trim(strings.Join(others, "; "), "; "), "isolating %s", nameOf(change))
	}
	patch, err := isolatePatch(c.live, c.manifest, operation)
	if err != nil {
		return false, incident.Faultf(incident.Internal, err, "encoding the change of %s", nameOf(change))
	}
	_, err = h.patchNode(ctx, change, patch, nil)
	return false, err
}

// isolatePatch adds our taint to those that are there, cordons and marks.
func isolatePatch(live, manifest *unstructured.Unstructured, operation string) (map[string]any, error) {
	ours, _, err := unstructured.NestedSlice(manifest.Object, "spec", "taints")
	if err != nil {
		return nil, err
	}
	patch := fenced(live)
	patch["spec"] = map[string]any{"unschedulable": true, "taints": append(taintsBut(live), ours...)}
	if operation != "" {
		return patch, mark(patch, operation)
	}
	return patch, nil
}

// fenced is a merge patch that only succeeds on the object as it was read.
func fenced(live *unstructured.Unstructured) map[string]any {
	return map[string]any{"metadata": map[string]any{"uid": string(live.GetUID()), "resourceVersion": live.GetResourceVersion()}}
}

// mark writes the operation id, or removes it where it is nil.
func mark(patch map[string]any, operation any) error {
	return unstructured.SetNestedField(patch, operation, "metadata", "annotations", steps.OperationAnnotation)
}

// taintsBut are the node's taints without ours.
func taintsBut(live *unstructured.Unstructured) []any {
	taints, _, _ := unstructured.NestedSlice(live.Object, "spec", "taints") // the API server's own form
	return slices.DeleteFunc(taints, func(taint any) bool {
		fields, _ := taint.(map[string]any)
		return fields["key"] == steps.IsolatedTaint
	})
}

// patchNode sends a merge patch; options may make it a dry run.
func (h *Hands) patchNode(ctx context.Context, change incident.ObjectChange, patch map[string]any, dryRun []string) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "encoding the change of %s", nameOf(change))
	}
	client, err := h.objectClient(change)
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, change.Name, types.MergePatchType, data, metav1.PatchOptions{DryRun: dryRun, FieldManager: steps.FieldManager})
}

// undoIsolate puts a node back into service, when nobody else has a hand on
// it since. What somebody else did to the node stays.
func (h *Hands) undoIsolate(ctx context.Context, operation string, change incident.ObjectChange, before incident.ObjectSnapshot) (undone, error) {
	s, err := h.lookBack(ctx, change, before)
	if s.live == nil || err != nil {
		return undone{whole: err == nil, found: s.gone}, err
	}
	if s.live.GetAnnotations()[steps.OperationAnnotation] != operation {
		one := notOurs(change, s.now, s.left)
		// Mark, cordon and taint are one write: without mark and taint nothing is ours.
		one.whole = one.whole || !sameValue(s.now[isolatedFields[1]], s.ours[isolatedFields[1]])
		return one, nil
	}
	edited := describeFields(s.now, s.ours.differences(s.now, change.Fields))
	if others := append(edited, actedOn(s.live)...); len(others) > 0 && len(s.left) > 0 {
		return undone{found: fmt.Sprintf("%s is in somebody else's hands since and is left as it is: %s", nameOf(change), strings.Join(others, ", "))}, nil
	}
	if _, err := h.patchNode(ctx, change, restorePatch(s.live, s.was), nil); err != nil {
		return undone{}, err
	}
	return h.lookAgain(ctx, change, s.was)
}

// restorePatch puts cordon and taint back to what they were and takes our mark
// away.
func restorePatch(live *unstructured.Unstructured, was fieldValues) map[string]any {
	taints := taintsBut(live)
	if old, ok := was[isolatedFields[1]]; ok {
		taints = append(taints, old)
	}
	spec := map[string]any{"unschedulable": was[isolatedFields[0]], "taints": nil}
	if len(taints) > 0 {
		spec["taints"] = taints
	}
	patch := fenced(live)
	patch["spec"] = spec
	patch["metadata"].(map[string]any)["annotations"] = map[string]any{steps.OperationAnnotation: nil}
	return patch
}
