package ioprobe

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"gpumedic/activities/testpods"
	"gpumedic/steps"
)

// TestJobIsHarmless: one try, on one node, that can write and gain nothing, and
// that the cluster removes by itself.
func TestJobIsHarmless(t *testing.T) {
	p, at := params(), somePlace()
	job := jobFor(p, at, "")
	pod, spec := job.Spec.Template.Spec, job.Spec
	if *spec.BackoffLimit != 0 || *spec.Completions != 1 || *spec.TTLSecondsAfterFinished <= 0 || *spec.ActiveDeadlineSeconds <= 40 {
		t.Errorf("job %+v", spec)
	}
	if job.Labels[steps.OwnerLabel] != steps.OwnerValue(p.Incident) || spec.Template.Labels[Label] != "true" {
		t.Errorf("labels %v, %v", job.Labels, spec.Template.Labels)
	}
	if *pod.AutomountServiceAccountToken || pod.RestartPolicy != corev1.RestartPolicyNever || !slices.Equal(pod.Tolerations, at.pod.Spec.Tolerations) {
		t.Errorf("pod %+v", pod)
	}
	reader := pod.Containers[0]
	if reader.Image != "train:1" || reader.ImagePullPolicy != corev1.PullIfNotPresent || !*reader.SecurityContext.ReadOnlyRootFilesystem || len(reader.SecurityContext.Capabilities.Add) != 0 {
		t.Errorf("container %+v", reader)
	}
	for name := range reader.Resources.Requests {
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
			t.Errorf("it asks for %s", name)
		}
	}
	for _, mount := range reader.VolumeMounts {
		if !mount.ReadOnly && mount.MountPath != "/tmp" {
			t.Errorf("it may write to %s", mount.MountPath)
		}
	}
	if i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "dataset" }); i < 0 || pod.Volumes[i].PersistentVolumeClaim.ClaimName != "web-images" {
		t.Errorf("volumes %+v", pod.Volumes)
	}
	p.Settings.Image = "own:1"
	if got := jobFor(p, at, "").Spec.Template.Spec.Containers[0].Image; got != "own:1" {
		t.Errorf("image %s", got)
	}
}

// TestUserIsTheRanks, so that it may read what the rank reads, as far as the
// namespace's level lets it.
func TestUserIsTheRanks(t *testing.T) {
	for name, c := range map[string]struct {
		rank  *corev1.PodSecurityContext
		own   *corev1.SecurityContext
		level testpods.Level
		user  int64 // -1 = the image's
	}{
		"the image's":                     {nil, nil, "", -1},
		"the pod's":                       {&corev1.PodSecurityContext{RunAsUser: ptr.To(int64(1000))}, nil, testpods.Baseline, 1000},
		"the container's":                 {&corev1.PodSecurityContext{RunAsUser: ptr.To(int64(1000))}, &corev1.SecurityContext{RunAsUser: ptr.To(int64(7))}, testpods.Restricted, 7},
		"root where it is allowed":        {nil, &corev1.SecurityContext{RunAsUser: ptr.To(int64(0))}, "", 0},
		"nobody where root is forbidden":  {nil, &corev1.SecurityContext{RunAsUser: ptr.To(int64(0))}, testpods.Restricted, testpods.Nobody},
		"nobody where the image's may be": {nil, nil, testpods.Restricted, testpods.Nobody},
	} {
		at := somePlace()
		at.pod.Spec.SecurityContext, at.pod.Spec.Containers[1].SecurityContext = c.rank, c.own
		if got := ptr.Deref(podContext(at, c.level).RunAsUser, -1); got != c.user {
			t.Errorf("%s: user %d, want %d", name, got, c.user)
		}
	}
	at := somePlace()
	at.pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000)), SupplementalGroups: []int64{3000}}
	if got := podContext(at, ""); got.FSGroup != nil || !slices.Equal(got.SupplementalGroups, []int64{3000, 2000}) {
		t.Errorf("groups %+v: an fsGroup would change the files' owner", got)
	}
}
