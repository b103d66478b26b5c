package faults_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/scenarios"
)

// waits is what diagnosis makes of the steps' times; ok is false when it makes
// nothing of them.
func waits(t *testing.T, st *stage) (o incident.Observation, ok bool) {
	t.Helper()
	st.open()
	for _, o := range observed(t, st.run(st.trained(4))) {
		if o.Signature == "step-times" && len(o.Causes) > 0 {
			return o, true
		}
	}
	return incident.Observation{}, false
}

func TestWaitsAreReadFromThePrintedTimes(t *testing.T) {
	for scenario, slow := range map[string]bool{
		"dataset-loader": true, "dataset-slow-storage": true, "dataset-cold-cache": true, "dataset-false-alarm": false, "dataset-metrics-missing": false,
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			o, ok := waits(t, set(t, scenario))
			if ok != slow {
				t.Fatalf("the ranks are read to wait: %v", ok)
			}
			if slow && (o.FailureCase != "dataset-slow" || o.Causes[0] != "input-pipeline-too-slow" || o.Weight < 0.5) {
				t.Errorf("read as %s %v with weight %.2f: %s", o.FailureCase, o.Causes, o.Weight, o.Meaning)
			}
		})
	}
}

// TestLoadingFollowsTheObjects: workers, class of the claim and a warm cache
// are read from the pod.
func TestLoadingFollowsTheObjects(t *testing.T) {
	warm := func(_ *stage, pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "warm", VolumeMounts: []corev1.VolumeMount{{Name: "cache", MountPath: "/cache"}}}}
	}
	elsewhere := func(_ *stage, pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "warm", VolumeMounts: []corev1.VolumeMount{{Name: "dataset", MountPath: "/data"}}}}
	}
	withWorkers := func(n int) func(*stage, *corev1.Pod) {
		return func(_ *stage, pod *corev1.Pod) { setenv("NUM_WORKERS", fmt.Sprint(n))(0, &pod.Spec.Containers[0]) }
	}
	for name, c := range map[string]struct {
		scenario string
		change   func(*stage, *corev1.Pod)
		slow     bool
	}{
		"one worker":        {"dataset-loader", withWorkers(1), true},
		"four workers":      {"dataset-loader", withWorkers(4), false},
		"faster class":      {"dataset-slow-storage", reclass("premium-ssd"), false},
		"unknown class":     {"dataset-slow-storage", reclass("local-path"), false},
		"more workers":      {"dataset-slow-storage", withWorkers(16), true},
		"warm cache":        {"dataset-cold-cache", warm, false},
		"something else":    {"dataset-cold-cache", elsewhere, true},
		"no loader to wait": {"dataset-loader", func(st *stage, _ *corev1.Pod) { st.script.Trainings = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := set(t, c.scenario)
			for _, pod := range st.pods {
				c.change(st, pod)
			}
			if _, ok := waits(t, st); ok != c.slow {
				t.Errorf("the ranks are read to wait: %v", ok)
			}
		})
	}
}

func reclass(class string) func(*stage, *corev1.Pod) {
	return func(st *stage, _ *corev1.Pod) {
		for _, o := range st.objects {
			if claim, ok := o.(*corev1.PersistentVolumeClaim); ok {
				claim.Spec.StorageClassName = &class
			}
		}
	}
}

// TestTrainingLinesStayKnown: steps of whatever form are steps.
func TestTrainingLinesStayKnown(t *testing.T) {
	st := set(t, "dataset-false-alarm")
	st.open()
	list := observed(t, st.run(st.trained(3)))
	if o := first(t, list, "training-step"); o.RankCount != scenarios.Ranks {
		t.Errorf("%d ranks are read to train", o.RankCount)
	}
	for _, o := range list {
		if o.Role == "origin" || o.Role == "echo" {
			t.Errorf("a healthy job says %s: %s", o.Signature, o.Line)
		}
	}
}

func TestBrokenClaimIsNotMounted(t *testing.T) {
	st := set(t, "dataset-mount-failure")
	st.open()
	want(t, "kubelet", st.model.Mount(st.pods[0]), `^MountVolume\.SetUp failed for volume "web-archive" : mount failed: exit status 32$`, `mount\.nfs: Connection timed out$`)
	if err := st.model.SetScript(faults.Script{}); err != nil {
		t.Fatal(err)
	}
	if problem := st.model.Mount(st.pods[0]); problem != "" {
		t.Errorf("a good claim is not mounted: %s", problem)
	}
}
