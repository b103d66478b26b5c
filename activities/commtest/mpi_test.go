package commtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	discoveryfake "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

func mpiParams() steps.RunCommTestParams {
	p := params()
	p.Group.Nodes = []string{"gpu-04", "gpu-09"}
	p.Settings.Tool, p.Settings.NCCLTestsImage, p.Settings.GPUsPerNode = ToolNCCL, "lab/nccl-tests:1", 2
	p.Settings.ExpectedBusBWGBps = 230
	return p
}

// mpiWorld is a world in which MPIJobs are served, and an operator that makes
// a job's pods at once, as pods says.
func mpiWorld(t *testing.T, pods func() []*corev1.Pod) (*world, *dynamicfake.FakeDynamicClient) {
	w := newWorld(t)
	w.Discovery().(*discoveryfake.FakeDiscovery).Resources = []*metav1.APIResourceList{{
		GroupVersion: mpiJobs.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: mpiJobs.Resource, Kind: "MPIJob"}},
	}}
	objects := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{mpiJobs: "MPIJobList"})
	objects.PrependReactor("create", mpiJobs.Resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
		job := action.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		if _, err := objects.Tracker().Get(mpiJobs, job.GetNamespace(), job.GetName()); err == nil {
			return false, nil, nil
		}
		job.SetUID(types.UID("uid-of-" + job.GetName()))
		if pods != nil {
			for _, pod := range pods() {
				w.add(pod)
			}
		}
		return false, nil, nil
	})
	return w, objects
}

func mpiPod(p steps.RunCommTestParams, name, role, node string) *corev1.Pod {
	pod := podOf(p, 0)
	pod.Name, pod.Annotations, pod.Labels = p.Name+"-"+name, nil, map[string]string{nameLabel: p.Name, roleLabel: role}
	pod.Spec.NodeName, pod.Status.Phase = node, corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	return pod
}

// ended lets a pod's program end.
func ended(pod *corev1.Pod, code int32) *corev1.Pod {
	pod.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Now(), ExitCode: code},
	}
	return pod
}

func mpiPods(p steps.RunCommTestParams, code int32) []*corev1.Pod {
	return []*corev1.Pod{
		mpiPod(p, "worker-0", worker, "gpu-09"), mpiPod(p, "worker-1", worker, "gpu-04"), ended(mpiPod(p, "launcher-x1", launcher, "cpu-00"), code),
	}
}

func TestMPIJobRuns(t *testing.T) {
	for name, c := range map[string]struct {
		log    string
		code   int32
		want   incident.TestResult
		failed []string
	}{
		"healthy": {"v2.19.6", 0, incident.TestPass, nil},
		// worker-1 of the log stands on gpu-04 here.
		"a fault": {"failed-nccl", 3, incident.TestFail, []string{"gpu-04"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := mpiParams()
			w, objects := mpiWorld(t, func() []*corev1.Pod { return mpiPods(p, c.code) })
			w.logs["ct-1-launcher-x1"] = ncclText(t, c.log)
			kept := &store{}
			hands := &Hands{Kube: w, Dynamic: objects, Store: kept}
			for range 2 { // a second attempt joins
				result, err := hands.RunCommTest(context.Background(), p)
				if err != nil {
					t.Fatal(err)
				}
				got := result.Outcome
				if got.Result != c.want || got.Tool != ToolNCCL || !slices.Equal(got.FailedNodes, c.failed) {
					t.Errorf("got %s by %s, failed %v: %s", got.Result, got.Tool, got.FailedNodes, got.Why)
				}
				if diff := cmp.Diff([]string{"commtest/ct-1/launcher.log"}, got.Evidence); diff != "" {
					t.Errorf("evidence (-want +got):\n%s", diff)
				}
			}
			clean := steps.CleanCommTestParams{Incident: p.Incident, Namespace: p.Namespace, Names: []string{p.Name}}
			if removed, err := hands.CleanCommTest(context.Background(), clean); err != nil || removed.Removed != 1 {
				t.Errorf("removed %d, error %v", removed.Removed, err)
			}
		})
	}
}

func TestMPIJobThatIsNoTest(t *testing.T) {
	p := mpiParams()
	p.Settings.StartDeadline, p.Settings.Deadline = 3*time.Second, 3*time.Second
	waiting := func(pod *corev1.Pod) *corev1.Pod {
		pod.Status.Phase, pod.Status.ContainerStatuses = corev1.PodPending, nil
		return pod
	}
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		want string
	}{
		"no operator":      {nil, "2 of 2 pods did not start within 3s: no pod was created for rank 0"},
		"no launcher":      {mpiPods(p, 0)[:2], "the launcher was not created"},
		"launcher waits":   {[]*corev1.Pod{mpiPods(p, 0)[0], mpiPods(p, 0)[1], waiting(mpiPod(p, "launcher-x1", launcher, ""))}, "the launcher: pod ct-1-launcher-x1"},
		"a worker is gone": {[]*corev1.Pod{mpiPods(p, 0)[0], ended(mpiPod(p, "worker-1", worker, "gpu-04"), 255), mpiPod(p, "launcher-x1", launcher, "cpu-00")}, "a worker ended before its launcher: pod ct-1-worker-1 on node gpu-04: exit code 255"},
		"another node":     {[]*corev1.Pod{mpiPods(p, 0)[0], mpiPod(p, "worker-1", worker, "gpu-05"), mpiPods(p, 0)[2]}, "landed on node gpu-05, which is not in the group"},
		"silent":           {[]*corev1.Pod{mpiPods(p, 0)[0], mpiPods(p, 0)[1], mpiPod(p, "launcher-x1", launcher, "cpu-00")}, "still running at its deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, objects := mpiWorld(t, func() []*corev1.Pod { return c.pods })
			w.logs["ct-1-launcher-x1"] = ""
			result, err := (&Hands{Kube: w, Dynamic: objects, Store: &store{}}).RunCommTest(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			if result.Outcome.Result != incident.TestError || len(result.Outcome.FailedNodes) > 0 {
				t.Errorf("got %s, failed %v", result.Outcome.Result, result.Outcome.FailedNodes)
			}
			contains(t, result.Outcome.Why, c.want)
		})
	}
}

func TestChooseTool(t *testing.T) {
	two, one := incident.Group{Nodes: []string{"a", "b"}}, incident.Group{Nodes: []string{"a"}}
	both := incident.CommTestSettings{Image: "torch", NCCLTestsImage: "nccl"}
	with := func(tool string) incident.CommTestSettings { s := both; s.Tool = tool; return s }
	for name, c := range map[string]struct {
		group    incident.Group
		settings incident.CommTestSettings
		served   bool
		want     machine
		kind     incident.Kind
	}{
		"by default":            {two, with(""), true, jobMachine{}, ""},
		"torch":                 {two, with(ToolTorch), true, jobMachine{}, ""},
		"auto":                  {two, with(toolAuto), true, mpiMachine{}, ""},
		"auto without operator": {two, with(toolAuto), false, jobMachine{}, ""},
		"auto without image":    {two, incident.CommTestSettings{Image: "torch", Tool: toolAuto}, true, jobMachine{}, ""},
		"one node":              {one, with(ToolNCCL), true, jobMachine{}, ""},
		"one node, no script":   {one, incident.CommTestSettings{NCCLTestsImage: "nccl", Tool: ToolNCCL}, true, mpiMachine{}, ""},
		"no operator":           {two, with(ToolNCCL), false, nil, incident.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			w, objects := mpiWorld(t, nil)
			if !c.served {
				w.Discovery().(*discoveryfake.FakeDiscovery).Resources = nil
			}
			got, err := (&Hands{Kube: w, Dynamic: objects}).choose(context.Background(), c.group, c.settings)
			if got != c.want || (c.kind == "") != (err == nil) || (err != nil && incident.KindOf(err) != c.kind) {
				t.Errorf("got %T, error %v; want %T, kind %q", got, err, c.want, c.kind)
			}
		})
	}
	w, objects := mpiWorld(t, nil)
	w.PrependReactor("get", "resource", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("later")
	})
	if _, err := (&Hands{Kube: w, Dynamic: objects}).choose(context.Background(), two, with(toolAuto)); !incident.KindOf(err).Retryable() {
		t.Errorf("got %v; not to be told is no reason to take the other tool", err)
	}
}

// TestMPIJobManifest: the fields of the operator's API that the test rests on.
func TestMPIJobManifest(t *testing.T) {
	p := mpiParams()
	p.Settings.Env = map[string]string{"NCCL_IB_HCA": "mlx5", "NCCL_TESTS_DIR": "/opt/nccl-tests/build"}
	p.Settings.Networks = []string{"fabric/rail-0"}
	object, err := mpiJobFor(p, "")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var job mpiJob
	if err := json.Unmarshal(data, &job); err != nil {
		t.Fatal(err)
	}
	w, l := job.Spec.ReplicaSpecs["Worker"], job.Spec.ReplicaSpecs["Launcher"]
	if w.Replicas != 2 || l.Replicas != 1 || job.Spec.SlotsPerWorker != 2 || job.Spec.RunPolicy.BackoffLimit != 0 {
		t.Errorf("%d workers with %d slots, %d launchers, %d retries", w.Replicas, job.Spec.SlotsPerWorker, l.Replicas, job.Spec.RunPolicy.BackoffLimit)
	}
	if job.Spec.RunPolicy.ActiveDeadlineSeconds <= 0 || job.Spec.RunPolicy.TTLSecondsAfterFinished <= 0 {
		t.Error("the operator would keep the job for ever")
	}
	gpus := w.Template.Spec.Containers[0].Resources.Limits[gpuName]
	if gpus.Value() != 2 || len(l.Template.Spec.Containers[0].Resources.Limits) > 0 {
		t.Errorf("a worker asks for %d GPUs, the launcher for %v", gpus.Value(), l.Template.Spec.Containers[0].Resources.Limits)
	}
	anti := w.Template.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector.MatchLabels
	for name, value := range anti {
		if w.Template.Labels[name] != value || (name == roleLabel) == (l.Template.Labels[name] == value) {
			t.Errorf("the workers keep apart by %s=%s, which they do not carry, or the launcher does", name, value)
		}
	}
	if w.Template.Labels["app"] != "llama" || w.Template.Annotations[networksAnnotation] != "fabric/rail-0" {
		t.Errorf("labels %v, annotations %v", w.Template.Labels, w.Template.Annotations)
	}
	env := map[string]string{}
	for _, v := range l.Template.Spec.Containers[0].Env {
		env[v.Name] = v.Value
	}
	for name, want := range map[string]string{
		"COMMTEST_PASS": "NCCL_DEBUG NCCL_IB_HCA NCCL_TESTS_DIR", "COMMTEST_OPS": "all_reduce all_gather sendrecv", "COMMTEST_PROCESSES": "4",
		"COMMTEST_FLAGS": "-b 1048576 -e 16777216 -f 4 -g 1 -c 1 -n 10 -w 2", "NCCL_DEBUG": "INFO",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
}

// TestLaunchScript runs launch.sh with an mpirun that stands in: it prints a
// program's log, and its arguments.
func TestLaunchScript(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh on this machine")
	}
	dir := t.TempDir()
	arguments := filepath.Join(dir, "arguments")
	for name, c := range map[string]struct {
		fails string
		code  int
		want  incident.TestResult
	}{"healthy": {"", 0, incident.TestPass}, "the second fails": {"all_gather", 5, incident.TestFail}} {
		t.Run(name, func(t *testing.T) {
			stand := fmt.Sprintf(`#!/bin/sh
echo "$@" >> %[1]s
for word; do case "$word" in */*_perf_mpi) op=${word##*/}; op=${op%%_perf_mpi};; esac; done
sed -n "/^# gpumedic begin $op$/,/^# gpumedic end/p" %[2]s | grep -v '^# gpumedic'
if [ "$op" = "%[3]s" ]; then echo "boom"; exit 5; fi
`, arguments, mustAbs(t, filepath.Join("testdata", "nccl-tests", "v2.19.6.log")), c.fails)
			if err := os.WriteFile(filepath.Join(dir, "mpirun"), []byte(stand), 0o755); err != nil {
				t.Fatal(err)
			}
			p := mpiParams()
			p.Settings.Env = map[string]string{"NCCL_TESTS_DIR": "/opt/nccl-tests/build", "NCCL_TESTS_SUFFIX": "_mpi"}
			cmd := exec.Command(shell, "-c", launch)
			cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "LD_LIBRARY_PATH=/usr/local/cuda/lib64"}
			for _, v := range launcherEnvironment(p) {
				cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
			}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != c.code {
				t.Fatalf("%v\n%s", err, out)
			}
			got := judgeNCCL(readNCCLText(t, string(out), c.code), ncclWanted())
			if got.Result != c.want {
				t.Errorf("got %s: %s\n%s", got.Result, got.Why, out)
			}
		})
	}
	said, err := os.ReadFile(arguments)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(said), "-np 4 -N 2 --bind-to none --timeout ")
	contains(t, string(said), "-x NCCL_DEBUG -x NCCL_TESTS_DIR -x NCCL_TESTS_SUFFIX -x LD_LIBRARY_PATH /opt/nccl-tests/build/all_reduce_perf_mpi -b 1048576 -e 16777216")
	if strings.Count(string(said), "\n") != 5 {
		t.Errorf("mpirun was called so:\n%s", said)
	}
}
