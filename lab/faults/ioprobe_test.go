package faults_test

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/lab/faults"
)

// probed makes the first rank's pod a probe of its own volumes, in the shape in
// which the product makes it, and gives what it prints by test.
func probed(t *testing.T, st *stage, path string) (measures map[string]map[string]any, ending ending) {
	t.Helper()
	st.pods = st.pods[:1]
	pod := st.pods[0]
	pod.Labels[faults.ProbeLabel] = "true"
	pod.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "IOPROBE_PATHS", Value: `["` + path + `"]`}, {Name: "IOPROBE_BYTES", Value: "2147483648"}, {Name: "IOPROBE_SECONDS", Value: "90"},
		{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
	}
	ending = st.run(nil)[0]
	measures = map[string]map[string]any{}
	for line := range strings.Lines(ending.text) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		name, _ := event["event"].(string)
		if test, ok := event["test"].(string); ok {
			name = test
		}
		measures[name] = event
	}
	return measures, ending
}

// TestProbeFollowsTheClass: the figures are those of the class of the claim that
// is mounted at the path.
func TestProbeFollowsTheClass(t *testing.T) {
	for name, c := range map[string]struct {
		scenario, path string
		change         func(*stage, *corev1.Pod)
		mbps, p50      float64
	}{
		"slow disks":      {"dataset-slow-storage", "/data/web-corpus", nil, 32, 17.4375},
		"many files":      {"dataset-cold-cache", "/data/", nil, 400, 14.275},
		"a faster class":  {"dataset-slow-storage", "/data", reclass("premium-ssd"), 1200, 0.4 + 0.11/1.2},
		"no claim at all": {"dataset-slow-storage", "/elsewhere", nil, 6000, 0.05 + 0.11/6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := set(t, c.scenario)
			if c.change != nil {
				c.change(st, st.pods[0])
			}
			said, ending := probed(t, st, c.path)
			if ending.exit.Code != 0 || said["start"]["simulated"] != true || said["start"]["host"] != "gpu-00" || said["end"]["ok"] != true {
				t.Fatalf("exit %+v: %s", ending.exit, ending.text)
			}
			if mbps, p50 := said["sequential"]["mbps"], said["files"]["p50_ms"].(float64); mbps != c.mbps || p50 < c.p50-0.001 || p50 > c.p50+0.001 {
				t.Errorf("%v MB/s and %v ms, want %v and %v", mbps, p50, c.mbps, c.p50)
			}
		})
	}
}

// TestProbeWithoutPaths fails as the script does.
func TestProbeWithoutPaths(t *testing.T) {
	st := set(t, "dataset-slow-storage")
	st.pods = st.pods[:1]
	st.pods[0].Labels[faults.ProbeLabel] = "true"
	if ending := st.run(nil)[0]; ending.exit.Code != 1 || !strings.HasSuffix(ending.text, "KeyError: 'IOPROBE_PATHS'\n") {
		t.Errorf("exit %+v: %s", ending.exit, ending.text)
	}
}
