package cluster

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

func userPod(name string, options ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training", Labels: map[string]string{}},
		Spec:   corev1.PodSpec{Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "corpus"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, option := range options {
		option(pod)
	}
	return pod
}

// TestLastUserOfAClaim: what runs and mounts a claim counts once it has stayed.
func TestLastUserOfAClaim(t *testing.T) {
	copies := func(pod *corev1.Pod) { pod.Labels[steps.CopyLabel] = "true" }
	hasEnded := func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }
	change := incident.ObjectChange{Kind: "PersistentVolumeClaim", Namespace: "training", Name: "corpus"}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		goes bool
		want string
	}{
		"somebody else's pod":     {userPod("notebook"), false, "notebook"},
		"one that goes meanwhile": {userPod("replica"), true, ""},
		"one that has ended":      {userPod("eval", hasEnded), false, ""},
		"our own copy":            {userPod("copy", copies), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, asked := newWorld(t, c.pod), 0
			w.Now = func() time.Time {
				if asked++; asked == 2 && c.goes {
					if err := w.kube.CoreV1().Pods("training").Delete(context.Background(), c.pod.Name, metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				}
				return midday.Add(time.Duration(asked) * removal / 2)
			}
			if got, err := w.lastUserOf(t.Context(), change); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
