package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"

	"gpumedic/incident"
	"gpumedic/steps"
)

// mutableSince is the first Kubernetes that lets the resources of a suspended
// Job change without a feature gate being asked for.
var mutableSince = version.MustParseGeneric("1.36.0")

// dryRunJob asks the API server about the change of a Job. A Job that runs
// refuses it until it is suspended, also in a dry run, because the question is
// whether the stored Job is suspended; so two things are asked instead:
// whether the fields are free to be applied by us, and what a suspended copy
// of the Job with the change would become after defaults and admission.
func (h *Hands) dryRunJob(ctx context.Context, d *draft, wanted fieldValues, paths []string, planned map[string]any) (map[string]any, error) {
	if why := h.resourcesMutable(); why != "" {
		d.refuse("%s", why)
	}
	change, err := applyOf(d.live, wanted, paths)
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "encoding the change of %s", d.workload.Target)
	}
	client, err := h.objectClient(change)
	if err != nil {
		return nil, err
	}
	_, err = client.Patch(ctx, change.Name, types.ApplyPatchType, change.Manifest, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
	switch {
	case err == nil || onlyImmutable(err):
	case apierrors.IsConflict(err):
		d.refuse("somebody else owns the field: %s", conflictWords(err))
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		d.refuse("the API server would refuse it: %v", err)
	default:
		return nil, classify(err, "dry run of the change of %s", d.workload.Target)
	}
	answer, err := client.Create(ctx, suspendedCopy(planned, specSuspend), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
	switch {
	case err == nil:
		return adoptTemplate(d.live.Object, answer.Object, paths)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		d.refuse("the API server would refuse a Job like this: %v", err)
		return planned, nil
	}
	return nil, classify(err, "dry run of a suspended copy of %s", d.workload.Target)
}

// resourcesMutable says why this cluster does not let a suspended Job's
// resources change; "" when it does.
func (h *Hands) resourcesMutable() string {
	info, err := h.Kube.Discovery().ServerVersion()
	if err != nil {
		return classify(err, "asking the API server's version").Error()
	}
	have, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return fmt.Sprintf("the API server's version %q cannot be read, so it is not known whether a Job's resources can change", info.GitVersion)
	}
	if have.LessThan(mutableSince) {
		return fmt.Sprintf("Kubernetes %s does not let the resources of an existing Job change (v%s does): create the Job anew", info.GitVersion, mutableSince)
	}
	return ""
}

// onlyImmutable says whether the one complaint is that the template of a Job
// that is not suspended cannot change.
func onlyImmutable(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	if !ok || !apierrors.IsInvalid(err) || status.Status().Details == nil {
		return false
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "spec.template" || !strings.Contains(cause.Message, "immutable") {
			return false
		}
	}
	return len(status.Status().Details.Causes) > 0
}

// suspendedCopy is a workload like the given one under a name of its own,
// without what the server sets. It is only ever sent as a dry run.
func suspendedCopy(workload map[string]any, suspend fieldPath) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: withoutNoise(workload)}
	for _, field := range []string{"ownerReferences", "finalizers"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	out.SetName("")
	out.SetGenerateName("gpumedic-dry-run-")
	_ = suspend.set(out.Object, true) // spec is a map: it has a template
	dropJobIdentity(out.Object)
	return out
}

// dropJobIdentity removes what ties a Job to its uid: the selector and labels
// that the API server generates. Other kinds have none.
func dropJobIdentity(object map[string]any) {
	manual, _, _ := unstructured.NestedBool(object, "spec", "manualSelector")
	if object["kind"] != "Job" || manual {
		return
	}
	unstructured.RemoveNestedField(object, "spec", "selector")
	for _, label := range []string{batchv1.ControllerUidLabel, batchv1.JobNameLabel, "controller-uid", "job-name"} {
		unstructured.RemoveNestedField(object, "spec", "template", "metadata", "labels", label)
		unstructured.RemoveNestedField(object, "metadata", "labels", label)
	}
}

// adoptTemplate is the live object with the containers that the change
// touches as the API server's answer has them.
func adoptTemplate(live, answer map[string]any, paths []string) (map[string]any, error) {
	out := runtime.DeepCopyJSON(live)
	for _, text := range paths {
		path, err := parseFieldPath(text)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(path, func(s fieldStep) bool { return s.key == "resources" })
		if value, ok := path[:at+1].get(answer); ok {
			if err := path[:at+1].set(out, value); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
