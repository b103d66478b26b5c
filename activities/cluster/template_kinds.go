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
// their templates may be edited at any time (ValidateDeploymentUpdate and
// ValidateStatefulSetUpdate in pkg/apis/apps/validation of Kubernetes v1.37.2: of
// what a remedy touches nothing is immutable). rollBlockers tells when they do not.
var rolls = map[string]bool{"Deployment": true, "StatefulSet": true}

// templateVerbs is how the pod template of a kind is changed. A kind that is not
// listed is not changed: how its controller takes it is not known.
//
//   - Deployment, StatefulSet: in place.
//   - Job: validatePodTemplateUpdate in pkg/apis/batch/validation of Kubernetes
//     v1.37.2 lets scheduling directives change (labels, annotations, node selector
//     and affinity, tolerations, gates) and, since v1.36 by default, resources, of
//     a Job that is suspended and has no active pods; environment, arguments and
//     volumes never.
//   - JobSet: ValidateUpdate in pkg/webhooks/jobset_webhook.go of v0.10.1 and v0.12.0
//     keeps all of replicatedJobs but the scheduling directives of a JobSet that is,
//     or becomes, suspended; affinity and resources stay too.
//   - MPIJob: the operator makes the launcher's Job once. v0.6.0 afterwards sets
//     nothing of it but its suspension, v0.8.0 also the scheduling directives
//     (pkg/controller/mpi_job_controller.go). Workers are made anew.
//   - PyTorchJob: training-operator v1.8.1 takes any template (its webhook compares
//     nothing with the old object) and deletes the pods of a suspended job
//     (pkg/controller.v1/common/job.go); but containers and env are atomic lists in
//     its definition, which server-side apply would take over whole.
//   - RayJob: KubeRay v1.5.0 deletes the cluster when it is suspended and makes it
//     from the template when it is resumed (rayjob_controller.go); its definition's
//     lists are atomic too.
//   - TrainJob: it has no pod template, which is in a TrainingRuntime that others
//     share; only what its trainer is told is its own. trainer v2.0.0 lets spec.trainer
//     change, and then cannot apply the JobSet that it made before, whose webhook
//     keeps the environment (pkg/controller/trainjob_controller.go).
//
// A JobSet or Job could take a node selector in place. It is replaced all the same,
// so that one way serves all remedies of a kind.
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

// controllerFinalizers are those that controllers of the kinds themselves set, and
// set again on the new object: garbage collection's two, and KubeRay's
// ray.io/rayjob-finalizer (v1.5.0). Job, JobSet, MPIJob, PyTorchJob and TrainJob get
// none from theirs; Kueue's are on pods and on its Workloads (v0.19.2).
var controllerFinalizers = []string{"orphan", "foregroundDeletion", "ray.io/"}

func ownFinalizer(name string) bool {
	return slices.ContainsFunc(controllerFinalizers, func(known string) bool {
		return name == known || strings.HasSuffix(known, "/") && strings.HasPrefix(name, known)
	})
}
