package kubelet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
)

// pod is one pod on one node, from its binding to its end.
type pod struct {
	k        *Kubelet
	spec     *corev1.Pod
	recorder record.EventRecorder
	ip       string
	started  metav1.Time

	// ctx ends when the pod is deleted or the node stops.
	ctx    context.Context
	cancel context.CancelFunc
	// writing makes status writes one at a time, the newest last.
	writing sync.Mutex

	mutex      sync.Mutex
	containers []*container
	inits      []*container
	deleting   bool
	phase      corev1.PodPhase
	// reason and message say why a pod was turned away.
	reason, message string
	// conditions as they were last written.
	conditions []corev1.PodCondition
}

// newPod prepares a pod. Callers hold the kubelet's mutex.
func (k *Kubelet) newPod(spec *corev1.Pod) *pod {
	p := &pod{
		k: k, spec: spec.DeepCopy(), recorder: newRecorder(k.events, spec.Spec.NodeName),
		ip: k.address(spec.Spec.NodeName), started: metav1.Now(), phase: corev1.PodPending,
	}
	if spec.Spec.HostNetwork {
		p.ip = "127.0.0.1"
	}
	p.spec.Status.PodIP, p.spec.Status.PodIPs = p.ip, []corev1.PodIP{{IP: p.ip}}
	p.ctx, p.cancel = context.WithCancel(k.ctx)
	waitsFor := "ContainerCreating"
	if len(spec.Spec.InitContainers) > 0 {
		waitsFor = "PodInitializing"
	}
	for _, c := range spec.Spec.InitContainers {
		p.inits = append(p.inits, newContainer(p, c, waitsFor))
		p.inits[len(p.inits)-1].init = true
	}
	for _, c := range spec.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, c, waitsFor))
	}
	return p
}

// all lists the init containers and then the others.
func (p *pod) all() []*container { return slices.Concat(p.inits, p.containers) }

// live is the pod's whole life.
func (p *pod) live() {
	p.write()
	if p.mount() && p.runInits() {
		var running sync.WaitGroup
		for _, c := range p.containers {
			running.Go(c.live)
		}
		running.Wait()
	}
	if p.k.ctx.Err() != nil {
		return // the lab stops; the pod stays as it is
	}
	p.finish()
}

// reject is the whole life of a pod that was not admitted.
func (p *pod) reject(message string) {
	p.mutex.Lock()
	p.reason, p.message = "OutOf"+string(gpuResource), message
	p.mutex.Unlock()
	p.event(corev1.EventTypeWarning, p.reason, message)
	p.end(corev1.PodFailed)
}

// runInits runs the init containers one after another; false when one failed
// for good.
func (p *pod) runInits() bool {
	for _, c := range p.inits {
		c.live()
		if !c.succeeded() {
			return false
		}
	}
	return p.ctx.Err() == nil
}

// finish sets the last phase and, when the pod is being deleted, lets it go.
func (p *pod) finish() {
	phase := corev1.PodSucceeded
	for _, c := range p.all() {
		if !c.succeeded() {
			phase = corev1.PodFailed
		}
	}
	p.end(phase)
}

func (p *pod) end(phase corev1.PodPhase) {
	p.setPhase(phase)
	p.mutex.Lock()
	deleting := p.deleting
	p.mutex.Unlock()
	if !deleting {
		<-p.ctx.Done() // stays, with its logs, until it is deleted
	}
	if p.k.ctx.Err() == nil {
		p.k.remove(p.spec)
	}
}

// stop begins a graceful deletion.
func (p *pod) stop() {
	p.mutex.Lock()
	first := !p.deleting
	p.deleting = true
	p.mutex.Unlock()
	if first {
		for _, c := range p.containers {
			p.event(corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
		}
		p.cancel()
	}
}

// remove deletes the object for good, as a kubelet does when all containers
// have ended.
func (k *Kubelet) remove(spec *corev1.Pod) {
	zero := int64(0)
	err := k.client.CoreV1().Pods(spec.Namespace).Delete(k.ctx, spec.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &spec.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && k.ctx.Err() == nil {
		k.log.Warn("a pod was not removed", "pod", spec.Namespace+"/"+spec.Name, "error", err)
	}
}

// over says that the pod holds nothing any more.
func (p *pod) over() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.phase == corev1.PodSucceeded || p.phase == corev1.PodFailed
}

// begun notes that a container was started: a pod is pending until then.
func (p *pod) begun() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.phase = corev1.PodRunning
}

func (p *pod) setPhase(phase corev1.PodPhase) {
	p.mutex.Lock()
	p.phase = phase
	p.mutex.Unlock()
	p.write()
}

func (p *pod) event(kind, reason, text string) { p.recorder.Event(p.spec, kind, reason, text) }

func (p *pod) logOf(name string, previous bool) (*logFile, error) {
	for _, c := range p.all() {
		if c.spec.Name != name {
			continue
		}
		current, before, why := c.logs()
		switch {
		case previous && before == nil:
			return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, p.spec.Name)
		case previous:
			return before, nil
		case current == nil:
			return nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", name, p.spec.Name, why)
		}
		return current, nil
	}
	return nil, fmt.Errorf("container %q not found in pod %q", name, p.spec.Name)
}

// sleep waits within the pod's life.
func (p *pod) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}
