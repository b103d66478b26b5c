package commtest

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"gpumedic/incident"
)

// podSecurity is the pod security level that a namespace enforces; "" and
// "privileged" forbid nothing.
type podSecurity string

const (
	enforceLabel             = "pod-security.kubernetes.io/enforce"
	baseline     podSecurity = "baseline"
	restricted   podSecurity = "restricted"
	// nobody runs the test where root is forbidden.
	nobody = 65534
)

// levelOf asks what the namespace enforces. Not being allowed to read it is no
// reason to stop: pods that admission refuses are reported as such later.
func (h *Hands) levelOf(ctx context.Context, namespace string) podSecurity {
	found, err := h.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		h.log().Debug("pod security level not read", "namespace", namespace, "error", err)
		return ""
	}
	return podSecurity(found.Labels[enforceLabel])
}

func podContext(level podSecurity) *corev1.PodSecurityContext {
	context := &corev1.PodSecurityContext{
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if level == restricted {
		context.RunAsNonRoot = ptr.To(true)
		context.RunAsUser = ptr.To(int64(nobody))
	}
	return context
}

func containerContext(s incident.CommTestSettings, level podSecurity) *corev1.SecurityContext {
	capabilities := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	if usesDevices(s) && level != baseline && level != restricted {
		capabilities.Add = []corev1.Capability{"IPC_LOCK"} // see the package comment
	}
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             capabilities,
	}
}
