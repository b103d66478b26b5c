package ioprobe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

// world is client-go's fake with what a Job controller, a scheduler and a
// kubelet would do at once, as the test tells. The real ones are asked in the lab's
// tests.
type world struct {
	*fake.Clientset
	t *testing.T
	// pod becomes the pod of a Job that is created; nil leaves it without.
	pod func(*corev1.Pod)
	// log is what it says.
	log  string
	mu   sync.Mutex
	uids int
	kept *store
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	w := &world{Clientset: fake.NewClientset(objects...), t: t, kept: &store{files: map[string][]byte{}}}
	w.PrependReactor("create", "*", w.create)
	w.PrependReactor("get", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.GetSubresource() == "log", &runtime.Unknown{Raw: []byte(w.log)}, nil
	})
	return w
}

func (w *world) hands() *Hands { return &Hands{Kube: w, Store: w.kept} }

// create gives UIDs, which client-go's fake does not, and lets the pod of a Job
// appear.
func (w *world) create(action clienttesting.Action) (bool, runtime.Object, error) {
	object := action.(clienttesting.CreateAction).GetObject()
	w.mu.Lock()
	w.uids++
	object.(metav1.Object).SetUID(types.UID(fmt.Sprintf("uid-%d", w.uids)))
	w.mu.Unlock()
	job, isJob := object.(*batchv1.Job)
	_, err := w.Tracker().Get(action.GetResource(), action.GetNamespace(), object.(metav1.Object).GetName())
	if isJob && err != nil && w.pod != nil {
		pod := probePod(job)
		if w.pod(pod); w.Tracker().Add(pod) != nil {
			w.t.Error("the pod is there already")
		}
	}
	return false, nil, nil
}

// probePod is the pod of a Job as it is right after its creation.
func probePod(job *batchv1.Job) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: job.Name + "-x", Namespace: job.Namespace, Labels: map[string]string{batchv1.JobNameLabel: job.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))}},
		Spec: job.Spec.Template.Spec, Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

func onItsNode(pod *corev1.Pod) {
	pod.Spec.NodeName = "gpu-03"
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
	pod.Status.Phase = corev1.PodRunning
}

func ended(pod *corev1.Pod) {
	onItsNode(pod)
	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Now()}}
}

// store keeps evidence in memory.
type store struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (s *store) Put(_ context.Context, name string, content io.Reader) (incident.EvidenceRef, error) {
	data, err := io.ReadAll(content)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = data
	sum := sha256.Sum256(data)
	return incident.EvidenceRef{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}, err
}

func (s *store) Open(_ context.Context, ref incident.EvidenceRef) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, found := s.files[ref.Name]
	if !found {
		return nil, incident.Faultf(incident.Missing, nil, "opening %s", ref.Name)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// keep stores a value as evidence.
func (w *world) keep(name string, value any) incident.EvidenceRef {
	data, err := json.Marshal(value)
	if err != nil {
		w.t.Fatal(err)
	}
	ref, err := w.kept.Put(context.Background(), name, bytes.NewReader(data))
	if err != nil {
		w.t.Fatal(err)
	}
	return ref
}

func params() steps.RunIOProbeParams {
	return steps.RunIOProbeParams{
		Incident: "incident/lab/training/job/llama-70b", Name: "io-1", Namespace: "training",
		Settings: incident.IOProbeSettings{
			Enabled: true, MaxBytes: 1 << 30, StartDeadline: 20 * time.Second, Deadline: 20 * time.Second,
			SlowMBps: 100, SlowSmallRead: 5 * time.Millisecond,
		},
	}
}

// asked is what the step is asked in a world of one rank, whose pod it makes.
func (w *world) asked(p steps.RunIOProbeParams, pods ...*corev1.Pod) steps.RunIOProbeParams {
	workload := incident.Workload{Target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"}}
	for i, pod := range pods {
		workload.Ranks = append(workload.Ranks, incident.Rank{Index: i, Pod: pod.Name, UID: string(pod.UID), Container: "trainer"})
		if err := w.Tracker().Add(pod); err != nil {
			w.t.Fatal(err)
		}
	}
	p.Workload = w.keep("workload.json", workload)
	return p
}

// rankPod mounts a claim read-only at /data and runs on gpu-03.
func rankPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training", UID: types.UID("uid-of-" + name)},
		Spec: corev1.PodSpec{
			NodeName:    "gpu-03",
			Tolerations: []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}},
			Volumes: []corev1.Volume{
				{Name: "dataset", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "web-images"}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
			Containers: []corev1.Container{
				{Name: "side", Image: "side:1"},
				{Name: "trainer", Image: "train:1", VolumeMounts: []corev1.VolumeMount{
					{Name: "dataset", MountPath: "/data", ReadOnly: true}, {Name: "scratch", MountPath: "/scratch"},
				}},
			},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func claim(name string, alter func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training"},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}}}
	if alter != nil {
		alter(c)
	}
	return c
}

func volume(name string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}
}

var nfs = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.9", Path: "/x"}}

// somePlace is what is chosen of one rank.
func somePlace() place {
	pod := rankPod("llama-0")
	return place{
		target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"},
		rank:   incident.Rank{Pod: pod.Name, UID: string(pod.UID), Container: "trainer"}, pod: pod, node: "gpu-03",
		volumes: []dataVolume{{subject: "pvc/web-images", volume: pod.Spec.Volumes[0], mount: pod.Spec.Containers[1].VolumeMounts[0], dir: "/data"}},
	}
}

// logOf is the log of a probe that measured so much.
func logOf(mbps, fileMS float64) string {
	line := func(test string, mbps, ms float64) string {
		return fmt.Sprintf(`{"event":"measure","path":"/data","test":"%s","tool":"fio-3.33","reads":100,"bytes":1200000000,"seconds":29.3,"mbps":%g,"reads_per_second":105,"p50_ms":%g,"p99_ms":%g}`+"\n", test, mbps, ms, 3*ms)
	}
	return started + tree + line("sequential", mbps, 30) + line("random", 2, fileMS/2) + line("files", 3, fileMS) + finished
}
