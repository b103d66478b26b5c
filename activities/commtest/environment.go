package commtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// environment puts the operator's variables first: of two equal names the
// later wins, and what the ranks need to meet is not for configuration.
func environment(p steps.RunCommTestParams) []corev1.EnvVar {
	env := []corev1.EnvVar{{Name: "NCCL_DEBUG", Value: "INFO"}, {Name: "PYTHONDONTWRITEBYTECODE", Value: "1"}, {Name: "HOME", Value: "/tmp"}}
	for _, name := range sortedKeys(p.Settings.Env) {
		env = slices.DeleteFunc(env, func(v corev1.EnvVar) bool { return v.Name == name })
		env = append(env, corev1.EnvVar{Name: name, Value: p.Settings.Env[name]})
	}
	meet := meetBound(p.Settings)
	own := []corev1.EnvVar{
		fromField("RANK", "metadata.annotations['"+batchv1.JobCompletionIndexAnnotation+"']"),
		fromField("NODE_NAME", "spec.nodeName"),
		{Name: "NNODES", Value: strconv.Itoa(len(p.Group.Nodes))},
		{Name: "NPROC_PER_NODE", Value: strconv.Itoa(max(1, p.Settings.GPUsPerNode))},
		{Name: "MASTER_ADDR", Value: fmt.Sprintf("%[1]s-0.%[1]s.%[2]s", p.Name, p.Namespace)},
		{Name: "MASTER_PORT", Value: strconv.Itoa(masterPort)},
		{Name: "COMMTEST_TOKEN", Value: p.Name},
		{Name: "COMMTEST_OPS", Value: strings.Join(ops(), ",")},
		{Name: "COMMTEST_SIZES", Value: joinSizes(Sizes(p.Settings.MaxBytes))},
		{Name: "COMMTEST_MEET_SECONDS", Value: seconds(meet)},
		{Name: "COMMTEST_RUN_SECONDS", Value: seconds(runBound(p.Settings.Deadline, meet))},
	}
	for _, v := range own {
		env = slices.DeleteFunc(env, func(other corev1.EnvVar) bool { return other.Name == v.Name })
	}
	return append(env, own...)
}

// meetBound is how long the ranks wait for each other: as long as their pods
// may take to start, within reason.
func meetBound(s incident.CommTestSettings) time.Duration {
	return min(max(s.StartDeadline, minMeet), maxMeet)
}

// runBound leaves the script time to say what went wrong before our deadline
// cuts it off; a deadline shorter than the check-in is shared half and half.
func runBound(deadline, meet time.Duration) time.Duration {
	return max(deadline-meet-5*time.Second, deadline/2)
}

func fromField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func joinSizes(sizes []int64) string {
	words := make([]string, len(sizes))
	for i, size := range sizes {
		words[i] = strconv.FormatInt(size, 10)
	}
	return strings.Join(words, ",")
}

func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(d.Seconds()))) }
