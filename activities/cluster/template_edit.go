package cluster

import (
	"context"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// verbEdit writes fields that a person's tool has set, and that server-side apply
// would not take from it without force: the object as it was read, with the new
// values, and with nothing else done to it since.
const verbEdit = "edit"

// personsTools are field managers that write when a person tells them to, and
// never by themselves (the names of kubectl v1.37 begin so, and Helm's). What they
// set may be altered by a plan that a person has agreed to; what a controller set
// may not, which would put it back. What gpumedic has edited before, for the same
// or another incident, is no controller's either.
var personsTools = []string{"kubectl", "helm", steps.FieldManager}

var managerInConflict = regexp.MustCompile(`conflict with "([^"]+)"`)

// toolsInTheWay names who set the fields of a conflict, none when not all of them
// are persons' tools.
func toolsInTheWay(err error) []string {
	var tools []string
	for _, cause := range fieldConflicts(err) {
		found := managerInConflict.FindStringSubmatch(cause.Message)
		if found == nil || !slices.ContainsFunc(personsTools, func(tool string) bool { return strings.HasPrefix(strings.ToLower(found[1]), tool) }) {
			return nil
		}
		tools = union(tools, found[1:2])
	}
	return tools
}

// editWords tell who has set what is edited, and would set it again.
func editWords(tools []string) string {
	tools = slices.DeleteFunc(tools, func(tool string) bool { return tool == steps.FieldManager })
	if len(tools) == 0 {
		return ""
	}
	return "; it was set with " + strings.Join(tools, ", ") + ": change its source too, or the next time takes this back"
}

// dryEdit asks about the write of the whole object.
func (h *Hands) dryEdit(ctx context.Context, d *draft, planned map[string]any) (*unstructured.Unstructured, error) {
	client, err := h.objectClient(incident.ObjectChange{APIVersion: d.live.GetAPIVersion(), Kind: d.live.GetKind(), Namespace: d.live.GetNamespace(), Name: d.live.GetName()})
	if err != nil {
		return nil, err
	}
	wanted := (&unstructured.Unstructured{Object: planned}).DeepCopy()
	wanted.SetResourceVersion("") // its status moves on while the ranks run; the change itself is fenced
	patch, err := wanted.MarshalJSON()
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "encoding the change of %s", d.workload.Target)
	}
	return client.Patch(ctx, d.live.GetName(), types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
}

// writeFenced writes the fields of a change into the object as it was read.
func (h *Hands) writeFenced(ctx context.Context, change incident.ObjectChange, live, manifest *unstructured.Unstructured) error {
	values, err := readFields(manifest.Object, change.Fields)
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "reading the manifest of %s", nameOf(change))
	}
	fields, err := merged(live.Object, values, change.Fields)
	if err != nil {
		return void(err.Error(), "editing %s", nameOf(change))
	}
	wanted := &unstructured.Unstructured{Object: fields}
	annotations := wanted.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[steps.OperationAnnotation] = manifest.GetAnnotations()[steps.OperationAnnotation]
	wanted.SetAnnotations(annotations)
	client, err := h.objectClient(change)
	if err != nil {
		return err
	}
	_, err = client.Update(ctx, wanted, metav1.UpdateOptions{FieldManager: steps.FieldManager}) // carries uid and resource version
	return err
}
