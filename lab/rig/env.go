package rig

import (
	"context"
	"errors"
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
	pods, err := r.lasting(ctx)
	if err != nil {
		return []string{fmt.Sprintf("looking at the ranks' variables: %v", err)}
	}
	var wrong []string
	for _, pod := range pods {
		for name, pattern := range want {
			wrong = append(wrong, checkVariable(pod, name, pattern)...)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// lasting are the job's pods that are there to stay; none is an error.
func (r *Rig) lasting(ctx context.Context) ([]corev1.Pod, error) {
	selector := batchv1.JobNameLabel + "=" + scenarios.Job
	list, err := r.Admin.CoreV1().Pods(scenarios.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
	if len(pods) == 0 {
		return nil, errors.New("there is no rank that could be looked at")
	}
	return pods, nil
}

// checkProduct wants every rank on a node with the GPU that the scenario names.
func (r *Rig) checkProduct(ctx context.Context, want string) []string {
	if want == "" {
		return nil
	}
	pods, err := r.lasting(ctx)
	if err != nil {
		return []string{fmt.Sprintf("looking at the ranks' GPUs: %v", err)}
	}
	var wrong []string
	for _, pod := range pods {
		node, err := r.Admin.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
		if err != nil {
			return append(wrong, fmt.Sprintf("looking at the GPUs of %s: %v", pod.Name, err))
		}
		if have := node.Labels["nvidia.com/gpu.product"]; have != want {
			wrong = append(wrong, fmt.Sprintf("%s is on %s with %s, must be on %s", pod.Name, node.Name, have, want))
		}
	}
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
