package rig

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/lab/scenarios"
)

// checkEnv wants the ranks' variables to be as the scenario says, in every pod
// that is there to stay.
func (r *Rig) checkEnv(ctx context.Context, want map[string]string) []string {
	if len(want) == 0 {
		return nil
	}
	selector := batchv1.JobNameLabel + "=" + scenarios.Job
	pods, err := r.Admin.CoreV1().Pods(scenarios.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return []string{fmt.Sprintf("looking at the ranks' variables: %v", err)}
	}
	var wrong []string
	seen := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		seen++
		for name, pattern := range want {
			wrong = append(wrong, checkVariable(pod, name, pattern)...)
		}
	}
	if seen == 0 {
		wrong = append(wrong, "there is no rank whose variables could be looked at")
	}
	slices.Sort(wrong)
	return wrong
}

func checkVariable(pod corev1.Pod, name, pattern string) []string {
	env := pod.Spec.Containers[0].Env
	i := slices.IndexFunc(env, func(v corev1.EnvVar) bool { return v.Name == name })
	switch {
	case i < 0 && pattern == "":
		return nil
	case i < 0:
		return []string{fmt.Sprintf("%s has no %s, must have %s", pod.Name, name, pattern)}
	case pattern == "":
		return []string{fmt.Sprintf("%s has %s=%s, must not have it", pod.Name, name, env[i].Value)}
	case !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(env[i].Value):
		return []string{fmt.Sprintf("%s has %s=%s, must be %s", pod.Name, name, env[i].Value, pattern)}
	}
	return nil
}
