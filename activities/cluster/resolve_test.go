package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

func podHint(name string) incident.Target {
	return incident.Target{Cluster: "lab", Namespace: "training", Kind: "Pod", Name: name}
}

func TestResolvePodOfJob(t *testing.T) {
	w := newWorld(t, append(gang(3), testPod(1, "zzzzz", born(3*time.Hour), inPhase(corev1.PodFailed)))...)
	result, workload := w.resolved(t, podHint("llama-70b-2-aaaaa"))
	if !result.Found || !result.Supported || result.Target != jobTarget {
		t.Fatalf("got %+v", result)
	}
	want := incident.Workload{
		Target: jobTarget, UID: "job-uid", OwnerChain: []string{"Pod", "Job"}, JobNames: []string{"llama-70b"},
		Labels: map[string]string{"app": "llama"}, PodLabels: map[string]string{"app": "llama", "team": "nlp"}, WantedRanks: 3,
	}
	for i := range 3 {
		want.Ranks = append(want.Ranks, incident.Rank{Index: i, Pod: fmt.Sprintf("llama-70b-%d-aaaaa", i), UID: fmt.Sprintf("llama-70b-%d-aaaaa-uid", i),
			Container: "trainer", Node: fmt.Sprintf("gpu-%02d", i), PodIP: fmt.Sprintf("10.0.0.%d", i), Phase: "Running", GPUs: 4})
		want.Nodes = append(want.Nodes, incident.Node{Name: fmt.Sprintf("gpu-%02d", i), Leaf: []string{"leaf-a", "leaf-b"}[i%2], Rack: "rack-1", Zone: "z",
			Product: "NVIDIA-H100-80GB-HBM3", GPUs: 8, Ready: true, RDMA: map[string]int{"rdma/hca_shared_devices_a": 63}})
	}
	want.Earlier = []incident.Rank{{Index: 1, Pod: "llama-70b-1-zzzzz", UID: "llama-70b-1-zzzzz-uid", Container: "trainer", Node: "gpu-01", PodIP: "10.0.0.1", Phase: "Failed", GPUs: 4}}
	if diff := cmp.Diff(want, workload); diff != "" {
		t.Errorf("workload (-want +got):\n%s", diff)
	}
	contains(t, result.Why, "1 pods of earlier attempts")
	if diff := cmp.Diff([]string{"GPU nodes", "NCCL", "pod logs"}, result.Simulated); diff != "" {
		t.Errorf("simulated (-want +got):\n%s", diff)
	}
	if got := result.Summary; got.Ranks != 3 || got.GPUs != 12 || len(got.Nodes) != 3 || got.Nodes[0].RDMA != nil || got.Nodes[0].Leaf != "leaf-a" ||
		!cmp.Equal(got.Phases, []incident.Count{{Name: "Running", Count: 3}}) {
		t.Errorf("summary %+v", got)
	}
}

// TestResolveOwners climbs from the pod llama-70b-0-aaaaa.
func TestResolveOwners(t *testing.T) {
	jobOf := func(apiVersion, kind, name, uid string) *batchv1.Job {
		return ownedBy(testJob(2), apiVersion, kind, name, uid)
	}
	pods := []runtime.Object{testPod(0, ""), testPod(1, ""), testNode(0), testNode(1)}
	for name, test := range map[string]struct {
		objects []runtime.Object
		change  func(*world)
		want    incident.Target
		chain   []string
		why     string
	}{
		"a job of its own": {
			objects: []runtime.Object{testJob(2)},
			want:    jobTarget, chain: []string{"Pod", "Job"},
		},
		"jobset": {
			objects: []runtime.Object{jobOf("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid"), customObject("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid", "")},
			want:    incident.Target{Cluster: "lab", Namespace: "training", Kind: "JobSet", Name: "set"}, chain: []string{"Pod", "Job", "JobSet"},
		},
		"trainjob over a jobset": {
			objects: []runtime.Object{jobOf("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid"),
				ownedBy(customObject("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid", ""), "trainer.kubeflow.org/v1alpha1", "TrainJob", "train", "train-uid"),
				customObject("trainer.kubeflow.org/v1alpha1", "TrainJob", "train", "train-uid", "")},
			want: incident.Target{Cluster: "lab", Namespace: "training", Kind: "TrainJob", Name: "train"}, chain: []string{"Pod", "Job", "JobSet", "TrainJob"},
		},
		"a kind of the site's own": {
			objects: []runtime.Object{jobOf("ml.example.com/v1", "TrainingRun", "run", "run-uid"), customObject("ml.example.com/v1", "TrainingRun", "run", "run-uid", "")},
			want:    incident.Target{Cluster: "lab", Namespace: "training", Kind: "TrainingRun", Name: "run"}, chain: []string{"Pod", "Job", "TrainingRun"},
		},
		"a schedule is not climbed": {
			objects: []runtime.Object{jobOf("batch/v1", "CronJob", "nightly", "cron-uid")},
			want:    jobTarget, chain: []string{"Pod", "Job"},
		},
		"a kind that is not served": {
			objects: []runtime.Object{jobOf("ml.example.com/v1", "Experiment", "x", "x-uid")},
			want:    jobTarget, chain: []string{"Pod", "Job"}, why: "does not serve",
		},
		"another group's job": {
			objects: []runtime.Object{jobOf("batch.volcano.sh/v1alpha1", "Job", "v", "v-uid")},
			want:    jobTarget, chain: []string{"Pod", "Job"}, why: "not supported",
		},
		"an owner that may not be read": {
			objects: []runtime.Object{jobOf("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid")},
			change:  func(w *world) { w.refuse("get", "jobsets", "jobset.x-k8s.io") },
			want:    jobTarget, chain: []string{"Pod", "Job"}, why: `apiGroups ["jobset.x-k8s.io"], resources ["jobsets"], verbs ["get"]`,
		},
		"an owner that is gone": {
			objects: []runtime.Object{jobOf("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid")},
			want:    jobTarget, chain: []string{"Pod", "Job"}, why: "JobSet set is gone",
		},
		"an owner that was created anew": {
			objects: []runtime.Object{jobOf("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid"), customObject("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "other-uid", "")},
			want:    jobTarget, chain: []string{"Pod", "Job"}, why: "created anew",
		},
		"a circle": {
			objects: []runtime.Object{jobOf("ml.example.com/v1", "TrainingRun", "run", "run-uid"),
				ownedBy(customObject("ml.example.com/v1", "TrainingRun", "run", "run-uid", ""), "batch/v1", "Job", "llama-70b", "job-uid")},
			want: jobTarget, chain: []string{"Pod", "Job"}, why: "circle",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(test.objects, pods...)...)
			if test.change != nil {
				test.change(w)
			}
			result, workload := w.resolved(t, podHint("llama-70b-0-aaaaa"))
			if result.Target != test.want || !result.Supported || len(workload.Ranks) != 2 || workload.WantedRanks != 2 {
				t.Errorf("got %+v with %d ranks, %d wanted", result.Target, len(workload.Ranks), workload.WantedRanks)
			}
			if diff := cmp.Diff(test.chain, workload.OwnerChain); diff != "" {
				t.Errorf("chain (-want +got):\n%s", diff)
			}
			contains(t, result.Why, test.why)
			if again, _ := w.resolved(t, test.want); again.Workload.SHA256 != result.Workload.SHA256 {
				t.Errorf("named by itself the target differs:\n%s", cmp.Diff(result, again))
			}
		})
	}
}

func TestResolveOperators(t *testing.T) {
	replica := func(name, kind, role, index string) *corev1.Pod {
		pod := testPod(0, "")
		pod.Name, pod.UID, pod.Annotations = name, types.UID(name), nil
		pod.Labels = map[string]string{"app": "x", kubeflowReplicaType: role, kubeflowReplicaIndex: index}
		if role == "launcher" {
			pod.Labels[kubeflowRole] = role
		}
		return ownedBy(pod, "kubeflow.org/v1", kind, "t", "t-uid")
	}
	for name, test := range map[string]struct {
		kind, apiVersion, spec string
		pods                   []runtime.Object
		want                   map[string]int
		wanted                 int
		suspended              bool
	}{
		"pytorchjob counts the master first": {
			kind: "PyTorchJob", apiVersion: "kubeflow.org/v1", wanted: 3, suspended: true,
			spec: `{"spec":{"runPolicy":{"suspend":true},"pytorchReplicaSpecs":{"Master":{"replicas":1},"Worker":{"replicas":2}}}}`,
			pods: []runtime.Object{replica("t-worker-1", "PyTorchJob", "worker", "1"), replica("t-master-0", "PyTorchJob", "master", "0"), replica("t-worker-0", "PyTorchJob", "worker", "0")},
			want: map[string]int{"t-master-0": 0, "t-worker-0": 1, "t-worker-1": 2},
		},
		"elastic pytorchjob has no master": {
			kind: "PyTorchJob", apiVersion: "kubeflow.org/v1", wanted: 2, spec: `{"spec":{"pytorchReplicaSpecs":{"Worker":{"replicas":2}}}}`,
			pods: []runtime.Object{replica("t-worker-1", "PyTorchJob", "worker", "1"), replica("t-worker-0", "PyTorchJob", "worker", "0")},
			want: map[string]int{"t-worker-0": 0, "t-worker-1": 1},
		},
		"mpijob's launcher has no index": {
			kind: "MPIJob", apiVersion: "kubeflow.org/v2beta1", wanted: 2, spec: `{"spec":{"mpiReplicaSpecs":{"Worker":{"replicas":2},"Launcher":{}}}}`,
			pods: []runtime.Object{replica("t-worker-1", "MPIJob", "worker", "1"), replica("t-worker-0", "MPIJob", "worker", "0"), replica("t-launcher", "MPIJob", "launcher", "")},
			want: map[string]int{"t-launcher": -1, "t-worker-0": 0, "t-worker-1": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(test.pods, customObject(test.apiVersion, test.kind, "t", "t-uid", test.spec))...)
			_, workload := w.resolved(t, incident.Target{Cluster: "lab", Namespace: "training", Kind: test.kind, Name: "t"})
			got := map[string]int{}
			for _, rank := range workload.Ranks {
				got[rank.Pod] = rank.Index
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ranks (-want +got):\n%s", diff)
			}
			if workload.WantedRanks != test.wanted || workload.Suspended != test.suspended {
				t.Errorf("wanted %d, suspended %v", workload.WantedRanks, workload.Suspended)
			}
			if diff := cmp.Diff(map[string]string{"app": "x"}, workload.PodLabels); diff != "" {
				t.Errorf("pod labels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveJobSetCountsItsJobsThrough(t *testing.T) {
	var objects []runtime.Object
	for j := range 2 {
		job := ownedBy(testJob(2), "jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid")
		job.Name, job.UID = fmt.Sprintf("set-w-%d", j), types.UID(fmt.Sprintf("job-%d", j))
		job.Labels = map[string]string{jobGlobalIndex: fmt.Sprint(j)}
		objects = append(objects, job)
		for i := range 2 {
			pod := testPod(i, fmt.Sprintf("job%d", j))
			objects = append(objects, ownedBy(pod, "batch/v1", "Job", job.Name, string(job.UID)))
		}
	}
	spec := `{"spec":{"replicatedJobs":[{"name":"w","replicas":2,"template":{"spec":{"parallelism":2}}}]}}`
	w := newWorld(t, append(objects, customObject("jobset.x-k8s.io/v1alpha2", "JobSet", "set", "set-uid", spec))...)
	_, workload := w.resolved(t, podHint("llama-70b-1-job1"))
	var got []string
	for _, rank := range workload.Ranks {
		got = append(got, fmt.Sprintf("%d %s", rank.Index, rank.Pod))
	}
	want := []string{"0 llama-70b-0-job0", "1 llama-70b-1-job0", "2 llama-70b-0-job1", "3 llama-70b-1-job1"}
	if diff := cmp.Diff(want, got); diff != "" || workload.WantedRanks != 4 || strings.Join(workload.JobNames, " ") != "set-w-0 set-w-1" {
		t.Errorf("wanted %d, jobs %v, ranks (-want +got):\n%s", workload.WantedRanks, workload.JobNames, diff)
	}
}

func TestResolveWithoutRanks(t *testing.T) {
	deployment := customObject("apps/v1", "Deployment", "serve", "d", "")
	for name, test := range map[string]struct {
		hint      incident.Target
		objects   []runtime.Object
		found     bool
		supported bool
		target    incident.Target
		why       string
	}{
		"job without pods": {hint: jobTarget, objects: []runtime.Object{testJob(4), testNode(0)}, found: true, supported: true, target: jobTarget},
		"gone":             {hint: jobTarget, target: jobTarget, why: "knows no job training/llama-70b"},
		"pod gone, its job there": {hint: podHint("llama-70b-3-k2x9p"), objects: []runtime.Object{testJob(4)}, found: true, supported: true, target: jobTarget,
			why: "its name is that of a pod of job training/llama-70b"},
		"pod gone, no job": {hint: podHint("web-7f9c6d5b8-k2x9p"), target: podHint("web-7f9c6d5b8-k2x9p"), why: "nor a Job"},
		"node":             {hint: incident.Target{Cluster: "lab", Kind: "Node", Name: "gpu-00"}, objects: []runtime.Object{testNode(0)}, found: true, target: incident.Target{Cluster: "lab", Kind: "Node", Name: "gpu-00"}, why: "a node has no ranks"},
		"deployment": {hint: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Deployment", Name: "serve"}, objects: []runtime.Object{deployment}, found: true,
			target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Deployment", Name: "serve"}, why: "replicas of a Deployment"},
		"unknown kind without pods": {hint: incident.Target{Cluster: "lab", Namespace: "training", Kind: "TrainingRun", Name: "run"},
			objects: []runtime.Object{customObject("ml.example.com/v1", "TrainingRun", "run", "r", "")}, found: true,
			target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "TrainingRun", Name: "run"}, why: "no pods now"},
	} {
		t.Run(name, func(t *testing.T) {
			result, workload := newWorld(t, test.objects...).resolved(t, test.hint)
			if result.Found != test.found || result.Supported != test.supported || result.Target != test.target || len(workload.Ranks) != 0 {
				t.Errorf("got %+v", result)
			}
			contains(t, result.Why, test.why)
		})
	}
}

func TestResolveBarePod(t *testing.T) {
	pod := testPod(0, "")
	pod.OwnerReferences, pod.Annotations = nil, nil
	result, workload := newWorld(t, pod, testNode(0)).resolved(t, podHint(pod.Name))
	if !result.Supported || result.Target != podHint(pod.Name) || len(workload.Ranks) != 1 || workload.Ranks[0].Index != 0 || workload.WantedRanks != 1 {
		t.Errorf("got %+v, %+v", result, workload)
	}
}

func TestResolvePodWhoseOwnerMayNotBeRead(t *testing.T) {
	w := newWorld(t, gang(2)...)
	w.refuse("get", "jobs", "batch")
	result, _ := w.resolved(t, podHint("llama-70b-0-aaaaa"))
	if !result.Found || result.Supported || result.Target.Kind != "Pod" {
		t.Errorf("got %+v", result)
	}
	contains(t, result.Why, "cannot be found without its owner", `resources ["jobs"], verbs ["get"]`)
}

// TestResolvePodsWithoutIndex: a Job that is not indexed makes alike pods, of
// which those that failed are attempts that were replaced.
func TestResolvePodsWithoutIndex(t *testing.T) {
	bare := func(pod *corev1.Pod) { pod.Annotations = nil }
	job := testJob(2)
	job.Spec.CompletionMode = nil
	w := newWorld(t, job, testPod(0, "", bare, born(3*time.Hour), inPhase(corev1.PodFailed)), testPod(1, "", bare), testPod(2, "", bare))
	_, workload := w.resolved(t, jobTarget)
	if len(workload.Ranks) != 2 || workload.Ranks[0].Index != -1 || len(workload.Earlier) != 1 || workload.Earlier[0].Phase != "Failed" {
		t.Errorf("ranks %+v, earlier %+v", workload.Ranks, workload.Earlier)
	}
}

func TestResolveErrors(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		hint   incident.Target
		kind   incident.Kind
		text   string
	}{
		"pods may not be listed": {func(w *world) { w.refuse("list", "pods", "") }, jobTarget, incident.Forbidden, `apiGroups [""], resources ["pods"], verbs ["list"]`},
		"no answer for pods":     {func(w *world) { w.fail("list", "pods") }, jobTarget, incident.Unreachable, "listing pods of namespace training"},
		"no answer for the job":  {func(w *world) { w.fail("get", "jobs") }, jobTarget, incident.Unreachable, "reading job training/llama-70b in lab"},
		"no answer for nodes":    {func(w *world) { w.fail("get", "nodes") }, jobTarget, incident.Unreachable, "reading node gpu-0"},
		"no such kind":           {func(*world) {}, incident.Target{Cluster: "lab", Namespace: "training", Kind: "Gadget", Name: "x"}, incident.Missing, "CRD"},
		"store is away":          {func(w *world) { w.store.broken = fmt.Errorf("bucket is away") }, jobTarget, incident.Unreachable, "storing workload.json"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			test.change(w)
			_, err := w.ResolveTarget(t.Context(), steps.ResolveTargetParams{Hint: test.hint, Fabric: testFabric})
			if err == nil || incident.KindOf(err) != test.kind {
				t.Fatalf("got %v (%s), want %s", err, incident.KindOf(err), test.kind)
			}
			contains(t, err.Error(), test.text)
		})
	}
}

func TestResolveNodesThatMayNotBeRead(t *testing.T) {
	w := newWorld(t, gang(2)...)
	w.refuse("get", "nodes", "")
	result, workload := w.resolved(t, jobTarget)
	if len(workload.Nodes) != 2 || workload.Nodes[0].Unread == "" || len(workload.Ranks) != 2 {
		t.Errorf("nodes %+v", workload.Nodes)
	}
	contains(t, result.Why, "2 of 2 nodes could not be read", `resources ["nodes"]`)
}

func TestResolveThousandPods(t *testing.T) {
	const many = 1000
	var objects []runtime.Object
	job := testJob(many)
	for i := range many {
		objects = append(objects, testPod(i, ""), testNode(i))
	}
	for i := range 200 { // others' pods in the same namespace
		pod := testPod(i, "other")
		pod.OwnerReferences = nil
		objects = append(objects, pod)
	}
	w := newWorld(t, append(objects, job)...)
	pages := 0
	w.paginate(t, &pages)
	result, workload := w.resolved(t, podHint("llama-70b-999-aaaaa"))
	if len(workload.Ranks) != many || workload.Ranks[many-1].Index != many-1 || len(workload.Nodes) != many || !workload.Nodes[0].Ready {
		t.Fatalf("%d ranks on %d nodes", len(workload.Ranks), len(workload.Nodes))
	}
	if pages < 5 {
		t.Errorf("%d pages were asked for", pages)
	}
	if result.Summary.Ranks != many || result.Summary.GPUs != 4*many {
		t.Errorf("summary %+v", result.Summary)
	}
}

func TestPodsOf(t *testing.T) {
	w := newWorld(t, append(gang(2), testPod(7, "other", func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "llama-70b", UID: "of-a-job-before"}}
	}))...)
	for uid, want := range map[string]int{"": 2, "job-uid": 2, "another": 0} {
		pods, err := w.podsOf(t.Context(), jobTarget, uid)
		if err != nil || len(pods) != want {
			t.Errorf("uid %q: %d pods, %v, want %d", uid, len(pods), err, want)
		}
	}
}

func TestLookUpTellsWhatIsGone(t *testing.T) {
	_, _, err := newWorld(t).lookUp(t.Context(), jobTarget, testFabric)
	if incident.KindOf(err) != incident.Missing {
		t.Errorf("got %v", err)
	}
}
