package ioprobe

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

// told is state and value of both answers.
func told(findings []incident.Finding) string {
	var words []string
	for _, f := range findings {
		words = append(words, strings.TrimSpace(string(f.State)+" "+f.Value))
	}
	return strings.Join(words, "; ")
}

func contains(t *testing.T, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("got %q, want ...%s...", got, want)
	}
}

func TestRunMeasures(t *testing.T) {
	w := newWorld(t, claim("web-images", nil), volume("web-images", nfs))
	w.pod, w.log = ended, logOf(41, 38)
	result, err := w.hands().RunIOProbe(context.Background(), w.asked(params(), rankPod("llama-0")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := told(result.Findings), "yes 41 MB/s, 38 ms; no 105 reads/s, 38 ms"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	slow := result.Findings[0]
	if slow.ID != incident.StorageSlow || slow.Subject != "pvc/web-images" || slow.Check != steps.RunIOProbe || len(slow.Evidence) != 1 || slow.Evidence[0] != result.Evidence.Name {
		t.Errorf("finding %+v", slow)
	}
	contains(t, slow.Why, "1.2 GB in 29.3 s, by fio-3.33")
	contains(t, slow.Why, "less than the 100 MB/s of io_probe.slow_mbps")
	contains(t, result.Why, "read from pvc/web-images on gpu-03, where rank 0 runs")
	if string(w.kept.files["ioprobe/io-1.log"]) != w.log {
		t.Errorf("kept %q", w.kept.files["ioprobe/io-1.log"])
	}
}

// TestSidecarsMayGoOn: the probe has ended when its own program has.
func TestSidecarsMayGoOn(t *testing.T) {
	w := newWorld(t, claim("web-images", nil), volume("web-images", nfs))
	w.pod, w.log = func(pod *corev1.Pod) { ended(pod); pod.Status.Phase = corev1.PodRunning }, logOf(41, 38)
	result, err := w.hands().RunIOProbe(context.Background(), w.asked(params(), rankPod("llama-0")))
	if err != nil || result.Findings[0].State != incident.Yes {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestTheRankThatWaitsLongest is probed, not the first; one that is gone is passed by.
func TestTheRankThatWaitsLongest(t *testing.T) {
	w := newWorld(t, claim("web-images", nil), volume("web-images", nfs))
	w.pod, w.log = ended, strings.ReplaceAll(logOf(41, 38), "gpu-03", "gpu-07")
	w.pod = func(pod *corev1.Pod) { ended(pod); pod.Spec.NodeName = "gpu-07" }
	second := rankPod("llama-1")
	second.Spec.NodeName = "gpu-07"
	p := w.asked(params(), rankPod("llama-0"), second)
	p.Index = w.keep("index.json", []incident.IndexEntry{
		{EvidenceRef: incident.EvidenceRef{Name: "logs/rank-000.log"}, Pod: "llama-0"},
		{EvidenceRef: incident.EvidenceRef{Name: "logs/rank-001.log"}, Pod: "llama-1"},
		{EvidenceRef: incident.EvidenceRef{Name: "logs/rank-002.log"}, Pod: "llama-2-gone"},
	})
	p.Logs = []string{"logs/rank-002.log", "logs/rank-001.log"}
	result, err := w.hands().RunIOProbe(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, result.Why, "on gpu-07, where rank 1 runs")
}

// TestRunThatMeasuresNothing: each is an answer, unknown with its reason.
func TestRunThatMeasuresNothing(t *testing.T) {
	short := params()
	short.Settings.StartDeadline, short.Settings.Deadline = 2*time.Second, 2*time.Second
	for name, c := range map[string]struct {
		pod  func(*corev1.Pod)
		log  string
		more []runtime.Object
		want string
	}{
		"no room on the node": {func(pod *corev1.Pod) {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "1 Insufficient cpu"}}
		}, "", nil, "its pod did not start within 2s: pod io-1-x is not scheduled: Unschedulable: 1 Insufficient cpu"},
		"quota": {nil, "", []runtime.Object{&corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "training"},
			InvolvedObject: corev1.ObjectReference{Kind: "Job", Name: "io-1"}, Type: "Warning", Reason: "FailedCreate", Message: "exceeded quota"}},
			"no pod was created within 2s; last event: FailedCreate: exceeded quota"},
		"image without Python": {func(pod *corev1.Pod) {
			onItsNode(pod)
			pod.Status.Phase = corev1.PodFailed
			pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Now(), ExitCode: 127}}
		}, "exec: python3: not found\n", nil, "it needs python3 in its image; it said: exec: python3: not found"},
		"never ends":         {onItsNode, started, nil, "no large read was measured: it was still reading when its time was up"},
		"says nothing":       {onItsNode, "", nil, "the probe said nothing until its time was up"},
		"dies in the middle": {ended, started + tree + "MemoryError\n", nil, "it ended before it was done; it said: MemoryError"},
		"evicted": {func(pod *corev1.Pod) { ended(pod); pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "Evicted" }, started + tree, nil,
			"the cluster took its pod away: Evicted"},
		"another node": {func(pod *corev1.Pod) { ended(pod); pod.Spec.NodeName = "gpu-09" }, logOf(41, 38), nil,
			"stands on gpu-09 and says gpu-03, and not on gpu-03"},
		"storage breaks": {ended, started + tree + `{"event":"error","path":"/data/7","op":"sequential","errno":"EIO","detail":""}` + "\n" + finished, nil,
			"reading broke: EIO while reading /data/7"},
		"no JSON": {ended, started + "{oops\n", nil, "a line that no probe prints"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, append(c.more, claim("web-images", nil), volume("web-images", nfs))...)
			w.pod, w.log = c.pod, c.log
			result, err := w.hands().RunIOProbe(context.Background(), w.asked(short, rankPod("llama-0")))
			if err != nil {
				t.Fatal(err)
			}
			if len(result.Findings) != 2 || result.Findings[0].State != incident.Unknown || result.Findings[1].State != incident.Unknown {
				t.Fatalf("findings %+v", result.Findings)
			}
			contains(t, result.Findings[0].Why, c.want)
		})
	}
}

// TestNothingToAsk: a job that reads from its node gets no findings, and no pod.
func TestNothingToAsk(t *testing.T) {
	w := newWorld(t)
	pod := rankPod("llama-0")
	pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/mnt"}}
	result, err := w.hands().RunIOProbe(context.Background(), w.asked(params(), pod))
	if err != nil || len(result.Findings) != 0 {
		t.Errorf("%+v, %v", result, err)
	}
	contains(t, result.Why, "no volume over the network")
	w.nothingLeft(t)
}

func (w *world) nothingLeft(t *testing.T) {
	t.Helper()
	jobs, err := w.BatchV1().Jobs("training").List(context.Background(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 0 {
		t.Errorf("%d jobs, %v", len(jobs.Items), err)
	}
	scripts, err := w.CoreV1().ConfigMaps("training").List(context.Background(), metav1.ListOptions{})
	if err != nil || len(scripts.Items) != 0 {
		t.Errorf("%d config maps, %v", len(scripts.Items), err)
	}
}

// TestRetryJoins: a worker died after it created the Job and before the script;
// the next attempt makes one probe of it, and cleaning leaves nothing.
func TestRetryJoins(t *testing.T) {
	w := newWorld(t, claim("web-images", nil), volume("web-images", nfs))
	w.pod, w.log = ended, logOf(900, 0.4)
	p := w.asked(params(), rankPod("llama-0"))
	dies := true
	w.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return dies, nil, apierrors.NewServiceUnavailable("gone")
	})
	if _, err := w.hands().RunIOProbe(context.Background(), p); incident.KindOf(err) != incident.Unreachable {
		t.Fatalf("got %v", err)
	}
	dies = false
	for range 2 {
		result, err := w.hands().RunIOProbe(context.Background(), p)
		if err != nil || told(result.Findings) != "no 900 MB/s, 0.4 ms; no 105 reads/s, 0.4 ms" {
			t.Fatalf("%v: %s", err, told(result.Findings))
		}
	}
	clean := steps.CleanIOProbeParams{Incident: p.Incident, Namespace: p.Namespace, Name: p.Name}
	for i, want := range []bool{true, false} {
		if result, err := w.hands().CleanIOProbe(context.Background(), clean); err != nil || result.Removed != want {
			t.Errorf("clean %d: %+v, %v", i, result, err)
		}
	}
	w.nothingLeft(t)
}

// TestStrangersAreLeftAlone: neither joined nor removed.
func TestStrangersAreLeftAlone(t *testing.T) {
	w := newWorld(t, claim("web-images", nil), volume("web-images", nfs), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "io-1", Namespace: "training"}})
	p := w.asked(params(), rankPod("llama-0"))
	if _, err := w.hands().RunIOProbe(context.Background(), p); incident.KindOf(err) != incident.Conflict {
		t.Errorf("run: %v", err)
	}
	if _, err := w.hands().CleanIOProbe(context.Background(), steps.CleanIOProbeParams{Incident: p.Incident, Namespace: "training", Name: "io-1"}); incident.KindOf(err) != incident.Conflict {
		t.Errorf("clean: %v", err)
	}
	if _, err := w.Tracker().Get(batchv1.SchemeGroupVersion.WithResource("jobs"), "training", "io-1"); err != nil {
		t.Errorf("the stranger is gone: %v", err)
	}
}

// TestForbiddenIsAnError: who may not create pods has measured nothing.
func TestForbiddenIsAnError(t *testing.T) {
	w := newWorld(t, claim("web-images", nil), volume("web-images", nfs))
	w.PrependReactor("create", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "io-1", nil)
	})
	if _, err := w.hands().RunIOProbe(context.Background(), w.asked(params(), rankPod("llama-0"))); incident.KindOf(err) != incident.Forbidden {
		t.Errorf("got %v", err)
	}
	p := params()
	p.Settings.MaxBytes = 0
	if _, err := w.hands().RunIOProbe(context.Background(), p); incident.KindOf(err) != incident.Invalid {
		t.Errorf("got %v", err)
	}
}
