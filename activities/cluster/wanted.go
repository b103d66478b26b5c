package cluster

import (
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// wantedRanks is how many ranks the target declares, 0 when that is not told.
func wantedRanks(top *unstructured.Unstructured, jobs []batchv1.Job) int {
	switch top.GetKind() {
	case "Pod":
		return 1
	case "PyTorchJob", "TFJob", "JAXJob", "XGBoostJob", "PaddleJob":
		return replicas(top, strings.ToLower(strings.TrimSuffix(top.GetKind(), "Job"))+"ReplicaSpecs")
	case "MPIJob":
		return int(field(top, 1, "spec", "mpiReplicaSpecs", "Worker", "replicas"))
	case "StatefulSet":
		return int(field(top, 1, "spec", "replicas"))
	case "LeaderWorkerSet":
		return int(field(top, 1, "spec", "replicas") * field(top, 1, "spec", "leaderWorkerTemplate", "size"))
	case "TrainJob":
		if nodes := field(top, 0, "spec", "trainer", "numNodes"); nodes > 0 {
			return int(nodes)
		}
	case "JobSet":
		if total := replicatedRanks(top); total > 0 {
			return total
		}
	}
	total := 0
	for _, job := range jobs {
		total += jobRanks(job)
	}
	return total
}

// jobRanks is the number of pods that a Job runs side by side.
func jobRanks(job batchv1.Job) int {
	ranks := int32(1)
	if job.Spec.Parallelism != nil {
		ranks = *job.Spec.Parallelism
	}
	if job.Spec.Completions != nil {
		ranks = min(ranks, *job.Spec.Completions)
	}
	return int(ranks)
}

// field reads a number, the fallback when it is not set.
func field(object *unstructured.Unstructured, fallback int64, path ...string) int64 {
	if value, found, err := unstructured.NestedInt64(object.Object, path...); found && err == nil {
		return value
	}
	return fallback
}

// replicas adds up an operator's replica specs.
func replicas(top *unstructured.Unstructured, specs string) int {
	roles, _, _ := unstructured.NestedMap(top.Object, "spec", specs)
	total := int64(0)
	for role := range roles {
		total += field(top, 1, "spec", specs, role, "replicas")
	}
	return int(total)
}

// replicatedRanks adds up a JobSet's job templates.
func replicatedRanks(top *unstructured.Unstructured) int {
	templates, _, _ := unstructured.NestedSlice(top.Object, "spec", "replicatedJobs")
	total := int64(0)
	for _, entry := range templates {
		template, _ := entry.(map[string]any)
		job := &unstructured.Unstructured{Object: template}
		total += field(job, 1, "replicas") * field(job, 1, "template", "spec", "parallelism")
	}
	return int(total)
}
