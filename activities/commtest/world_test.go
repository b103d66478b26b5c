package commtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	restclient "k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

// world is client-go's fake with what a Job controller, a scheduler and
// kubelets would do at once, as the test tells. The real ones are asked in the
// lab's tests.
type world struct {
	*fake.Clientset
	t *testing.T
	// pod makes the pod of a rank as it is right after the Job's creation; nil
	// leaves the Job without pods.
	pod func(rank int) *corev1.Pod
	// logs by pod name; a pod that is not here has none.
	logs map[string]string
	// logErr is what reading any log ends with, where set.
	logErr error

	mu      sync.Mutex
	reading string
	uids    int
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	w := &world{Clientset: fake.NewClientset(objects...), t: t, logs: map[string]string{}}
	w.PrependReactor("create", "*", w.create)
	w.PrependReactor("get", "pods", w.readLog)
	return w
}

// create gives UIDs, which client-go's fake does not, and lets the pods of a
// Job appear.
func (w *world) create(action clienttesting.Action) (bool, runtime.Object, error) {
	object := action.(clienttesting.CreateAction).GetObject()
	w.mu.Lock()
	w.uids++
	object.(metav1.Object).SetUID(types.UID(fmt.Sprintf("uid-%d", w.uids)))
	w.mu.Unlock()
	job, isJob := object.(*batchv1.Job)
	_, err := w.Tracker().Get(action.GetResource(), action.GetNamespace(), object.(metav1.Object).GetName())
	if isJob && err != nil && w.pod != nil {
		for rank := range int(*job.Spec.Completions) {
			w.add(w.pod(rank))
		}
	}
	return false, nil, nil
}

func (w *world) add(pod *corev1.Pod) {
	if pod == nil {
		return
	}
	if err := w.Tracker().Add(pod); err != nil {
		w.t.Errorf("adding pod %s: %v", pod.Name, err)
	}
}

// update changes a pod, as a kubelet would.
func (w *world) update(pod *corev1.Pod) {
	if err := w.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, pod, pod.Namespace); err != nil {
		w.t.Errorf("updating pod %s: %v", pod.Name, err)
	}
}

func (w *world) readLog(action clienttesting.Action) (bool, runtime.Object, error) {
	if action.GetSubresource() != "log" {
		return false, nil, nil
	}
	if w.logErr != nil {
		return true, nil, w.logErr
	}
	text, found := w.logs[w.reading]
	if !found {
		return true, nil, fmt.Errorf("no log of %q in this world", w.reading)
	}
	return true, &runtime.Unknown{Raw: []byte(text)}, nil
}

// CoreV1 tells the log reactor which pod is meant: the fake's action does not.
func (w *world) CoreV1() typedcore.CoreV1Interface { return worldCore{w.Clientset.CoreV1(), w} }

type worldCore struct {
	typedcore.CoreV1Interface
	w *world
}

func (c worldCore) Pods(namespace string) typedcore.PodInterface {
	return worldPods{c.CoreV1Interface.Pods(namespace), c.w}
}

type worldPods struct {
	typedcore.PodInterface
	w *world
}

func (p worldPods) GetLogs(name string, options *corev1.PodLogOptions) *restclient.Request {
	if options.Container != container || !options.Timestamps {
		p.w.t.Errorf("log of %s was asked with %+v", name, options)
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.reading = name
	return p.PodInterface.GetLogs(name, options)
}

// store keeps evidence in memory.
type store struct {
	mu    sync.Mutex
	files map[string]string
	err   error
}

func (s *store) Put(_ context.Context, name string, content io.Reader) (incident.EvidenceRef, error) {
	data, err := io.ReadAll(content)
	if err = errors.Join(err, s.err); err != nil {
		return incident.EvidenceRef{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]string{}
	}
	s.files[name] = string(data)
	sum := sha256.Sum256(data)
	return incident.EvidenceRef{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}, nil
}

func (s *store) Open(_ context.Context, ref incident.EvidenceRef) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, found := s.files[ref.Name]
	if !found {
		return nil, fmt.Errorf("no %s", ref.Name)
	}
	return io.NopCloser(bytes.NewReader([]byte(data))), nil
}

// params is a group of three nodes. Its deadlines are long enough for a busy machine;
// a test that waits for one takes a short one.
func params() steps.RunCommTestParams {
	return steps.RunCommTestParams{
		Incident: "incident/lab/training/job/llama-70b", Name: "ct-1", Namespace: "training",
		Group: incident.Group{ID: "r1-g1", Nodes: []string{"gpu-00", "gpu-01", "gpu-02"}},
		Settings: incident.CommTestSettings{
			Image: "lab/commtest:1", GPUsPerNode: 4, Resources: map[string]string{"rdma/hca_shared_devices_a": "1"},
			ExpectedBusBWGBps: 370, SlowBelow: 0.5, MaxBytes: 16 << 20,
			StartDeadline: 20 * time.Second, Deadline: 20 * time.Second,
		},
		PodLabels: map[string]string{"app": "llama", "job-name": "llama-70b", "batch.kubernetes.io/controller-uid": "x"},
	}
}

// podOf is a rank's pod that is pending and has no place yet.
func podOf(p steps.RunCommTestParams, rank int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%d-x%d", p.Name, rank, rank), Namespace: p.Namespace,
			Labels:      map[string]string{batchv1.JobNameLabel: p.Name},
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(rank)},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

func runningPod(p steps.RunCommTestParams, rank int) *corev1.Pod {
	pod := podOf(p, rank)
	pod.Spec.NodeName = p.Group.Nodes[rank]
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	return pod
}

func endedPod(p steps.RunCommTestParams, rank, code int) *corev1.Pod {
	pod := runningPod(p, rank)
	pod.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Now(), ExitCode: int32(code)},
	}
	return pod
}

// logsOf are what the ranks of a healthy test print.
func logsOf(p steps.RunCommTestParams) map[string]string {
	r := &run{want: wantOf(p)}
	logs := map[string]string{}
	for rank := range p.Group.Nodes {
		logs[podOf(p, rank).Name] = r.text(rank)
	}
	return logs
}

func contains(t *testing.T, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("got %q, want ...%s...", got, want)
	}
}
