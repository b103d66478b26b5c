package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

const plantedSecret = "xoxb-123456789012-abcdefghijkl"

func event(kind, name, reason, message string, ago time.Duration) *corev1.Event {
	namespace := "training"
	if kind == "Node" {
		namespace = "default"
	}
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name + "." + reason, Namespace: namespace}, Type: "Warning", Reason: reason, Message: message, Count: 2,
		InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}, LastTimestamp: metav1.NewTime(midday.Add(-ago)), Source: corev1.EventSource{Component: "kubelet"}}
}

// collected resolves the job and collects its evidence.
func (w *world) collected(t testing.TB) (steps.CollectEvidenceResult, map[string]incident.IndexEntry) {
	t.Helper()
	found, _ := w.resolved(t, jobTarget)
	result, err := w.CollectEvidence(t.Context(), steps.CollectEvidenceParams{Incident: "i", Workload: found.Workload,
		Logs: incident.LogSettings{HeadBytes: 1000, TailBytes: 1000, Parallel: 4}})
	if err != nil {
		t.Fatal(err)
	}
	var entries []incident.IndexEntry
	if err := incident.ReadJSON(t.Context(), w.Store, result.Index, 1<<20, &entries); err != nil {
		t.Fatal(err)
	}
	byName := map[string]incident.IndexEntry{}
	for _, entry := range entries {
		byName[entry.Name] = entry
	}
	if len(byName) != len(entries) || len(entries) != result.Files {
		t.Errorf("%d entries under %d names, result says %d", len(entries), len(byName), result.Files)
	}
	return result, byName
}

func TestCollectEvidence(t *testing.T) {
	starting := func(pod *corev1.Pod) {
		trainerState(pod).State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	}
	managed := func(pod *corev1.Pod) {
		pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		withEnv("HF_TOKEN", plantedSecret)(pod)
	}
	objects := append(ranksThat(managed, died(time.Hour, time.Minute, 1, "Error"), both(died(time.Hour, time.Minute, 137, "OOMKilled"), backOff), starting),
		testPod(1, "older", born(3*time.Hour), inPhase(corev1.PodFailed)),
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny", Namespace: "training"}},
		event("Pod", "llama-70b-2-aaaaa", "BackOff", "Back-off restarting, token "+plantedSecret, time.Minute), event("Job", "llama-70b", "SuccessfulCreate", "Created pod", time.Hour),
		event("Node", "gpu-01", "NodeNotReady", "gone", 2*time.Minute), event("Pod", "llama-70b-0-gone1", "Killing", "of an attempt before", 2*time.Hour),
		event("Pod", "web-0-abcde", "BackOff", "somebody else's", time.Minute), event("Node", "gpu-77", "NodeNotReady", "somebody else's", time.Minute))
	w := newWorld(t, objects...)
	server := w.serveLogs(t, map[string]func(io.Writer) error{
		"llama-70b-0-aaaaa/trainer":          saying("2026-11-24T11:00:00Z hello", "2026-11-24T11:00:01Z using "+plantedSecret),
		"llama-70b-1-aaaaa/trainer":          saying("2026-11-24T11:59:00Z second try"),
		"llama-70b-1-aaaaa/trainer/previous": saying("2026-11-24T11:00:00Z first try"),
		"llama-70b-2-aaaaa/trainer/previous": saying("2026-11-24T11:00:00Z the one that was killed"),
		"llama-70b-1-older/trainer":          saying("2026-11-24T09:00:00Z an attempt before"),
	})
	result, entries := w.collected(t)
	want := []string{
		"events.json", "logs/rank-000.log", "logs/rank-001.attempt-llama-70b-1-older.log", "logs/rank-001.log", "logs/rank-001.previous.log", "logs/rank-002.log",
		"objects/job-llama-70b.json", "objects/networkpolicy-deny.json", "objects/node-gpu-00.json", "objects/node-gpu-01.json", "objects/node-gpu-02.json", "objects/node-gpu-03.json",
		"objects/pod-llama-70b-0-aaaaa.json", "objects/pod-llama-70b-1-aaaaa.json", "objects/pod-llama-70b-1-older.json", "objects/pod-llama-70b-2-aaaaa.json", "objects/pod-llama-70b-3-aaaaa.json",
		"workload.json",
	}
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"log of container trainer of pod llama-70b-3-aaaaa: it has not started (ContainerCreating)"}, result.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	if entry := entries["logs/rank-001.previous.log"]; !entry.Previous || entry.Rank != 1 || entry.Pod != "llama-70b-1-aaaaa" || entry.Container != "trainer" || entry.Kind != "log" {
		t.Errorf("%+v", entry)
	}
	if !entries["logs/rank-001.attempt-llama-70b-1-older.log"].Previous || entries["objects/job-llama-70b.json"].Rank != -1 {
		t.Errorf("%+v", entries)
	}
	if slices.Contains(server.asked, "llama-70b-2-aaaaa/trainer") {
		t.Error("of a container that waits for its restart the present log was read: when it restarts meanwhile, that is the log of the new attempt")
	}
	w.checkNothingLeaks(t)
	contains(t, w.store.text("objects/pod-llama-70b-0-aaaaa.json"), `"kind": "Pod"`, `"apiVersion": "v1"`, "HF_TOKEN")
	for _, name := range []string{"objects/pod-llama-70b-0-aaaaa.json", "objects/node-gpu-00.json"} {
		if text := w.store.text(name); strings.Contains(text, "managedFields") || strings.Contains(text, "a-long-list-of-images") {
			t.Errorf("%s holds noise", name)
		}
	}
	checkEvents(t, w.store.text("events.json"))
}

// checkNothingLeaks is promise 9 for this step.
func (w *world) checkNothingLeaks(t *testing.T) {
	t.Helper()
	for name, ref := range w.store.names {
		if containsSecret(string(w.store.content[ref.SHA256])) {
			t.Errorf("%s holds a secret", name)
		}
	}
}

func checkEvents(t *testing.T, text string) {
	t.Helper()
	var events []eventLine
	if err := json.Unmarshal([]byte(text), &events); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, event := range events {
		got = append(got, fmt.Sprintf("%s %s x%d from %s", event.Object, event.Reason, event.Count, event.From))
	}
	want := []string{"pod/llama-70b-0-gone1 Killing x2 from kubelet", "job/llama-70b SuccessfulCreate x2 from kubelet", "node/gpu-01 NodeNotReady x2 from kubelet", "pod/llama-70b-2-aaaaa BackOff x2 from kubelet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestCollectEvidenceNamesItsGaps(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		want   []string
		kept   []string
	}{
		"no logs at all":   {func(*world) {}, []string{"log of container trainer of pod llama-70b-0-aaaaa", "and 1 more like it"}, []string{"objects/job-llama-70b.json"}},
		"policies refused": {func(w *world) { w.refuse("list", "networkpolicies", "networking.k8s.io") }, []string{"the NetworkPolicies: listing networkpolicies", `verbs ["list"]`}, []string{"objects/pod-llama-70b-0-aaaaa.json"}},
		"events refused":   {func(w *world) { w.refuse("list", "events", "") }, []string{"events: listing events of namespace training"}, []string{"events.json"}},
		"nodes refused":    {func(w *world) { w.refuse("get", "nodes", "") }, []string{"node gpu-00: reading node gpu-0", "and 1 more like it"}, nil},
		"pods refused":     {func(w *world) { w.refuse("list", "pods", "") }, []string{"the ranks as they are now: listing pods"}, []string{"workload.json", "events.json"}},
		"target is gone": {func(w *world) {
			if err := w.dynamic.Tracker().Delete(batchv1.SchemeGroupVersion.WithResource("jobs"), "training", "llama-70b"); err != nil {
				panic(err)
			}
		}, []string{"log of container trainer of pod llama-70b-0-aaaaa"}, []string{"workload.json", "events.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			w.serveLogs(t, nil)
			found, _ := w.resolved(t, jobTarget)
			test.change(w)
			result, err := w.CollectEvidence(t.Context(), steps.CollectEvidenceParams{Workload: found.Workload})
			if err != nil {
				t.Fatal(err)
			}
			contains(t, strings.Join(result.Gaps, "\n"), test.want...)
			for _, name := range test.kept {
				if w.store.text(name) == "" {
					t.Errorf("%s is not kept", name)
				}
			}
		})
	}
}

func TestCollectEvidenceWithoutAStoreIsAnError(t *testing.T) {
	w := newWorld(t, gang(2)...)
	w.serveLogs(t, nil)
	found, _ := w.resolved(t, jobTarget)
	w.store.broken = fmt.Errorf("bucket is away")
	_, err := w.CollectEvidence(t.Context(), steps.CollectEvidenceParams{Workload: found.Workload})
	if incident.KindOf(err) != incident.Unreachable {
		t.Errorf("got %v", err)
	}
}

// TestCollectEvidenceTwiceIsTheSame: attempts are repeated, and order never
// depends on chance.
func TestCollectEvidenceTwiceIsTheSame(t *testing.T) {
	w := newWorld(t, gang(8)...)
	logs := map[string]func(io.Writer) error{}
	for i := range 8 {
		logs[fmt.Sprintf("llama-70b-%d-aaaaa/trainer", i)] = saying(fmt.Sprintf("2026-11-24T11:00:00Z rank %d", i))
	}
	w.serveLogs(t, logs)
	beats := make(chan struct{}, 1000)
	w.Heartbeat = func(_ context.Context, _ ...any) { beats <- struct{}{} }
	first, _ := w.collected(t)
	second, _ := w.collected(t)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	if len(beats) < 2*8 {
		t.Errorf("%d heartbeats", len(beats))
	}
}

func TestCollectEvidenceOfThousandPods(t *testing.T) {
	const many = 1000
	objects := []runtime.Object{testJob(many)}
	logs := map[string]func(io.Writer) error{}
	for i := range many {
		objects = append(objects, testPod(i, ""))
		logs[fmt.Sprintf("llama-70b-%d-aaaaa/trainer", i)] = saying("2026-11-24T11:00:00Z " + fmt.Sprint(i))
	}
	w := newWorld(t, objects...)
	w.serveLogs(t, logs)
	pages := 0
	w.paginate(t, &pages)
	result, entries := w.collected(t)
	if len(entries) != 2*many+3 || len(result.Gaps) != 1 { // logs, pods; job, events, workload
		t.Errorf("%d files, gaps %v", len(entries), result.Gaps)
	}
	contains(t, result.Gaps[0], "node gpu-00", "and 999 more like it")
}

// TestCollectsWhatIsBehindTheData: claims with volume and class, and the job that
// prepares the data with what it said. Somebody else's are none of ours.
func TestCollectsWhatIsBehindTheData(t *testing.T) {
	fast := "fast"
	mounts := func(name string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		}
	}
	bound := func(name string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training", Annotations: map[string]string{"note": plantedSecret}},
			Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &fast, VolumeName: "pv-" + name}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	}
	prep := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "tokenize", Namespace: "training", UID: "prep", Labels: map[string]string{preparesLabel: "llama-70b"}}}
	prepPod := testPod(7, "prep0", func(pod *corev1.Pod) {
		pod.Name, pod.Labels, pod.OwnerReferences = "tokenize-prep0", map[string]string{batchv1.JobNameLabel: "tokenize"}, nil
	})
	objects := append(gang(2, mounts("data"), mounts("gone")), bound("data"), bound("others"), prep, prepPod,
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-data"}}, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-others"}},
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: fast}, Provisioner: "csi"}, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "unused"}, Provisioner: "csi"})
	w := newWorld(t, objects...)
	w.serveLogs(t, map[string]func(io.Writer) error{"tokenize-prep0/trainer": saying("2026-11-24T11:00:00Z shard 7 is broken")})
	_, entries := w.collected(t)
	for _, name := range []string{"objects/persistentvolumeclaim-data.json", "objects/persistentvolume-pv-data.json", "objects/storageclass-fast.json",
		"objects/job-tokenize.json", "objects/pod-tokenize-prep0.json", "logs/pod-tokenize-prep0.log"} {
		if _, kept := entries[name]; !kept {
			t.Errorf("%s is not kept", name)
		}
	}
	for name := range entries {
		if strings.Contains(name, "others") || strings.Contains(name, "unused") || strings.Contains(name, "gone") {
			t.Errorf("%s is kept", name)
		}
	}
	contains(t, w.store.text("logs/pod-tokenize-prep0.log"), "shard 7 is broken")
	contains(t, w.store.text("objects/storageclass-fast.json"), `"apiVersion": "storage.k8s.io/v1"`)
	w.checkNothingLeaks(t)
}
