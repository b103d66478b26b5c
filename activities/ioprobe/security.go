package ioprobe

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"gpumedic/activities/testpods"
)

// podContext lets the probe see what the rank sees: its user, its groups and
// its SELinux label, as far as the namespace's level allows. The group of
// volumes (fsGroup) becomes one of the groups: as fsGroup it would make the
// kubelet change the owner of files.
func podContext(at place, level testpods.Level) *corev1.PodSecurityContext {
	context := testpods.PodContext(level)
	pod, own := at.pod.Spec.SecurityContext, rankContext(at)
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	user := firstOf(own.RunAsUser, pod.RunAsUser)
	if user != nil && (*user != 0 || level != testpods.Restricted) {
		context.RunAsUser, context.RunAsGroup = user, firstOf(own.RunAsGroup, pod.RunAsGroup)
	}
	context.SupplementalGroups = slices.Clone(pod.SupplementalGroups)
	if pod.FSGroup != nil && !slices.Contains(context.SupplementalGroups, *pod.FSGroup) {
		context.SupplementalGroups = append(context.SupplementalGroups, *pod.FSGroup)
	}
	if context.SELinuxOptions = pod.SELinuxOptions; own.SELinuxOptions != nil {
		context.SELinuxOptions = own.SELinuxOptions
	}
	return context
}

func rankContext(at place) corev1.SecurityContext {
	for _, c := range at.pod.Spec.Containers {
		if c.Name == at.rank.Container {
			return ptr.Deref(c.SecurityContext, corev1.SecurityContext{})
		}
	}
	return corev1.SecurityContext{}
}

func firstOf(ids ...*int64) *int64 {
	for _, id := range ids {
		if id != nil {
			return id
		}
	}
	return nil
}
