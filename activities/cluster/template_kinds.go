package cluster

import (
	"maps"
	"slices"
	"strings"
)

// verbReplace deletes an object under its uid and creates it again with the
// change, because its kind does not let the fields be changed.
const verbReplace = "replace"

// rolls are kinds that bring a changed template to their pods by themselves;
// their templates may be edited at any time (k8s.io/api apps/v1 of v0.37).
var rolls = map[string]bool{"Deployment": true, "StatefulSet": true}

// templateVerbs is how the pod template of a kind is changed. A kind that is not
// listed is not changed: how its controller takes it is not known.
//
//   - Deployment, StatefulSet: in place, as apps/v1 allows.
//   - Job: batch/v1 keeps the template of a Job but for scheduling directives and,
//     while it is suspended, resources (validation of Kubernetes v1.37).
//   - JobSet: its webhook keeps all of replicatedJobs but scheduling directives
//     while it is suspended (v0.10).
//   - MPIJob: the operator does not carry a changed template into the launcher's
//     Job that it made before (mpi-operator v0.6).
//   - PyTorchJob, RayJob: pods and clusters are made from the template at each
//     resumption, but their lists are atomic to server-side apply.
//   - TrainJob: it has no pod template, which is in a TrainingRuntime that others
//     share; only what its trainer is told is its own (trainer v2.0).
var templateVerbs = map[string]string{
	"Deployment": verbApply, "StatefulSet": verbApply,
	"Job": verbReplace, "JobSet": verbReplace, "MPIJob": verbReplace, "PyTorchJob": verbReplace, "RayJob": verbReplace, "TrainJob": verbReplace,
}

// TemplateKinds names the kinds whose pod template can be changed, in alphabetical
// order.
func TemplateKinds() []string { return slices.Sorted(maps.Keys(templateVerbs)) }

// podSpecOf is the path of the pod spec that a container is in; nil, with a
// reason, where the pod spec is in another object.
func (d *draft) podSpecOf(container fieldPath) fieldPath {
	at := slices.IndexFunc(container, func(step fieldStep) bool { return step.key == "containers" && step.where == "" })
	if at < 0 {
		d.refuse("the pods of %s are described in its runtime, which others share: make the change there", d.workload.Target)
		return nil
	}
	return slices.Clone(container[:at])
}

// below is a path further down.
func (p fieldPath) below(steps ...fieldStep) fieldPath { return append(slices.Clone(p), steps...) }

// key is a step to a key of a map, element one to an element of a list.
func key(name string) fieldStep             { return fieldStep{key: name} }
func element(where, value string) fieldStep { return fieldStep{key: value, where: where} }

// fieldsAt reads a map; nil when there is none.
func (p fieldPath) fieldsAt(object map[string]any) map[string]any {
	value, _ := p.get(object)
	fields, _ := value.(map[string]any)
	return fields
}

// textAt reads a text; "" when there is none.
func (p fieldPath) textAt(object map[string]any) string {
	value, _ := p.get(object)
	text, _ := value.(string)
	return text
}

// controllerFinalizers are those that controllers of the kinds themselves set.
var controllerFinalizers = []string{"orphan", "foregroundDeletion", "ray.io/"}

func ownFinalizer(name string) bool {
	return slices.ContainsFunc(controllerFinalizers, func(known string) bool {
		return name == known || strings.HasSuffix(known, "/") && strings.HasPrefix(name, known)
	})
}
