package cluster

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestWhetherAJobKeepsGoing evicts one of four ranks; its peers end as well.
func TestWhetherAJobKeepsGoing(t *testing.T) {
	limit := func(most int32) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Spec.BackoffLimit = &most }
	}
	onFailure := func(job *batchv1.Job) { job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }
	failed := func(count int32) func(*batchv1.Job) { return func(job *batchv1.Job) { job.Status.Failed = count } }
	rules := func(rules ...batchv1.PodFailurePolicyRule) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules} }
	}
	disrupted := func(action batchv1.PodFailurePolicyAction) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}}
	}
	codes := func(operator batchv1.PodFailurePolicyOnExitCodesOperator, values ...int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: operator, Values: values}}
	}
	in, notIn := batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn
	for name, test := range map[string]struct {
		alter    []func(*batchv1.Job)
		restarts int32
		reason   string // "" = keeps going
	}{
		"by default six may fail":      {nil, 0, ""},
		"two have failed already":      {[]func(*batchv1.Job){failed(2)}, 0, ""},
		"three have failed already":    {[]func(*batchv1.Job){failed(3)}, 0, "4 ranks end when some are evicted, and its backoffLimit 6 leaves 3 failures"},
		"exactly enough":               {[]func(*batchv1.Job){limit(4)}, 0, ""},
		"one too few":                  {[]func(*batchv1.Job){limit(3)}, 0, "leaves 3 failures"},
		"an eviction does not count":   {[]func(*batchv1.Job){limit(3), rules(disrupted(batchv1.PodFailurePolicyActionIgnore))}, 0, ""},
		"none may fail":                {[]func(*batchv1.Job){limit(0), rules(disrupted(batchv1.PodFailurePolicyActionIgnore))}, 0, "leaves 0 failures"},
		"restarts in place count":      {[]func(*batchv1.Job){limit(5), onFailure}, 0, ""},
		"the limit itself is too many": {[]func(*batchv1.Job){limit(4), onFailure}, 0, "leaves 3 failures"},
		"containers restarted before":  {[]func(*batchv1.Job){limit(8), onFailure}, 1, "leaves 3 failures"},
		"a disruption is fatal":        {[]func(*batchv1.Job){limit(99), rules(disrupted(batchv1.PodFailurePolicyActionFailJob))}, 0, "action FailJob for disrupted pods"},
		"its exit code is fatal":       {[]func(*batchv1.Job){limit(99), rules(codes(notIn, 1), disrupted(batchv1.PodFailurePolicyActionIgnore))}, 0, "may match the exit code of an evicted pod"},
		"its kill is fatal":            {[]func(*batchv1.Job){limit(99), rules(codes(in, 137))}, 0, "may match the exit code"},
		"another code is fatal":        {[]func(*batchv1.Job){limit(99), rules(codes(in, 42))}, 0, ""},
		"ignored before it is fatal":   {[]func(*batchv1.Job){limit(99), rules(disrupted(batchv1.PodFailurePolicyActionIgnore), codes(notIn, 1))}, 0, ""},
		"each index has its own limit": {[]func(*batchv1.Job){func(job *batchv1.Job) { one := int32(1); job.Spec.BackoffLimitPerIndex = &one }}, 0, ""},
		"an index has used it up":      {[]func(*batchv1.Job){func(job *batchv1.Job) { none := int32(0); job.Spec.BackoffLimitPerIndex = &none }}, 0, "give up rank 0: its backoffLimitPerIndex 0"},
	} {
		t.Run(name, func(t *testing.T) {
			job := testJob(4)
			for _, alter := range test.alter {
				alter(job)
			}
			var pods []corev1.Pod
			for i := range 4 {
				pod := testPod(i, "")
				trainerState(pod).RestartCount = test.restarts
				pods = append(pods, *pod)
			}
			whys := strings.Join(jobKeeps(*job, pods, pods[:1]), "; ")
			if (whys == "") != (test.reason == "") || !strings.Contains(whys, test.reason) {
				t.Errorf("%q, want %q", whys, test.reason)
			}
		})
	}
}

// TestWhoReplacesAnEvictedPod by kind of owner.
func TestWhoReplacesAnEvictedPod(t *testing.T) {
	torch := func(policy string) string {
		return `{"spec":{"pytorchReplicaSpecs":{"Worker":{"restartPolicy":"` + policy + `"},"Master":{"restartPolicy":"Never"}}}}`
	}
	worker := *testPod(1, "", func(pod *corev1.Pod) { pod.Labels[kubeflowReplicaType] = "worker" })
	for name, test := range map[string]struct{ kind, spec, reason string }{
		"set":                    {"StatefulSet", "{}", ""},
		"leader and workers":     {"LeaderWorkerSet", "{}", ""},
		"operator, on failure":   {"PyTorchJob", torch("OnFailure"), ""},
		"operator, by exit code": {"PyTorchJob", torch("ExitCode"), ""},
		"operator, never":        {"PyTorchJob", torch("Never"), "the Worker pods have the restart policy Never"},
		"jobs started again":     {"JobSet", `{"spec":{"failurePolicy":{"maxRestarts":3}},"status":{"restartsCountTowardsMax":2}}`, ""},
		"nobody knows":           {"RayJob", "{}", "what a RayJob does when one of its pods is evicted"},
		"a pod of its own":       {"Pod", "{}", "what a Pod does"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &draft{live: customObject("x/v1", test.kind, "llama", "u", test.spec)}
			d.workload.Target.Kind = test.kind
			whys, err := newWorld(t).notReplaced(t.Context(), d, []corev1.Pod{worker})
			if got := strings.Join(whys, "; "); err != nil || (got == "") != (test.reason == "") || !strings.Contains(got, test.reason) {
				t.Errorf("%q, %v; want %q", got, err, test.reason)
			}
		})
	}
}
