package kubelet

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// startDelay is what pulling and creating takes in the lab.
	startDelay = 50 * time.Millisecond
)

// BackOff is how long a container waits before its program is started again:
// First, then twice as long every time until Last. Whoever has run for ten
// times Last begins anew.
type BackOff struct{ First, Last time.Duration }

// QuickBackOff is the lab's own, RealBackOff that of kubelets.
var (
	QuickBackOff = BackOff{First: time.Second, Last: 4 * time.Second}
	RealBackOff  = BackOff{First: 10 * time.Second, Last: 5 * time.Minute}
)

// container is one container of a pod over all its attempts.
type container struct {
	pod  *pod
	spec corev1.Container
	init bool

	mutex    sync.Mutex
	state    corev1.ContainerState
	last     corev1.ContainerState
	attempts int // that were begun
	current  *logFile
	previous *logFile
	// ended and code are those of the attempt that state shows.
	ended bool
	code  int
}

func newContainer(p *pod, spec corev1.Container, waitsFor string) *container {
	return &container{pod: p, spec: spec, state: waiting(waitsFor, "")}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// live runs attempts until the restart policy says that was the last.
func (c *container) live() {
	backOff := c.pod.k.backOff.First
	for c.pod.sleep(startDelay) {
		began := time.Now()
		exit := c.attempt()
		if c.pod.ctx.Err() != nil || !c.again(exit) {
			return
		}
		if time.Since(began) > 10*c.pod.k.backOff.Last {
			backOff = c.pod.k.backOff.First
		}
		if !c.backOff(backOff) {
			break
		}
		backOff = min(2*backOff, c.pod.k.backOff.Last)
	}
	c.interrupted()
}

// attempt runs the program once and records how it ended.
func (c *container) attempt() Exit {
	began := metav1.Now()
	log := newLogFile(time.Now)
	c.mutex.Lock()
	c.current = log
	restart := c.attempts
	c.attempts++
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: began}}
	c.mutex.Unlock()
	if !c.init {
		c.pod.begun()
	}
	c.pod.event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", c.spec.Image))
	c.pod.event(corev1.EventTypeNormal, "Created", "Created container: "+c.spec.Name)
	c.pod.event(corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)
	c.pod.write()
	exit := c.pod.k.runner.Run(c.pod.ctx, Container{
		Pod: c.pod.spec.DeepCopy(), Spec: c.spec, Restart: restart, Node: c.pod.spec.Spec.NodeName, Out: log,
	})
	log.close()
	c.terminated(exit, began)
	return exit
}

func (c *container) terminated(exit Exit, began metav1.Time) {
	reason := exit.Reason
	switch {
	case reason != "":
	case exit.Code == 0:
		reason = "Completed"
	default:
		reason = "Error"
	}
	c.mutex.Lock()
	c.code, c.ended = exit.Code, true
	c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(exit.Code), Reason: reason, StartedAt: began, FinishedAt: metav1.Now(), ContainerID: c.id(),
	}}
	c.mutex.Unlock()
	if c.init || len(c.pod.containers) > 1 {
		c.pod.write()
	} // else what follows, the end of the pod or the back-off, tells it in one write
}

// again is the restart policy.
func (c *container) again(exit Exit) bool {
	switch c.pod.spec.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exit.Code != 0
	default:
		return !c.init || exit.Code != 0
	}
}

// backOff waits as CrashLoopBackOff before the next attempt.
func (c *container) backOff(d time.Duration) bool {
	c.mutex.Lock()
	c.last, c.previous = c.state, c.current
	c.state = waiting("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", d, c.spec.Name, c.pod.spec.Name))
	c.ended = false
	c.mutex.Unlock()
	c.pod.event(corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.spec.Name, c.pod.spec.Name))
	c.pod.write()
	return c.pod.sleep(d)
}

// interrupted marks a container whose pod was deleted while it did not run.
func (c *container) interrupted() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.state.Waiting == nil {
		return
	}
	if c.last.Terminated != nil { // between two attempts: what it last was
		c.state, c.ended = c.last, true
		return
	}
	now := metav1.Now()
	c.code, c.ended = 137, true
	c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: 137, Reason: "ContainerStatusUnknown", Message: "The container could not be located when the pod was deleted.", FinishedAt: now,
	}}
}

func (c *container) succeeded() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.ended && c.code == 0
}

// logs are nil where there are none; why says what the container waits for.
func (c *container) logs() (current, previous *logFile, why string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.state.Waiting != nil {
		why = c.state.Waiting.Reason
	}
	return c.current, c.previous, why
}

// id is the last attempt's container id, of the right shape. Callers hold
// the mutex.
func (c *container) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", c.pod.spec.UID, c.spec.Name, c.attempts))
	return fmt.Sprintf("simulated://%x", sum)
}

// status is what the API shows.
func (c *container) status() corev1.ContainerStatus {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	running := c.state.Running != nil
	status := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, State: c.state, LastTerminationState: c.last,
		RestartCount: int32(max(0, c.attempts-1)), Ready: running, Started: &running,
	}
	if c.current != nil {
		status.ContainerID = c.id()
	}
	return status
}
