package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The exit codes of a process that was told to stop and obeyed, or was killed.
const (
	codeTerminated = 128 + 15
	codeKilled     = 128 + 9
)

// notReplaced says why the target's controller would not make new pods for
// those that are evicted, or would give up; nothing when it makes them. What a
// controller does with a lost pod differs by kind (k8s.io/api batch/v1 of
// v0.37 for Jobs).
func (h *Hands) notReplaced(ctx context.Context, d *draft, leaving []corev1.Pod) ([]string, error) {
	switch kind := d.workload.Target.Kind; kind {
	case "StatefulSet", "LeaderWorkerSet":
		return nil, nil
	case "PyTorchJob":
		return operatorKeeps(d.live, leaving), nil
	case "Job", "JobSet":
		return h.jobsKeep(ctx, d, leaving)
	default:
		return []string{fmt.Sprintf("what a %s does when one of its pods is evicted is not known well enough: restart it by hand", kind)}, nil
	}
}

// operatorKeeps reads the restart policy of the pods' roles: under Never the
// operator fails the job with its first lost pod.
func operatorKeeps(live *unstructured.Unstructured, leaving []corev1.Pod) []string {
	var whys []string
	roles, _, _ := unstructured.NestedMap(live.Object, "spec", "pytorchReplicaSpecs")
	for role := range roles {
		policy, _, _ := unstructured.NestedString(live.Object, "spec", "pytorchReplicaSpecs", role, "restartPolicy")
		uses := slices.ContainsFunc(leaving, func(pod corev1.Pod) bool { return strings.EqualFold(pod.Labels[kubeflowReplicaType], role) })
		if uses && (policy == "Never" || policy == "") {
			whys = append(whys, fmt.Sprintf("the %s pods have the restart policy %s, so that their job fails instead of replacing one", role, orWord(policy, "Never")))
		}
	}
	slices.Sort(whys)
	return whys
}

// jobsKeep asks each Job of the pods, and for a JobSet whether it would start
// all Jobs again instead.
func (h *Hands) jobsKeep(ctx context.Context, d *draft, leaving []corev1.Pod) ([]string, error) {
	if d.workload.Target.Kind == "JobSet" && restartsLeft(d.live) > 0 {
		return nil, nil
	}
	var whys []string
	for _, name := range d.workload.JobNames {
		ofJob := func(pod corev1.Pod) bool { return pod.Labels[batchv1.JobNameLabel] == name }
		lost := slices.DeleteFunc(slices.Clone(leaving), func(pod corev1.Pod) bool { return !ofJob(pod) })
		job, err := h.Kube.BatchV1().Jobs(d.workload.Target.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, classify(err, "reading job %s/%s", d.workload.Target.Namespace, name)
		}
		all := slices.DeleteFunc(slices.Clone(d.pods), func(pod corev1.Pod) bool { return !ofJob(pod) })
		whys = append(whys, jobKeeps(*job, all, lost)...)
	}
	return whys, nil
}

// restartsLeft is how often a JobSet may still start all of its Jobs again.
func restartsLeft(live *unstructured.Unstructured) int64 {
	return field(live, 0, "spec", "failurePolicy", "maxRestarts") - field(live, 0, "status", "restartsCountTowardsMax")
}

// jobKeeps counts failures: the evicted pods are failures unless the policy
// ignores disruptions, and their peers, which cannot go on without them, end
// as well and start again.
func jobKeeps(job batchv1.Job, all, lost []corev1.Pod) []string {
	name := fmt.Sprintf("job %s/%s", job.Namespace, job.Name)
	ignored, why := onDisruption(job.Spec.PodFailurePolicy)
	if len(lost) > 0 && why != "" {
		return []string{name + " " + why}
	}
	failures := len(all)
	if ignored {
		failures -= len(lost)
	}
	if perIndex := job.Spec.BackoffLimitPerIndex; perIndex != nil {
		return indexesKeep(name, all, int(*perIndex))
	}
	limit := 6 // the API server's default
	if job.Spec.BackoffLimit != nil {
		limit = int(*job.Spec.BackoffLimit)
	}
	left := limit - int(job.Status.Failed)
	if job.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
		left = limit - 1 - restarts(all) // there the restarts of containers count, and the limit itself is one too many
	}
	if failures > left {
		return []string{fmt.Sprintf("%s would give up: %d ranks end when some are evicted, and its backoffLimit %d leaves %d failures", name, failures, limit, max(0, left))}
	}
	return nil
}

// onDisruption reads what a failure policy does with an evicted pod. Why says
// that it would, or may, fail the Job.
func onDisruption(policy *batchv1.PodFailurePolicy) (ignored bool, why string) {
	if policy == nil {
		return false, ""
	}
	for _, rule := range policy.Rules {
		fatal := rule.Action == batchv1.PodFailurePolicyActionFailJob || rule.Action == batchv1.PodFailurePolicyActionFailIndex
		switch {
		case slices.ContainsFunc(rule.OnPodConditions, isDisruption):
			if fatal {
				return false, fmt.Sprintf("has a failure policy with the action %s for disrupted pods", rule.Action)
			}
			return rule.Action == batchv1.PodFailurePolicyActionIgnore, ""
		case fatal && rule.OnExitCodes != nil && mayMatch(*rule.OnExitCodes):
			return false, fmt.Sprintf("has a failure policy with the action %s that may match the exit code of an evicted pod: put a rule that ignores DisruptionTarget before it", rule.Action)
		}
	}
	return false, ""
}

func isDisruption(pattern batchv1.PodFailurePolicyOnPodConditionsPattern) bool {
	return pattern.Type == corev1.DisruptionTarget && (pattern.Status == corev1.ConditionTrue || pattern.Status == "")
}

// mayMatch says whether a rule can catch a process that was told to stop.
func mayMatch(rule batchv1.PodFailurePolicyOnExitCodesRequirement) bool {
	for _, code := range []int32{codeTerminated, codeKilled} {
		if slices.Contains(rule.Values, code) == (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
			return true
		}
	}
	return false
}

// restarts counts how often containers of the pods were started again.
func restarts(pods []corev1.Pod) int {
	total := 0
	for _, pod := range pods {
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			total += int(status.RestartCount)
		}
	}
	return total
}

// indexesKeep: every rank ends once, and each index has a limit of its own.
func indexesKeep(name string, all []corev1.Pod, limit int) []string {
	for _, pod := range all {
		failed, _ := strconv.Atoi(pod.Annotations[batchv1.JobIndexFailureCountAnnotation]) // none is 0
		if failed+1 > limit {
			return []string{fmt.Sprintf("%s would give up rank %s: its backoffLimitPerIndex %d is used up", name, pod.Annotations[batchv1.JobCompletionIndexAnnotation], limit)}
		}
	}
	return nil
}
