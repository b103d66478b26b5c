package kubelet

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Mounter is a Runner that also decides whether a pod's volumes can be mounted.
// Without it they always can.
type Mounter interface {
	// Mount says why not, as the kubelet's event does; "" when they can.
	Mount(pod *corev1.Pod) string
}

// mountAgain is the first pause between two tries; it doubles up to the back-off's
// last.
const mountAgain = 500 * time.Millisecond

// mount waits until the volumes are there, with an event for each try that
// failed; false when the pod is deleted before.
func (p *pod) mount() bool {
	mounter, ok := p.k.runner.(Mounter)
	if !ok {
		return true
	}
	for wait := mountAgain; ; wait = min(2*wait, p.k.backOff.Last) {
		problem := mounter.Mount(p.spec.DeepCopy())
		if problem == "" {
			return true
		}
		p.event(corev1.EventTypeWarning, "FailedMount", problem)
		if !p.sleep(wait) {
			return false
		}
	}
}
