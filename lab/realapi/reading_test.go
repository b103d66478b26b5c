package realapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"

	"gpumedic/incident"
	"gpumedic/steps"
)

// sited is the fabric's configuration with the lab's labels.
var sited = incident.FabricSettings{
	LeafLabels: []string{"network.gpumedic.io/leaf"}, RackLabels: []string{"network.gpumedic.io/rack"}, ZoneLabels: []string{"topology.kubernetes.io/zone"},
	RDMAResources: []string{"rdma/"}, Interfaces: []string{"eth0"},
}

// serve makes the API server know a custom kind until the test ends.
func (w *world) serve(group, version, kind string) schema.GroupVersionResource {
	w.Helper()
	plural := strings.ToLower(kind) + "s"
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{"group": group, "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{"name": version, "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": anything}}}},
	}}
	definitions := w.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err := definitions.Create(w.ctx, definition, metav1.CreateOptions{})
	w.must(err)
	w.Cleanup(func() {
		if err := definitions.Delete(w.ctx, plural+"."+group, metav1.DeleteOptions{}); err != nil {
			w.Logf("removing the kind %s: %v", kind, err)
		}
	})
	resource := schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
	w.until("the API server serves "+kind, func() bool {
		_, err := w.dynamic.Resource(resource).Namespace(w.namespace).List(w.ctx, metav1.ListOptions{})
		return err == nil
	})
	return resource
}

// owned makes an object of a custom kind the controller of a job.
func (w *world) owned(job *batchv1.Job, resource schema.GroupVersionResource, kind, name string) {
	w.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}}}
	object.SetAPIVersion(resource.GroupVersion().String())
	object.SetKind(kind)
	created, err := w.dynamic.Resource(resource).Namespace(w.namespace).Create(w.ctx, object, metav1.CreateOptions{})
	w.must(err)
	w.must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := w.admin.BatchV1().Jobs(w.namespace).Get(w.ctx, job.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		live.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(created, created.GroupVersionKind())}
		_, err = w.admin.BatchV1().Jobs(w.namespace).Update(w.ctx, live, metav1.UpdateOptions{})
		return err
	}))
}

// running waits for the job's pods and returns the name of one.
func (w *world) running(job *batchv1.Job) string {
	w.Helper()
	name := ""
	w.until("all ranks of "+job.Name+" run", func() bool {
		for _, pod := range w.pods(job.Name, int(*job.Spec.Parallelism)) {
			if name = pod.Name; pod.Status.Phase != corev1.PodRunning {
				return false
			}
		}
		return true
	})
	return name
}

func (w *world) resolvePod(name string) steps.ResolveTargetResult {
	w.Helper()
	hint := incident.Target{Cluster: "lab", Namespace: w.namespace, Kind: "Pod", Name: name}
	found, err := w.hands.ResolveTarget(w.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: hint, Fabric: sited})
	w.must(err)
	return found
}

func (w *world) read(ref incident.EvidenceRef, into any) {
	w.Helper()
	content, err := w.store.Open(w.ctx, ref)
	w.must(err)
	defer content.Close()
	w.must(json.NewDecoder(content).Decode(into))
}

// TestResolveUpToACustomOwner climbs from a pod over its Job to the JobSet
// that the worker's role may read, and stops below a kind that it may not.
func TestResolveUpToACustomOwner(t *testing.T) {
	w := newWorld(t)
	set, run := w.trainingJob("in-a-set"), w.trainingJob("in-a-run")
	if found := w.resolvePod(w.running(set)); found.Target.Kind != "Job" { // before the kinds below are installed
		t.Errorf("got %+v", found)
	}
	w.owned(set, w.serve("jobset.x-k8s.io", "v1alpha2", "JobSet"), "JobSet", "llama")
	w.owned(run, w.serve("ml.example.com", "v1", "TrainingRun"), "TrainingRun", "llama")

	found := w.resolvePod(w.running(set))
	if !found.Supported || found.Target.Kind != "JobSet" || found.Target.Name != "llama" || found.Summary.Ranks != 4 || found.Summary.GPUs != 16 {
		t.Errorf("got %+v", found)
	}
	var workload incident.Workload
	w.read(found.Workload, &workload)
	if got := strings.Join(workload.OwnerChain, " "); got != "Pod Job JobSet" {
		t.Errorf("chain %s", got)
	}
	for i, rank := range workload.Ranks {
		if rank.Index != i || rank.Container != "trainer" || rank.GPUs != 4 || rank.Node == "" || rank.PodIP == "" {
			t.Errorf("rank %d is %+v", i, rank)
		}
	}
	for _, node := range workload.Nodes {
		if node.Leaf == "" || node.Rack == "" || node.GPUs != 8 || !node.Ready || node.RDMA[rdmaResource] == 0 || node.Unread != "" {
			t.Errorf("node %+v", node)
		}
	}
	if len(found.Simulated) == 0 {
		t.Error("the nodes say that they are simulated; the result does not")
	}
	if workload.PodLabels["app"] != "llama" || len(workload.PodLabels) != 1 {
		t.Errorf("pod labels %v", workload.PodLabels)
	}

	found = w.resolvePod(w.running(run))
	if !found.Supported || found.Target.Kind != "Job" || found.Target.Name != "in-a-run" || found.Summary.Ranks != 4 {
		t.Errorf("got %+v", found)
	}
	if !strings.Contains(found.Why, `apiGroups ["ml.example.com"], resources ["trainingruns"], verbs ["get"]`) {
		t.Errorf("why: %s", found.Why)
	}
}

func TestResolveWhatIsGone(t *testing.T) {
	w := newWorld(t)
	found, err := w.hands.ResolveTarget(w.ctx, steps.ResolveTargetParams{Hint: w.target("never-was"), Fabric: sited})
	if err != nil || found.Found {
		t.Errorf("got %+v, %v", found, err)
	}
	job := w.trainingJob("llama")
	pod := w.running(job)
	w.must(w.admin.CoreV1().Pods(w.namespace).Delete(w.ctx, pod, metav1.DeleteOptions{}))
	w.until("the pod is gone", func() bool {
		_, err := w.admin.CoreV1().Pods(w.namespace).Get(w.ctx, pod, metav1.GetOptions{})
		return err != nil
	})
	if found := w.resolvePod(pod); !found.Found || found.Target != w.target("llama") {
		t.Errorf("got %+v", found)
	}
}

// TestCollectAndCheck reads logs, events and objects through the real API and
// under the deployed role, and asks the checks about them.
func TestCollectAndCheck(t *testing.T) {
	w := newWorld(t)
	w.deny()
	job := w.trainingJob("llama")
	w.running(job)
	time.Sleep(time.Second) // for a few steps
	found, err := w.hands.ResolveTarget(w.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: w.target("llama"), Fabric: sited})
	w.must(err)
	kept, err := w.hands.CollectEvidence(w.ctx, steps.CollectEvidenceParams{Incident: incidentID, Workload: found.Workload,
		Logs: incident.LogSettings{HeadBytes: 1 << 20, TailBytes: 1 << 20, Parallel: 8}})
	w.must(err)
	if len(kept.Gaps) > 0 {
		t.Errorf("gaps: %v", kept.Gaps)
	}
	w.checkIndex(kept.Index)
	params := steps.CheckParams{Incident: incidentID, Workload: found.Workload, Fabric: sited, Index: kept.Index}
	want := map[string]string{
		incident.RanksFailing: "no 0 of 4", incident.RankDiedFirst: "no ", incident.RanksMissing: "no 4 of 4", incident.WorkloadFailed: "no ",
		incident.EnvDiffers: "no ", incident.EnvDead: "no ", incident.EnvRDMADisabled: "no ", incident.EnvInterface: "no ",
		incident.NodeNotReady: "no ", incident.RDMANotRequested: "yes 4 of 4 ranks", incident.RDMAOffered: "yes " + rdmaResource, incident.InterfaceMissing: "no ",
		incident.TransportUsed: "yes Socket", incident.TrainingProgress: "yes 4 of 4", incident.RanksSilent: "no 0 of 4",
	}
	got := map[string]string{}
	for _, finding := range w.findings(params) {
		got[finding.ID] = string(finding.State) + " " + finding.Value
		if finding.Why == "" || finding.Subject == "" {
			t.Errorf("%+v", finding)
		}
	}
	for id, answer := range want {
		if got[id] != answer {
			t.Errorf("%s: got %q, want %q", id, got[id], answer)
		}
	}
}

func (w *world) findings(params steps.CheckParams) []incident.Finding {
	w.Helper()
	var findings []incident.Finding
	for _, check := range []func() (steps.CheckResult, error){
		func() (steps.CheckResult, error) { return w.hands.CheckWorkload(w.ctx, params) },
		func() (steps.CheckResult, error) { return w.hands.CheckNCCLEnv(w.ctx, params) },
		func() (steps.CheckResult, error) { return w.hands.CheckPlacement(w.ctx, params) },
		func() (steps.CheckResult, error) { return w.hands.CheckRDMA(w.ctx, params) },
		func() (steps.CheckResult, error) { return w.hands.CheckRankLogs(w.ctx, params) },
	} {
		result, err := check()
		w.must(err)
		findings = append(findings, result.Findings...)
	}
	return findings
}

// checkIndex looks at what a bundle must hold.
func (w *world) checkIndex(index incident.EvidenceRef) {
	w.Helper()
	var entries []incident.IndexEntry
	w.read(index, &entries)
	count := map[string]int{}
	for _, entry := range entries {
		count[entry.Kind]++
		if entry.Kind == "log" && entry.Container == "trainer" && entry.Bytes == 0 {
			w.Errorf("%s is empty", entry.Name)
		}
		if entry.Kind == "events" {
			var events []map[string]any
			w.read(entry.EvidenceRef, &events)
			if len(events) == 0 {
				w.Error("no events were kept")
			}
		}
	}
	// Two containers of four ranks; four pods, up to four nodes, a job and a policy.
	if count["log"] != 8 || count["object"] < 7 || count["events"] != 1 || count["workload"] != 1 {
		w.Errorf("kept %v", count)
	}
	if !w.store.holds("objects/networkpolicy-default-deny.json") || !w.store.holds("logs/rank-003.log") {
		w.Errorf("kept %v", w.store.names)
	}
}
