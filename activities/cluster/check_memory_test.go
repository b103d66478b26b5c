package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// limited gives the trainer a limit or, for a resource that has one already,
// another.
func limited(name corev1.ResourceName, amount string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { trainerOf(pod).Resources.Limits[name] = resource.MustParse(amount) }
}

func evictedFor(resource string, ago time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		started := metav1.NewTime(midday.Add(-ago))
		pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", StartTime: &started,
			Message: "The node was low on resource: " + resource + ". Threshold quantity: 100Mi, available: 3Mi. "}
	}
}

func initDied(code int32, reason string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "warm", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("2Gi")}}}}
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "warm", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, FinishedAt: metav1.NewTime(midday.Add(-time.Minute))}}}}
	}
}

// expect is what a finding must be, with parts of its sentence.
type expect struct {
	state   incident.State
	subject string
	value   string
	why     []string
}

// notBundled are questions about objects that are not among the evidence: nodes that
// no rank is on, and a claim that does not exist.
var notBundled = []string{incident.VolumeUnbound, incident.GPUsUnexposed, incident.GPUsFragmented, incident.LargerGPUFree}

func (e expect) compare(t testing.TB, got incident.Finding) {
	t.Helper()
	if got.State != e.state || got.Subject != orWord(e.subject, "job/llama-70b") || got.Value != e.value || got.Why == "" {
		t.Errorf("got  %s %q %q: %s\nwant %s %q %q", got.State, got.Subject, got.Value, got.Why, e.state, orWord(e.subject, "job/llama-70b"), e.value)
	}
	contains(t, got.Why, e.why...)
	if got.State == incident.Yes && len(got.Evidence) == 0 && !slices.Contains(notBundled, got.ID) {
		t.Errorf("no evidence: %+v", got)
	}
}

func TestCheckMemoryKilled(t *testing.T) {
	const m = time.Minute
	for name, test := range map[string]struct {
		ranks []func(*corev1.Pod)
		want  expect
	}{
		"nobody": {[]func(*corev1.Pod){nil, nil}, expect{incident.No, "", "", []string{"last 30m"}}},
		"the kernel, and it runs again": {[]func(*corev1.Pod){nil, both(limited("memory", "64Gi"), died(10*m, 2*m, 137, "OOMKilled"))},
			expect{incident.Yes, "pod/llama-70b-1-aaaaa", "64Gi", []string{"container trainer", "limit of 64Gi", "exit 137"}}},
		"the first of two": {[]func(*corev1.Pod){both(limited("memory", "64Gi"), died(10*m, m, 137, "OOMKilled")), both(limited("memory", "32Gi"), died(10*m, 2*m, 137, "OOMKilled"))},
			expect{incident.Yes, "pod/llama-70b-1-aaaaa", "32Gi", []string{"1 more after it"}}},
		"a child of a launcher that then gave up": {[]func(*corev1.Pod){both(limited("memory", "64Gi"), died(10*m, 2*m, 1, "OOMKilled"))},
			expect{incident.Yes, "pod/llama-70b-0-aaaaa", "64Gi", []string{"exit 1"}}},
		"shared memory counts": {[]func(*corev1.Pod){both(limited("memory", "64Gi"), shmOfSize("32Gi"), died(10*m, 2*m, 137, "OOMKilled"))},
			expect{incident.Yes, "pod/llama-70b-0-aaaaa", "64Gi", []string{"/dev/shm counts into it"}}},
		"without a limit": {[]func(*corev1.Pod){died(10*m, 2*m, 137, "OOMKilled")},
			expect{incident.Yes, "pod/llama-70b-0-aaaaa", "none", []string{"node gpu-00 ran out of memory"}}},
		"an init container": {[]func(*corev1.Pod){initDied(137, "OOMKilled")},
			expect{incident.Yes, "pod/llama-70b-0-aaaaa", "2Gi", []string{"container warm"}}},
		"an eviction for memory": {[]func(*corev1.Pod){both(limited("memory", "64Gi"), evictedFor("memory", m))},
			expect{incident.Yes, "pod/llama-70b-0-aaaaa", "64Gi", []string{"evicted from node gpu-00", "available: 3Mi"}}},
		"an eviction for disk": {[]func(*corev1.Pod){evictedFor("ephemeral-storage", m)}, expect{state: incident.No}},
		"a signal of unknown sender": {[]func(*corev1.Pod){both(limited("memory", "64Gi"), died(10*m, 2*m, 137, "Error"))},
			expect{incident.Unknown, "pod/llama-70b-0-aaaaa", "64Gi", []string{"SIGKILL", "does not say why"}}},
		"a signal while the pod was preempted": {[]func(*corev1.Pod){both(died(10*m, 2*m, 137, "Error"), disrupted("PreemptionByScheduler", 3*m))}, expect{state: incident.No}},
		"a sure one beside one of unknown sender": {[]func(*corev1.Pod){died(10*m, 3*m, 137, "Error"), both(limited("memory", "1Gi"), died(10*m, 2*m, 137, "OOMKilled"))},
			expect{incident.Yes, "pod/llama-70b-1-aaaaa", "1Gi", nil}},
		"yesterday": {[]func(*corev1.Pod){died(30*time.Hour, 20*time.Hour, 137, "OOMKilled")}, expect{state: incident.No}},
		"an exit of its own, as of a GPU out of memory": {[]func(*corev1.Pod){died(10*m, 2*m, 1, "Error")}, expect{state: incident.No}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ranksThat(test.ranks...)...)
			test.want.compare(t, only(t, w.checked(t, w.CheckMemory), incident.HostMemoryKilled))
		})
	}
}

func nodeEvent(node, reason, message string, ago time.Duration) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: node + "." + strings.ToLower(reason), Namespace: "default"}, Reason: reason, Message: message, Type: "Warning",
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: node}, LastTimestamp: metav1.NewTime(midday.Add(-ago))}
}

func pressed(status corev1.ConditionStatus) func(*corev1.Node) {
	return func(node *corev1.Node) {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: status, Message: "kubelet says so"})
	}
}

func TestCheckMemoryNodes(t *testing.T) {
	calm := func(n int) runtime.Object { return testNode(n, pressed(corev1.ConditionFalse)) }
	for name, test := range map[string]struct {
		objects []runtime.Object
		change  func(*world)
		want    expect
	}{
		"calm":     {objects: []runtime.Object{calm(0), calm(1)}, want: expect{incident.No, "", "", []string{"2 nodes"}}},
		"pressure": {objects: []runtime.Object{calm(0), testNode(1, pressed(corev1.ConditionTrue))}, want: expect{incident.Yes, "node/gpu-01", "MemoryPressure", nil}},
		"an OOM of the system": {objects: []runtime.Object{calm(0), calm(1), nodeEvent("gpu-01", "SystemOOM", "System OOM encountered, victim process: python, pid: 7", time.Minute)},
			want: expect{incident.Yes, "node/gpu-01", "SystemOOM", []string{"victim process: python"}}},
		"one of yesterday":        {objects: []runtime.Object{calm(0), calm(1), nodeEvent("gpu-01", "SystemOOM", "", 25*time.Hour)}, want: expect{state: incident.No}},
		"one of another node":     {objects: []runtime.Object{calm(0), calm(1), nodeEvent("gpu-07", "SystemOOM", "", time.Minute)}, want: expect{state: incident.No}},
		"a container's own limit": {objects: []runtime.Object{calm(0), calm(1), nodeEvent("gpu-01", "OOMKilling", "Memory cgroup out of memory", time.Minute)}, want: expect{state: incident.No}},
		"a node is gone":          {objects: []runtime.Object{calm(0)}, want: expect{incident.Unknown, "node/gpu-01", "", []string{"not in the cluster"}}},
		"a node does not say":     {objects: []runtime.Object{calm(0), testNode(1)}, want: expect{incident.Unknown, "node/gpu-01", "", nil}},
		"events may not be read": {objects: []runtime.Object{calm(0), calm(1)}, change: func(w *world) { w.refuse("list", "events", "") },
			want: expect{incident.Unknown, "", "", []string{"under memory pressure now", `resources ["events"]`}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(test.objects, testJob(2), testPod(0, ""), testPod(1, ""))...)
			if test.change != nil {
				test.change(w)
			}
			test.want.compare(t, only(t, w.checked(t, w.CheckMemory), incident.NodeMemoryShort))
		})
	}
}

func TestCheckMemoryNodeThatEvicted(t *testing.T) {
	w := newWorld(t, testJob(1), testPod(0, "", evictedFor("memory", time.Minute)), testNode(0, pressed(corev1.ConditionFalse)))
	expect{incident.Yes, "node/gpu-00", "Evicted", []string{"low on memory"}}.compare(t, only(t, w.checked(t, w.CheckMemory), incident.NodeMemoryShort))
}

// mounted adds a volume to the pod and mounts it in the trainer.
func mounted(path, name string, source corev1.VolumeSource) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		trainerOf(pod).VolumeMounts = append(trainerOf(pod).VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
}

// shmOfSize mounts a memory volume; "" sets no limit of its own.
func shmOfSize(size string) func(*corev1.Pod) {
	empty := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if size != "" {
		limit := resource.MustParse(size)
		empty.SizeLimit = &limit
	}
	return mounted("/dev/shm", "shm", corev1.VolumeSource{EmptyDir: empty})
}

func TestCheckMemoryShm(t *testing.T) {
	hostIPC := func(pod *corev1.Pod) { pod.Spec.HostIPC = true }
	for name, test := range map[string]struct {
		ranks []func(*corev1.Pod)
		want  expect
	}{
		"the runtime's": {[]func(*corev1.Pod){nil, nil}, expect{incident.Yes, "", "64Mi", []string{"on 2 of 2 ranks", "default of 64Mi", "4 GPUs", "4Gi or more"}}},
		"the runtime's, and workers": {[]func(*corev1.Pod){withEnv("NUM_WORKERS", "8")},
			expect{incident.Yes, "", "64Mi", []string{"8 loader workers (NUM_WORKERS)"}}},
		"too small a volume":  {[]func(*corev1.Pod){shmOfSize("2Gi")}, expect{incident.Yes, "", "2Gi", []string{"memory volume shm of 2Gi"}}},
		"a large volume":      {[]func(*corev1.Pod){shmOfSize("16Gi")}, expect{incident.No, "", "16Gi", nil}},
		"an unbounded volume": {[]func(*corev1.Pod){shmOfSize("")}, expect{incident.No, "", "", []string{"memory limit alone"}}},
		"a volume on disk": {[]func(*corev1.Pod){mounted("/dev/shm/", "d", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})},
			expect{incident.No, "", "", []string{"slow but not small"}}},
		"the node's": {[]func(*corev1.Pod){hostIPC}, expect{incident.Unknown, "", "", []string{"hostIPC"}}},
		"a host path": {[]func(*corev1.Pod){mounted("/dev/shm", "d", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/dev/shm"}})},
			expect{incident.Unknown, "", "", []string{"no emptyDir"}}},
		"one rank of three": {[]func(*corev1.Pod){shmOfSize("16Gi"), nil, shmOfSize("16Gi")}, expect{incident.Yes, "", "64Mi", []string{"on 1 of 3 ranks"}}},
		"one GPU and no workers": {[]func(*corev1.Pod){both(limited("nvidia.com/gpu", "1"), withEnv("NUM_WORKERS", "0"))},
			expect{incident.No, "", "64Mi", []string{"no loader workers"}}},
		"no GPU and no workers": {[]func(*corev1.Pod){func(pod *corev1.Pod) { delete(trainerOf(pod).Resources.Limits, "nvidia.com/gpu") }}, // the sidecar is then the main one
			expect{incident.No, "", "64Mi", []string{"no GPU and no loader worker"}}},
		"one GPU, workers unsaid": {[]func(*corev1.Pod){limited("nvidia.com/gpu", "1")}, expect{incident.Yes, "", "64Mi", []string{"1Gi or more"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ranksThat(test.ranks...)...)
			test.want.compare(t, only(t, w.checked(t, w.CheckMemory), incident.ShmSmall))
		})
	}
}

func labelled(key, value string) func(*corev1.Node) {
	return func(node *corev1.Node) { node.Labels[key] = value }
}

func TestCheckMemorySliced(t *testing.T) {
	mig := func(pod *corev1.Pod) {
		delete(trainerOf(pod).Resources.Limits, "nvidia.com/gpu")
		limited("nvidia.com/mig-1g.10gb", "1")(pod)
	}
	for name, test := range map[string]struct {
		pod  func(*corev1.Pod)
		node func(*corev1.Node)
		want expect
	}{
		"whole GPUs":          {nil, nil, expect{incident.No, "", "", []string{"whole GPUs"}}},
		"a MIG slice":         {mig, nil, expect{incident.Yes, "", "nvidia.com/mig-1g.10gb", nil}},
		"time-slicing":        {nil, labelled("nvidia.com/gpu.sharing-strategy", "time-slicing"), expect{incident.Yes, "", "time-slicing", []string{"node gpu-00"}}},
		"replicas":            {nil, labelled("nvidia.com/gpu.replicas", "4"), expect{incident.Yes, "", "shared, 4 per GPU", nil}},
		"one replica":         {nil, labelled("nvidia.com/gpu.replicas", "1"), expect{state: incident.No}},
		"no sharing":          {nil, labelled("nvidia.com/gpu.sharing-strategy", "none"), expect{state: incident.No}},
		"a shared product":    {nil, labelled("nvidia.com/gpu.product", "NVIDIA-L4-SHARED"), expect{incident.Yes, "", "NVIDIA-L4-SHARED", nil}},
		"single MIG strategy": {nil, labelled("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB-MIG-3g.40gb"), expect{incident.Yes, "", "NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			pod, node := testPod(0, ""), testNode(0)
			if test.pod != nil {
				test.pod(pod)
			}
			if test.node != nil {
				test.node(node)
			}
			w := newWorld(t, testJob(1), pod, node)
			test.want.compare(t, only(t, w.checked(t, w.CheckMemory), incident.GPUSliced))
		})
	}
	t.Run("the node is gone", func(t *testing.T) {
		w := newWorld(t, testJob(1), testPod(0, ""))
		expect{incident.Unknown, "", "", []string{"1 of 1 nodes"}}.compare(t, only(t, w.checked(t, w.CheckMemory), incident.GPUSliced))
	})
}

func TestCheckMemoryAllocator(t *testing.T) {
	secret := envValueFrom("PYTORCH_ALLOC_CONF", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "k"}}})
	for name, test := range map[string]struct {
		ranks []func(*corev1.Pod)
		want  expect
	}{
		"nothing": {[]func(*corev1.Pod){nil}, expect{state: incident.No}},
		"PyTorch": {[]func(*corev1.Pod){withEnv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128"), nil},
			expect{incident.Yes, "", "PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:128", []string{"on 1 of 2 ranks"}}},
		"two": {[]func(*corev1.Pod){withEnv("XLA_PYTHON_CLIENT_PREALLOCATE", "false", "TF_FORCE_GPU_ALLOW_GROWTH", "true")},
			expect{incident.Yes, "", "TF_FORCE_GPU_ALLOW_GROWTH=true, XLA_PYTHON_CLIENT_PREALLOCATE=false", nil}},
		"from a secret": {[]func(*corev1.Pod){secret}, expect{incident.Unknown, "", "", []string{"never read"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ranksThat(test.ranks...)...)
			test.want.compare(t, only(t, w.checked(t, w.CheckMemory), incident.AllocatorSet))
		})
	}
}

const knobsText = `
- {role: micro-batch, arg: --batch-size, type: int, min: 1, max: 64, constant: accumulation}
- {role: accumulation, env: ACCUM, type: int, min: 1, max: 64}
`

func TestCheckMemoryKnobs(t *testing.T) {
	for name, test := range map[string]struct {
		job, pod string
		want     expect
	}{
		"none":                {want: expect{incident.No, "", "", []string{"gpumedic.io/knobs", "advised"}}},
		"on the target":       {job: knobsText, want: expect{incident.Yes, "", "micro-batch, accumulation", []string{"job training/llama-70b"}}},
		"on the pod template": {pod: knobsText, want: expect{incident.Yes, "", "micro-batch, accumulation", []string{"pod template"}}},
		"the target's first":  {job: "[{role: precision, env: P, type: choice, choices: [fp32, bf16]}]", pod: knobsText, want: expect{incident.Yes, "", "precision", nil}},
		"no YAML":             {job: "- role: x\n -", want: expect{incident.Unknown, "", "", []string{"line 1"}}},
		"an unknown field":    {job: "[{role: precision, env: P, typ: choice}]", want: expect{incident.Unknown, "", "", []string{`"typ"`}}},
		"env and arg":         {job: "[{role: precision, env: P, type: choice, choices: [fp32, bf16]},\n {role: micro-batch, env: B, arg: --b, type: int, max: 8}]", want: expect{incident.Unknown, "", "", []string{"line 2: a knob needs either env or arg"}}},
		"an empty list":       {job: "[]", want: expect{incident.Unknown, "", "", []string{"list of knobs"}}},
	} {
		t.Run(name, func(t *testing.T) {
			job, pod := testJob(1), testPod(0, "")
			if test.job != "" {
				job.Annotations = map[string]string{incident.KnobAnnotation: test.job}
			}
			if test.pod != "" {
				pod.Annotations[incident.KnobAnnotation] = test.pod
			}
			w := newWorld(t, job, pod, testNode(0))
			test.want.compare(t, only(t, w.checked(t, w.CheckMemory), incident.KnobsDeclared))
		})
	}
}

// TestCheckMemoryWithoutPods: what the template says is told, what only pods
// can tell is unknown.
func TestCheckMemoryWithoutPods(t *testing.T) {
	job := testJob(2)
	trainer := &job.Spec.Template.Spec.Containers[1]
	trainer.Env = []corev1.EnvVar{{Name: "PYTORCH_ALLOC_CONF", Value: "expandable_segments:True"}}
	w := newWorld(t, job)
	result := w.checked(t, w.CheckMemory)
	expect{incident.Yes, "", "64Mi", []string{"by the pod template"}}.compare(t, only(t, result, incident.ShmSmall))
	expect{incident.Yes, "", "PYTORCH_ALLOC_CONF=expandable_segments:True", []string{"by the pod template"}}.compare(t, only(t, result, incident.AllocatorSet))
	for _, id := range []string{incident.HostMemoryKilled, incident.NodeMemoryShort, incident.GPUSliced} {
		expect{state: incident.Unknown}.compare(t, only(t, result, id))
	}
}

// TestChecksThatCannotAsk: every question of every check is unknown, and none
// is an error, when the API server does not answer or the target is gone.
func TestChecksThatCannotAsk(t *testing.T) {
	for name, change := range map[string]func(*world){
		"no answer": func(w *world) { w.fail("list", "pods") },
		"refused":   func(w *world) { w.refuse("list", "pods", "") },
		"gone": func(w *world) {
			jobs := w.dynamic.Resource(jobsResource).Namespace("training")
			if err := jobs.Delete(t.Context(), "llama-70b", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			found, _ := w.resolved(t, jobTarget)
			change(w)
			for check, count := range map[string]int{steps.CheckMemory: 6, steps.CheckCapacity: 3, steps.CheckVolumes: 3, steps.CheckLoading: 4} {
				result, err := w.dataChecks()[check](t.Context(), paramsOf(found))
				if err != nil || len(result.Findings) != count {
					t.Fatalf("%s: %v, %d findings", check, err, len(result.Findings))
				}
				for _, finding := range result.Findings {
					if finding.State != incident.Unknown || finding.Why == "" || finding.Check != check {
						t.Errorf("%+v", finding)
					}
				}
			}
		})
	}
}

func TestChecksOfManyPages(t *testing.T) {
	objects := gang(3)
	for i := range 1200 {
		pod := testPod(3, fmt.Sprint(i))
		pod.OwnerReferences, pod.Spec.NodeName = nil, ""
		objects = append(objects, pod)
	}
	w := newWorld(t, objects...)
	pages := 0
	w.paginate(t, &pages)
	for check, carryOut := range w.dataChecks() {
		before := pages
		if len(w.checked(t, carryOut).Findings) == 0 {
			t.Errorf("%s found nothing", check)
		}
		if pages-before < 6 { // three of the resolving, three of the check
			t.Errorf("%s read %d pages", check, pages-before)
		}
	}
}
