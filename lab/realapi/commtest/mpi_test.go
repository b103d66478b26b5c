package commtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gpumedic/activities/commtest"
	"gpumedic/incident"
	"gpumedic/lab/kubelet"
	"gpumedic/steps"
)

var mpiJobs = schema.GroupVersionResource{Group: "kubeflow.org", Version: "v2beta1", Resource: "mpijobs"}

const ncclImage = "lab.gpumedic.io/nccl-tests:1"

// ncclTests plays the containers of the nccl-tests image and leaves the others
// to the model. The workers' sshd waits; the launcher prints a log in the
// format of nccl-tests 2.19 with the figures below, and says that it is
// simulated. No mpirun and no NCCL run here.
type ncclTests struct{ others kubelet.Runner }

func (r ncclTests) Run(ctx context.Context, c kubelet.Container) kubelet.Exit {
	if c.Spec.Image != ncclImage {
		return r.others.Run(ctx, c)
	}
	if len(c.Spec.Command) == 0 { // a worker
		<-ctx.Done()
		return kubelet.Exit{Code: 143}
	}
	env := map[string]string{}
	for _, v := range c.Spec.Env {
		env[v.Name] = v.Value
	}
	for line := range strings.SplitSeq(launcherLog(strings.TrimSuffix(c.Pod.Annotations["lab/job"], "\n"), env), "\n") {
		fmt.Fprintln(c.Out, line)
	}
	return kubelet.Exit{}
}

// launcherLog is a healthy run of two GPUs on each of the workers.
func launcherLog(job string, env map[string]string) string {
	var out strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	say("# simulated by gpumedic's lab: no GPU took part")
	var processes, per int
	fmt.Sscan(env["COMMTEST_PROCESSES"]+" "+env["COMMTEST_PER_NODE"], &processes, &per)
	for op := range strings.FieldsSeq(env["COMMTEST_OPS"]) {
		say("# gpumedic begin %s", op)
		for rank := range processes {
			say("#  Rank %2d Group  0 Pid %6d on %s-worker-%d device %2d [0000:0f:00] NVIDIA H100 80GB HBM3", rank, 41+rank, job, rank/per, rank%per)
		}
		say("%s-worker-0:41:60 [0] NCCL INFO comm 0x1 rank 0 nRanks %d nNodes %d localRanks %d localRank 0 MNNVL 0", job, processes, processes/per, per)
		say("%s-worker-0:41:60 [0] NCCL INFO Channel 00/0 : 0[0] -> 2[0] [send] via NET/IB/0/GDRDMA", job)
		say("#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong")
		for size := 1 << 20; size <= 1<<30; size *= 4 {
			say("%12d %13d     float     sum      -1   100.00  200.00  350.00       0   100.00  200.00  350.00       0", size, size/4)
		}
		say("# Out of bounds values : 0 OK")
		say("# Avg bus bandwidth    : 350 ")
		say("# gpumedic end %s 0", op)
	}
	say("# gpumedic done")
	return out.String()
}

// startOperator stands in for the Kubeflow MPI operator, which is not part of
// the lab: for every MPIJob it makes the workers and, once they run, the
// launcher, under the names that the real one gives. It does no ssh keys, no
// hostfile and no conditions. stop ends it and waits.
func startOperator(ctx context.Context) (stop func(), err error) {
	jobs, err := adminObjects.Resource(mpiJobs).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	for tries := 0; err != nil && tries < 50; tries++ { // the CRD has just been made
		time.Sleep(100 * time.Millisecond)
		jobs, err = adminObjects.Resource(mpiJobs).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for event := range jobs.ResultChan() {
			if job, ok := event.Object.(*unstructured.Unstructured); ok && event.Type == "ADDED" {
				running.Go(func() {
					if err := makePods(ctx, job); err != nil && ctx.Err() == nil {
						fmt.Fprintf(os.Stderr, "operator's stand-in: %s: %v\n", job.GetName(), err)
					}
				})
			}
		}
	})
	return func() { jobs.Stop(); cancel(); running.Wait() }, nil
}

func makePods(ctx context.Context, job *unstructured.Unstructured) error {
	count, _, err := unstructured.NestedInt64(job.Object, "spec", "mpiReplicaSpecs", "Worker", "replicas")
	if err != nil {
		return err
	}
	for index := range count {
		if err := makePod(ctx, job, "Worker", fmt.Sprintf("%s-worker-%d", job.GetName(), index)); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		pods, err := admin.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: commtest.TestLabel + "=true"})
		if err != nil {
			return err
		}
		up := 0
		for _, pod := range pods.Items {
			if strings.HasPrefix(pod.Name, job.GetName()+"-worker-") && pod.Status.Phase == corev1.PodRunning {
				up++
			}
		}
		if up == int(count) {
			return makePod(ctx, job, "Launcher", job.GetName()+"-launcher-abcde")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ctx.Err()
}

func makePod(ctx context.Context, job *unstructured.Unstructured, role, name string) error {
	raw, _, err := unstructured.NestedMap(job.Object, "spec", "mpiReplicaSpecs", role, "template")
	if err != nil {
		return err
	}
	data, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	var pod corev1.Pod
	if err := json.Unmarshal(data, &pod); err != nil {
		return err
	}
	pod.Name, pod.Namespace = name, namespace
	pod.Annotations = map[string]string{"lab/job": job.GetName()}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(job, mpiJobs.GroupVersion().WithKind("MPIJob"))}
	_, err = admin.CoreV1().Pods(namespace).Create(ctx, &pod, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// TestNCCLTestsThroughAnMPIJob: created, watched, read and removed under the
// deployed roles; scheduled by the real scheduler; every field that we write
// survives the API server.
func TestNCCLTestsThroughAnMPIJob(t *testing.T) {
	p := group("ct-mpi", "gpu-02", "gpu-07", "gpu-11")
	p.Settings.Tool, p.Settings.NCCLTestsImage, p.Settings.GPUsPerNode = "auto", ncclImage, 2
	result, kept := run(t, p)
	outcome := result.Outcome
	if outcome.Result != incident.TestPass || outcome.Tool != commtest.ToolNCCL || outcome.Transport != "IB" || !outcome.Simulated || outcome.BusBWGBps != 350 {
		t.Errorf("got %s by %s over %q, %v GB/s, simulated %v: %s", outcome.Result, outcome.Tool, outcome.Transport, outcome.BusBWGBps, outcome.Simulated, outcome.Why)
	}
	if !strings.Contains(outcome.Proved, "simulated") {
		t.Errorf("a simulated pass proves %q", outcome.Proved)
	}
	if len(kept.files) != 2 || result.Index.Name != "commtest/ct-mpi/index.json" {
		t.Errorf("kept %d files, index %q", len(kept.files), result.Index.Name)
	}
	workers := "gpumedic.io/comm-test-name=ct-mpi,gpumedic.io/comm-test-role=worker"
	if diff := cmp.Diff(p.Group.Nodes, placesOf(t, workers)); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	job, err := adminObjects.Resource(mpiJobs).Namespace(namespace).Get(context.Background(), "ct-mpi", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := job.Object["spec"].(map[string]any)
	policy := spec["runPolicy"].(map[string]any)
	if spec["slotsPerWorker"] != int64(2) || spec["launcherCreationPolicy"] != "WaitForWorkersReady" || policy["cleanPodPolicy"] != "None" || policy["backoffLimit"] != int64(0) {
		t.Errorf("spec %v", spec)
	}
}

// TestGroupsOfARoundRunAtTheSameTime: by both tools, under names of their own.
func TestGroupsOfARoundRunAtTheSameTime(t *testing.T) {
	started := time.Now()
	groups := []steps.RunCommTestParams{group("ct-side-0", "gpu-00", "gpu-08"), group("ct-side-1", "gpu-01", "gpu-09"), group("ct-side-2", "gpu-03", "gpu-10")}
	groups[2].Settings.Tool, groups[2].Settings.NCCLTestsImage, groups[2].Settings.GPUsPerNode = "nccl-tests", ncclImage, 2
	outcomes := make([]incident.Outcome, len(groups))
	var running sync.WaitGroup
	for i, p := range groups {
		t.Cleanup(func() { clean(t, p) })
		running.Go(func() {
			result, err := (&commtest.Hands{Kube: worker, Dynamic: workerObjects, Store: &memory{}}).RunCommTest(context.Background(), p)
			if err != nil {
				t.Error(err)
			}
			outcomes[i] = result.Outcome
		})
	}
	running.Wait()
	var last time.Time
	for _, outcome := range outcomes {
		if outcome.Result != incident.TestPass {
			t.Errorf("got %s: %s", outcome.Result, outcome.Why)
		}
		if outcome.StartedAt.After(last) {
			last = outcome.StartedAt
		}
	}
	for _, outcome := range outcomes {
		if outcome.EndedAt.Before(last) {
			t.Errorf("a group ended at %s, before another began at %s", outcome.EndedAt, last)
		}
	}
	t.Logf("three groups took %s", time.Since(started))
}

// TestTheAPIServerTakesAnEFAPod: huge pages and Multus networks are accepted;
// what is missing is the device, which the lab's nodes do not offer.
func TestTheAPIServerTakesAnEFAPod(t *testing.T) {
	p := group("ct-efa", "gpu-03", "gpu-04")
	p.Settings.Fabric, p.Settings.Networks, p.Settings.SharedMemory = "efa", []string{"fabric/rail-0"}, "16Gi"
	p.Settings.Resources = map[string]string{"vpc.amazonaws.com/efa": "32"}
	p.Settings.StartDeadline = 3 * time.Second
	result, _ := run(t, p)
	if result.Outcome.Result != incident.TestError || !strings.Contains(result.Outcome.Why, "Insufficient") || !strings.Contains(result.Outcome.Why, "vpc.amazonaws.com/efa") {
		t.Errorf("got %s: %s", result.Outcome.Result, result.Outcome.Why)
	}
}

// TestTestRoom: what the real API server selects and adds up, under the deployed roles.
func TestTestRoom(t *testing.T) {
	holds := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "holder", Namespace: namespace},
		Spec: corev1.PodSpec{NodeName: "gpu-06", TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{
			Name: "c", Image: "lab.gpumedic.io/idle:1",
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("6")}},
		}}},
	}
	created, err := admin.CoreV1().Pods(namespace).Create(context.Background(), holds, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin.CoreV1().Pods(namespace).Delete(context.Background(), "holder", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for name, c := range map[string]struct {
		owner       string
		room, freed incident.State
		short       []steps.NodeRoom
	}{
		"of others":       {"", incident.No, incident.No, []steps.NodeRoom{{Node: "gpu-06", Wanted: 4, Free: 2, ByOthers: 6}}},
		"of the workload": {string(created.UID), incident.No, incident.Yes, []steps.NodeRoom{{Node: "gpu-06", Wanted: 4, Free: 2, ByTarget: 6}}},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &memory{}
			data, err := json.Marshal(incident.Workload{Ranks: []incident.Rank{{UID: c.owner}}})
			if err != nil {
				t.Fatal(err)
			}
			ref, err := kept.Put(context.Background(), "workload.json", strings.NewReader(string(data)))
			if err != nil {
				t.Fatal(err)
			}
			p := group("ct-room-2", "gpu-05", "gpu-06")
			got, err := (&commtest.Hands{Kube: worker, Store: kept}).CheckTestRoom(context.Background(), steps.CheckTestRoomParams{
				Incident: p.Incident, Namespace: namespace, Nodes: p.Group.Nodes, Settings: p.Settings, Workload: ref,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Room != c.room || got.Freed != c.freed {
				t.Errorf("room %s, freed %s: %s", got.Room, got.Freed, got.Why)
			}
			if diff := cmp.Diff(c.short, got.Short); diff != "" {
				t.Errorf("short (-want +got):\n%s\n%s", diff, got.Why)
			}
		})
	}
}
