package commtest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

func runIn(t *testing.T, w *world, p steps.RunCommTestParams) (incident.Outcome, *store, error) {
	t.Helper()
	kept := &store{}
	hands := &Hands{Kube: w, Store: kept}
	result, err := hands.RunCommTest(context.Background(), p)
	return result.Outcome, kept, err
}

func TestRunPasses(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod, w.logs = func(rank int) *corev1.Pod { return endedPod(p, rank, 0) }, logsOf(p)
	w.logs["ct-1-1-x1"] += "token=abcdefghijklmnop123\n"
	outcome, kept, err := runIn(t, w, p)
	if err != nil {
		t.Fatal(err)
	}
	if outcome.Result != incident.TestPass || outcome.Transport != "IB" || outcome.BusBWGBps != 300 {
		t.Errorf("outcome %+v", outcome)
	}
	want := []string{"commtest/ct-1/rank-000.log", "commtest/ct-1/rank-001.log", "commtest/ct-1/rank-002.log"}
	if diff := cmp.Diff(want, outcome.Evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if strings.Contains(kept.files[want[1]], "abcdefghijklmnop123") {
		t.Error("a secret was stored")
	}
	var index []incident.IndexEntry
	if err := json.Unmarshal([]byte(kept.files["commtest/ct-1/index.json"]), &index); err != nil || len(index) != 3 || index[2].Rank != 2 {
		t.Errorf("index %+v, error %v", index, err)
	}
}

func TestRunCreatesWhatTheClusterCleansUp(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod, w.logs = func(rank int) *corev1.Pod { return endedPod(p, rank, 0) }, logsOf(p)
	if _, _, err := runIn(t, w, p); err != nil {
		t.Fatal(err)
	}
	ctx, options := context.Background(), metav1.GetOptions{}
	job, err := w.BatchV1().Jobs(p.Namespace).Get(ctx, p.Name, options)
	if err != nil {
		t.Fatal(err)
	}
	service, err := w.CoreV1().Services(p.Namespace).Get(ctx, p.Name, options)
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := w.CoreV1().ConfigMaps(p.Namespace).Get(ctx, p.Name, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []metav1.Object{service, scripts} {
		if owners := object.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != job.UID || owners[0].Kind != "Job" {
			t.Errorf("%T is owned by %+v, want the Job", object, owners)
		}
	}
	if !service.Spec.PublishNotReadyAddresses || service.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("service %+v", service.Spec)
	}
	if job.Spec.TTLSecondsAfterFinished == nil || job.Spec.ActiveDeadlineSeconds == nil {
		t.Error("the cluster would keep the Job for ever")
	}
}

func TestJobManifest(t *testing.T) {
	p := params()
	p.Settings.Env = map[string]string{"NCCL_DEBUG": "WARN", "RANK": "7", "NCCL_IB_HCA": "mlx5"}
	job := jobFor(p, "")
	pod := job.Spec.Template
	var affinity []string
	for _, term := range pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		affinity = append(affinity, term.MatchFields[0].Values...)
	}
	if diff := cmp.Diff(p.Group.Nodes, affinity); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	wantLabels := map[string]string{"app": "llama", TestLabel: "true", steps.OwnerLabel: steps.OwnerValue(p.Incident)}
	if diff := cmp.Diff(wantLabels, pod.Labels); diff != "" {
		t.Errorf("pod labels (-want +got):\n%s", diff)
	}
	env := map[string]string{}
	for _, v := range pod.Spec.Containers[0].Env {
		if _, twice := env[v.Name]; twice {
			t.Errorf("%s is set twice", v.Name)
		}
		env[v.Name] = v.Value
	}
	for name, want := range map[string]string{
		"NCCL_DEBUG": "WARN", "NCCL_IB_HCA": "mlx5", "RANK": "", "NNODES": "3", "NPROC_PER_NODE": "4",
		"MASTER_ADDR": "ct-1-0.ct-1.training", "COMMTEST_SIZES": "1048576,4194304,16777216",
	} {
		if got, set := env[name]; !set || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []corev1.ResourceName{gpuName, "rdma/hca_shared_devices_a"} {
		if quantity := pod.Spec.Containers[0].Resources.Limits[name]; quantity.IsZero() {
			t.Errorf("no %s is requested", name)
		}
	}
}

func TestSecurityFollowsTheNamespace(t *testing.T) {
	p := params()
	for level, want := range map[testpods.Level]struct{ lock, nobody bool }{
		"": {lock: true}, "privileged": {lock: true}, testpods.Baseline: {}, testpods.Restricted: {nobody: true},
	} {
		pod := jobFor(p, level).Spec.Template.Spec
		if got := len(pod.Containers[0].SecurityContext.Capabilities.Add) == 1; got != want.lock {
			t.Errorf("level %q: IPC_LOCK %v, want %v", level, got, want.lock)
		}
		if got := pod.SecurityContext.RunAsNonRoot != nil; got != want.nobody {
			t.Errorf("level %q: non-root %v, want %v", level, got, want.nobody)
		}
	}
	w := newWorld(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "training", Labels: map[string]string{testpods.EnforceLabel: "restricted"}}})
	if got := testpods.LevelOf(context.Background(), w, (&Hands{}).log(), "training"); got != testpods.Restricted {
		t.Errorf("level %q, want restricted", got)
	}
}

func TestRunThatIsNoTest(t *testing.T) {
	base := params()
	// Every case but "silent" ends either by what it sees or at the start deadline; both leave a busy machine time to look once.
	base.Settings.StartDeadline, base.Settings.Deadline = 3*time.Second, 3*time.Second
	for name, c := range map[string]struct {
		pod  func(rank int) *corev1.Pod
		more []runtime.Object
		want string
	}{
		"unschedulable": {func(rank int) *corev1.Pod {
			if rank != 1 {
				return runningPod(base, rank)
			}
			pod := podOf(base, rank)
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/16 nodes are available: 1 Insufficient nvidia.com/gpu"}}
			return pod
		}, nil, "1 of 3 pods did not start within 3s: pod ct-1-1-x1 is not scheduled: Unschedulable: 0/16 nodes are available: 1 Insufficient nvidia.com/gpu"},
		"image not pulled": {func(rank int) *corev1.Pod {
			return waitingPod(base, rank, "ImagePullBackOff", "Back-off pulling image")
		},
			nil, "3 of 3 pods did not start within 3s: pod ct-1-0-x0 on node gpu-00 waits: ImagePullBackOff"},
		"image has no valid name": {func(rank int) *corev1.Pod { return waitingPod(base, rank, "InvalidImageName", "cannot parse") },
			nil, "cannot start: InvalidImageName: cannot parse"},
		"no pods": {nil, []runtime.Object{&corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "training"},
			InvolvedObject: corev1.ObjectReference{Kind: "Job", Name: "ct-1"}, Type: "Warning", Reason: "FailedCreate", Message: `pods "ct-1" is forbidden: exceeded quota`,
		}}, "no pod was created for rank 0; last event: FailedCreate: pods \"ct-1\" is forbidden: exceeded quota"},
		"wrong node": {func(rank int) *corev1.Pod {
			pod := runningPod(base, rank)
			pod.Spec.NodeName = "gpu-1" + pod.Spec.NodeName[5:]
			return pod
		}, nil, "which is not in the group"},
		"two on one node": {func(rank int) *corev1.Pod {
			pod := runningPod(base, rank)
			pod.Spec.NodeName = "gpu-01"
			return pod
		}, nil, "both landed on node gpu-01"},
		"evicted before the start": {func(rank int) *corev1.Pod {
			pod := podOf(base, rank)
			pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "Evicted"
			return pod
		}, nil, "ended before its program started: Evicted"},
		"silent until the deadline": {func(rank int) *corev1.Pod { return runningPod(base, rank) }, nil, "still running at its deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.more...)
			w.pod = c.pod
			for rank := range 3 {
				w.logs[podOf(base, rank).Name] = ""
			}
			outcome, _, err := runIn(t, w, base)
			if err != nil {
				t.Fatal(err)
			}
			if outcome.Result != incident.TestError || len(outcome.FailedNodes) > 0 {
				t.Errorf("got %s, failed %v; a test that could not be run says nothing", outcome.Result, outcome.FailedNodes)
			}
			contains(t, outcome.Why, c.want)
		})
	}
}

func waitingPod(p steps.RunCommTestParams, rank int, reason, message string) *corev1.Pod {
	pod := podOf(p, rank)
	pod.Spec.NodeName = p.Group.Nodes[rank]
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: container, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}
	return pod
}

// TestRunFollowsThePods: pods are scheduled, run, and end while we watch; the
// watch is closed by the server in between.
func TestRunFollowsThePods(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod, w.logs = func(rank int) *corev1.Pod { return podOf(p, rank) }, logsOf(p)
	w.logs["ct-1-2-x2"] = strings.Split(w.logs["ct-1-2-x2"], "\n")[0] + "\n" +
		stamp + `{"event":"error","rank":2,"phase":"rendezvous","missing":[0],"detail":"timed out"}` + "\n"
	w.logs["ct-1-0-x0"] = strings.Split(w.logs["ct-1-0-x0"], "\n")[0] + "\n" +
		stamp + `{"event":"error","rank":0,"phase":"rendezvous","missing":[2],"detail":"waited"}` + "\n"
	done := make(chan struct{})
	go func() {
		defer close(done)
		for rank := range 3 {
			time.Sleep(30 * time.Millisecond)
			w.update(runningPod(p, rank))
		}
		for rank, code := range []int{1, 1, 1} {
			time.Sleep(30 * time.Millisecond)
			w.update(endedPod(p, rank, code))
		}
	}()
	outcome, _, err := runIn(t, w, p)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if outcome.Result != incident.TestFail {
		t.Errorf("got %s: %s", outcome.Result, outcome.Why)
	}
	if diff := cmp.Diff([]string{"gpu-02"}, outcome.FailedNodes); diff != "" {
		t.Errorf("failed nodes (-want +got):\n%s", diff)
	}
}

func TestRunResumesAnExpiredWatch(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod, w.logs = func(rank int) *corev1.Pod { return runningPod(p, rank) }, logsOf(p)
	expired := make(chan struct{})
	first := true
	w.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		if !first {
			return false, nil, nil
		}
		first = false
		defer close(expired)
		closing := watch.NewFake()
		go func() { // the API server ends a watch whose version is too old
			closing.Error(&metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
			closing.Stop()
		}()
		return true, closing, nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-expired
		for rank := range 3 {
			w.update(endedPod(p, rank, 0))
		}
	}()
	outcome, _, err := runIn(t, w, p)
	<-done
	if err != nil || outcome.Result != incident.TestPass {
		t.Errorf("got %s: %s, error %v", outcome.Result, outcome.Why, err)
	}
}

func TestRunJoinsAnEarlierAttempt(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod, w.logs = func(rank int) *corev1.Pod { return endedPod(p, rank, 0) }, logsOf(p)
	if _, _, err := runIn(t, w, p); err != nil {
		t.Fatal(err)
	}
	outcome, _, err := runIn(t, w, p)
	if err != nil || outcome.Result != incident.TestPass {
		t.Fatalf("second attempt: %s: %s, error %v", outcome.Result, outcome.Why, err)
	}
	jobs, err := w.BatchV1().Jobs(p.Namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 1 {
		t.Errorf("%d jobs after two attempts, error %v", len(jobs.Items), err)
	}
}

func TestRunRepairsAHalfCreatedTest(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod, w.logs = func(rank int) *corev1.Pod { return endedPod(p, rank, 0) }, logsOf(p)
	if _, err := w.BatchV1().Jobs(p.Namespace).Create(context.Background(), jobFor(p, ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runIn(t, w, p); err != nil {
		t.Fatal(err)
	}
	if _, err := w.CoreV1().Services(p.Namespace).Get(context.Background(), p.Name, metav1.GetOptions{}); err != nil {
		t.Errorf("the service of a half created test: %v", err)
	}
}

func TestRunMeetsObjectsInItsWay(t *testing.T) {
	p := params()
	other := p
	other.Incident = "incident/lab/training/job/other"
	elsewhere := p
	elsewhere.Group.Nodes = []string{"gpu-05", "gpu-06", "gpu-07"}
	stale := serviceFor(p, jobFor(p, ""))
	stale.OwnerReferences[0].UID = "an earlier job"
	for name, c := range map[string]struct {
		object runtime.Object
		want   incident.Kind
		retry  bool
	}{
		"a job of somebody else":        {&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "ct-1", Namespace: "training"}}, incident.Conflict, false},
		"a job of another incident":     {jobFor(other, ""), incident.Conflict, false},
		"our job over other nodes":      {jobFor(elsewhere, ""), incident.Conflict, false},
		"a config map of somebody else": {&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ct-1", Namespace: "training"}}, incident.Conflict, false},
		"a service of somebody else":    {&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "ct-1", Namespace: "training"}}, incident.Conflict, false},
		"our service of an earlier job": {stale, incident.Unreachable, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.object)
			w.pod, w.logs = func(rank int) *corev1.Pod { return endedPod(p, rank, 0) }, logsOf(p)
			_, _, err := runIn(t, w, p)
			if got := incident.KindOf(err); err == nil || got != c.want {
				t.Fatalf("got %v of kind %q, want kind %q", err, got, c.want)
			}
			if c.retry {
				if _, _, err := runIn(t, w, p); err != nil {
					t.Errorf("the next attempt: %v", err)
				}
			}
		})
	}
}

func TestRunRefusesBadParams(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *steps.RunCommTestParams)
		want   string
	}{
		"no nodes":     {func(p *steps.RunCommTestParams) { p.Group.Nodes = nil }, "has 0 nodes"},
		"node twice":   {func(p *steps.RunCommTestParams) { p.Group.Nodes[1] = "gpu-00" }, `names node "gpu-00" twice`},
		"bad name":     {func(p *steps.RunCommTestParams) { p.Name = "CT_1" }, `name "CT_1"`},
		"long name":    {func(p *steps.RunCommTestParams) { p.Name = strings.Repeat("x", 62) }, "too long"},
		"no image":     {func(p *steps.RunCommTestParams) { p.Settings.Image = "" }, "comm_test.image is empty"},
		"no deadline":  {func(p *steps.RunCommTestParams) { p.Settings.Deadline = 0 }, "must be positive"},
		"bad quantity": {func(p *steps.RunCommTestParams) { p.Settings.Resources = map[string]string{"rdma/x": "many"} }, "comm_test.resources[rdma/x]"},
		"tiny sweep":   {func(p *steps.RunCommTestParams) { p.Settings.MaxBytes = 5 }, "comm_test.max_bytes is 5"},
	} {
		t.Run(name, func(t *testing.T) {
			p := params()
			c.change(&p)
			_, _, err := runIn(t, newWorld(t), p)
			if incident.KindOf(err) != incident.Invalid {
				t.Fatalf("got %v, want a fault of kind invalid", err)
			}
			contains(t, err.Error(), c.want)
		})
	}
}

func TestRunWhenTheClusterCannotBeAsked(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	pods := schema.GroupResource{Resource: "pods"}
	for name, c := range map[string]struct {
		verb, resource string
		err            error
		want           incident.Kind
	}{
		"create forbidden": {"create", "jobs", apierrors.NewForbidden(jobs, "ct-1", errors.New("no")), incident.Forbidden},
		"create refused":   {"create", "jobs", apierrors.NewServiceUnavailable("later"), incident.Unreachable},
		"no connection":    {"create", "configmaps", errors.New("dial tcp: connection refused"), incident.Unreachable},
		"watch forbidden":  {"list", "pods", apierrors.NewForbidden(pods, "", errors.New("no")), incident.Forbidden},
		"list unavailable": {"list", "pods", apierrors.NewServiceUnavailable("later"), incident.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := params()
			p.Settings.StartDeadline, p.Settings.Deadline = 3*time.Second, 3*time.Second
			w := newWorld(t)
			w.pod = func(rank int) *corev1.Pod { return runningPod(p, rank) }
			w.PrependReactor(c.verb, c.resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
			_, _, err := runIn(t, w, p)
			if got := incident.KindOf(err); err == nil || got != c.want {
				t.Errorf("got %v of kind %q, want kind %q", err, got, c.want)
			}
		})
	}
}

func TestUnreadableLogs(t *testing.T) {
	p := params()
	w := newWorld(t)
	w.pod = func(rank int) *corev1.Pod { return endedPod(p, rank, 0) }
	w.logErr = apierrors.NewInternalError(errors.New("dial tcp 10.0.0.9:10250: i/o timeout"))
	outcome, _, err := runIn(t, w, p)
	if err != nil || outcome.Result != incident.TestError {
		t.Fatalf("got %s: %s, error %v; a silent kubelet is no reason to give up", outcome.Result, outcome.Why, err)
	}
	contains(t, outcome.Why, "could not be read")
}

func TestRunStopsWhenCancelled(t *testing.T) {
	p := params()
	p.Settings.StartDeadline = time.Minute
	w := newWorld(t)
	w.pod = func(rank int) *corev1.Pod { return podOf(p, rank) }
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := (&Hands{Kube: w, Store: &store{}}).RunCommTest(ctx, p)
	if !errors.Is(err, context.DeadlineExceeded) || incident.KindOf(err) != incident.TimedOut {
		t.Errorf("got %v", err)
	}
}

func TestClean(t *testing.T) {
	p := params()
	w := newWorld(t, jobFor(p, ""), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Namespace: p.Namespace}})
	hands := &Hands{Kube: w}
	clean := func(names ...string) (steps.CleanCommTestResult, error) {
		return hands.CleanCommTest(context.Background(), steps.CleanCommTestParams{Incident: p.Incident, Namespace: p.Namespace, Names: names})
	}
	result, err := clean("", "gone", p.Name)
	if err != nil || result.Removed != 1 {
		t.Errorf("removed %d, error %v", result.Removed, err)
	}
	if result, err = clean(p.Name); err != nil || result.Removed != 0 {
		t.Errorf("again: removed %d, error %v", result.Removed, err)
	}
	if _, err = clean("foreign"); incident.KindOf(err) != incident.Conflict {
		t.Errorf("foreign: got %v, want a conflict", err)
	}
	var policies []metav1.DeletionPropagation
	for _, action := range w.Actions() {
		if deletion, ok := action.(clienttesting.DeleteActionImpl); ok {
			policies = append(policies, *deletion.DeleteOptions.PropagationPolicy)
		}
	}
	if diff := cmp.Diff([]metav1.DeletionPropagation{metav1.DeletePropagationBackground}, policies); diff != "" {
		t.Errorf("deletions (-want +got):\n%s", diff)
	}
}
