package kubelet

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// Runner decides what a container does.
type Runner interface {
	// Run plays one attempt of one container until it ends by itself or ctx
	// is cancelled, which stands for SIGTERM: it must then return soon, since a
	// deleted pod stays until its programs have ended. Calls come side by side.
	Run(ctx context.Context, c Container) Exit
}

// Container is one attempt of one container.
type Container struct {
	// Pod is a copy as it was when the attempt started, with its IP.
	Pod  *corev1.Pod
	Spec corev1.Container
	// Restart counts earlier attempts in this pod.
	Restart int
	Node    string
	// Out is stdout; each line is stamped with the time of its writing.
	Out io.Writer
}

// Exit is how an attempt ended. Reason "" means Completed for code 0 and Error
// otherwise; "OOMKilled" is the other that kubelets report.
type Exit struct {
	Code   int
	Reason string
}
