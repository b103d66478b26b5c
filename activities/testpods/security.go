package testpods

import (
	"context"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// Level is the pod security level that a namespace enforces; "" and
// "privileged" forbid nothing.
type Level string

// The levels that forbid something, and the label that says which is enforced.
const (
	EnforceLabel       = "pod-security.kubernetes.io/enforce"
	Baseline     Level = "baseline"
	Restricted   Level = "restricted"
	// Nobody runs the test where root is forbidden.
	Nobody = 65534
)

// LevelOf asks what the namespace enforces. Not being allowed to read it is no
// reason to stop: pods that admission refuses are reported as such later.
func LevelOf(ctx context.Context, kube kubernetes.Interface, log hclog.Logger, namespace string) Level {
	found, err := kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		log.Debug("pod security level not read", "namespace", namespace, "error", err)
		return ""
	}
	return Level(found.Labels[EnforceLabel])
}

// PodContext is the pod's; under Restricted it is nobody's pod.
func PodContext(level Level) *corev1.PodSecurityContext {
	context := &corev1.PodSecurityContext{
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if level == Restricted {
		context.RunAsNonRoot = ptr.To(true)
		context.RunAsUser = ptr.To(int64(Nobody))
	}
	return context
}

// ContainerContext drops everything but the capabilities given, writes nowhere
// and gains nothing.
func ContainerContext(add ...corev1.Capability) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: add},
	}
}
