package cluster

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"gpumedic/incident"
)

// suspendable is the kinds that stop and start their ranks by a field.
type suspendable struct {
	group string
	field fieldPath
	// jobNames: all ranks carry the label of a batch/v1 Job. Other kinds name
	// themselves in podLabel.
	jobNames bool
	podLabel string
}

var (
	specSuspend      = fieldPath{{key: "spec"}, {key: "suspend"}}
	runPolicySuspend = fieldPath{{key: "spec"}, {key: "runPolicy"}, {key: "suspend"}}
)

// suspendables by kind. A kind that is not listed cannot be restarted in place.
var suspendables = map[string]suspendable{
	"Job":        {group: "batch", field: specSuspend, jobNames: true},
	"JobSet":     {group: "jobset.x-k8s.io", field: specSuspend, jobNames: true},
	"TrainJob":   {group: "trainer.kubeflow.org", field: specSuspend, jobNames: true},
	"RayJob":     {group: "ray.io", field: specSuspend, podLabel: "ray.io/originated-from-cr-name"},
	"PyTorchJob": {group: "kubeflow.org", field: runPolicySuspend, podLabel: "training.kubeflow.org/job-name"},
	"MPIJob":     {group: "kubeflow.org", field: runPolicySuspend, podLabel: "training.kubeflow.org/job-name"},
}

// targetClient gives the API of a target's kind; a kind that is not listed is
// Unsupported, one whose API the cluster lacks is Missing.
func (h *Hands) targetClient(target incident.Target) (dynamic.ResourceInterface, suspendable, error) {
	how, ok := suspendables[target.Kind]
	if !ok {
		fault := incident.Faultf(incident.Unsupported, nil, "%s: a %s has no field that suspends it", target, target.Kind)
		fault.Next = "restart it by hand"
		return nil, how, fault
	}
	mapping, err := h.Mapper.RESTMapping(schema.GroupKind{Group: how.group, Kind: target.Kind})
	if err != nil {
		return nil, how, classify(err, "finding the API of %s", target)
	}
	return h.Dynamic.Resource(mapping.Resource).Namespace(target.Namespace), how, nil
}

// objectClient gives the API of a change's object.
func (h *Hands) objectClient(change incident.ObjectChange) (dynamic.ResourceInterface, error) {
	version, err := schema.ParseGroupVersion(change.APIVersion)
	if err != nil {
		return nil, incident.Faultf(incident.Invalid, err, "reading the API version of %s", nameOf(change))
	}
	mapping, err := h.Mapper.RESTMapping(version.WithKind(change.Kind).GroupKind(), version.Version)
	if err != nil {
		return nil, classify(err, "finding the API of %s", nameOf(change))
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return h.Dynamic.Resource(mapping.Resource), nil
	}
	return h.Dynamic.Resource(mapping.Resource).Namespace(change.Namespace), nil
}

// nameOf writes "networkpolicy training/allow".
func nameOf(change incident.ObjectChange) string {
	name := change.Name
	if change.Namespace != "" {
		name = change.Namespace + "/" + name
	}
	return strings.ToLower(change.Kind) + " " + name
}

// liveTarget reads the target object; nil when it is gone.
func (h *Hands) liveTarget(ctx context.Context, target incident.Target) (*unstructured.Unstructured, error) {
	return h.get(ctx, target)
}

// replaced says how the live target is not the one that was meant; "" when it
// is. Live nil is a target that is gone.
func replaced(target incident.Target, live *unstructured.Unstructured, uid string) string {
	switch {
	case live == nil:
		return fmt.Sprintf("%s is gone", target)
	case uid != "" && string(live.GetUID()) != uid:
		return fmt.Sprintf("%s was created anew (uid %s, was %s)", target, live.GetUID(), uid)
	case live.GetDeletionTimestamp() != nil:
		return fmt.Sprintf("%s is being deleted", target)
	}
	return ""
}

// gitOpsMarks are the labels and annotations by which a GitOps controller
// knows what it manages.
var gitOpsMarks = map[string]string{
	"argocd.argoproj.io/instance":        "Argo CD",
	"argocd.argoproj.io/tracking-id":     "Argo CD",
	"kustomize.toolkit.fluxcd.io/name":   "Flux",
	"helm.toolkit.fluxcd.io/name":        "Flux",
	"configmanagement.gke.io/managed":    "Config Sync",
	"configsync.gke.io/declared-version": "Config Sync",
	"fleet.cattle.io/bundle-id":          "Fleet",
	"objectset.rio.cattle.io/owner-gvk":  "Fleet",
}

// managers names the GitOps controllers that manage an object, and would put
// back what we change.
func managers(object *unstructured.Unstructured) []string {
	var found []string
	for _, marks := range []map[string]string{object.GetLabels(), object.GetAnnotations()} {
		for key := range marks {
			if name := gitOpsMarks[key]; name != "" {
				found = append(found, name)
			}
		}
	}
	if by := strings.ToLower(object.GetLabels()["app.kubernetes.io/managed-by"]); by == "argocd" || by == "flux" {
		found = append(found, by)
	}
	return union(found, nil)
}

// kueueQueue is the label of a workload whose suspension Kueue owns: it alone says
// so (QueueNameForObject of Kueue v0.19.2), a default queue is written into it at
// admission, and a workload that Kueue manages without one is never started.
const kueueQueue = "kueue.x-k8s.io/queue-name"

// restartBlockers lists why the target cannot be stopped and started again by
// us; none when it can. Both remedies need the restart.
func restartBlockers(target incident.Target, live *unstructured.Unstructured) []string {
	how, ok := suspendables[target.Kind]
	if !ok {
		return []string{fmt.Sprintf("a %s cannot be suspended and resumed", target.Kind)}
	}
	var why []string
	for _, name := range managers(live) {
		why = append(why, fmt.Sprintf("%s is managed by %s, which would put back what is changed behind its back: make the change in its source", target, name))
	}
	if queue := live.GetLabels()[kueueQueue]; queue != "" {
		why = append(why, fmt.Sprintf("Kueue (queue %s) owns the suspension of %s: stop and requeue it through its Workload", queue, target))
	}
	if suspended, _ := how.field.get(live.Object); suspended == true {
		why = append(why, fmt.Sprintf("%s is suspended already, not by this incident", target))
	}
	why = append(why, kindBlockers(target, live)...)
	for _, ended := range endedConditions(live) {
		why = append(why, fmt.Sprintf("%s has ended (condition %s) and does not start again in place: create it anew", target, ended))
	}
	if done, _, _ := unstructured.NestedString(live.Object, "status", "completedIndexes"); done != "" {
		why = append(why, fmt.Sprintf("ranks %s of %s have completed and would not start again with the others: create it anew", done, target))
	}
	return why
}

// terminal are the conditions after which a kind's controller starts nothing.
var terminal = map[string]bool{"Failed": true, "FailureTarget": true, "Complete": true, "Completed": true, "Succeeded": true, "SuccessCriteriaMet": true}

func endedConditions(live *unstructured.Unstructured) []string {
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	var ended []string
	if status, _, _ := unstructured.NestedString(live.Object, "status", "jobDeploymentStatus"); status == "Complete" || status == "Failed" {
		ended = append(ended, status) // a RayJob has no conditions
	}
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		kind, _ := condition["type"].(string)
		if terminal[kind] && condition["status"] == "True" {
			if reason, _ := condition["reason"].(string); reason != "" {
				kind += ", " + reason
			}
			ended = append(ended, kind)
		}
	}
	return ended
}
