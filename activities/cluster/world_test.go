package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	k8stesting "k8s.io/client-go/testing"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// midday is when the tests take place.
var midday = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var testFabric = incident.FabricSettings{
	LeafLabels: []string{"network.gpumedic.io/leaf"}, RackLabels: []string{"network.gpumedic.io/rack"},
	ZoneLabels:    []string{"topology.kubernetes.io/zone"},
	RDMAResources: []string{"rdma/", "vpc.amazonaws.com/efa"}, Interfaces: []string{"eth0"},
}

var jobTarget = incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"}

// memoryStore is an evidence store that checks what it is asked.
type memoryStore struct {
	mu      sync.Mutex
	content map[string][]byte
	names   map[string]incident.EvidenceRef
	broken  error
}

func (m *memoryStore) Put(_ context.Context, name string, content io.Reader) (incident.EvidenceRef, error) {
	data, err := io.ReadAll(content)
	if err != nil {
		return incident.EvidenceRef{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return incident.EvidenceRef{}, m.broken
	}
	sum := sha256.Sum256(data)
	ref := incident.EvidenceRef{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}
	m.content[ref.SHA256], m.names[name] = data, ref
	return ref, nil
}

func (m *memoryStore) Open(_ context.Context, ref incident.EvidenceRef) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.content[ref.SHA256]
	if !ok {
		return nil, incident.Faultf(incident.Missing, nil, "no content %s", ref.SHA256)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// text returns what was stored under a name, "" when nothing was.
func (m *memoryStore) text(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.content[m.names[name].SHA256])
}

// world is a cluster of fakes: the typed and the dynamic client hold the same
// objects.
type world struct {
	*Hands
	kube    *fake.Clientset
	dynamic *dynamicfake.FakeDynamicClient
	store   *memoryStore
}

// customKinds are served beside the built-in ones.
var customKinds = []schema.GroupVersionKind{
	{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"},
	{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"},
	{Group: "kubeflow.org", Version: "v2beta1", Kind: "MPIJob"},
	{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"},
	{Group: "ml.example.com", Version: "v1", Kind: "TrainingRun"},
	{Group: "batch.volcano.sh", Version: "v1alpha1", Kind: "Job"},
}

// testClassifier knows the built-in signatures. To make it takes most of a
// second, so all worlds share one.
var testClassifier = sync.OnceValues(func() (*diagnosis.Classifier, error) {
	signatures, err := runbooks.Signatures()
	if err != nil {
		return nil, err
	}
	return diagnosis.NewClassifier(signatures)
})

func newWorld(t testing.TB, objects ...runtime.Object) *world {
	t.Helper()
	classifier, err := testClassifier()
	if err != nil {
		t.Fatal(err)
	}
	mapper, lists := testMapper()
	var typed, all []runtime.Object
	for _, object := range objects {
		if _, custom := object.(*unstructured.Unstructured); !custom {
			typed = append(typed, object)
			object = asUnstructured(t, object)
		}
		all = append(all, object)
	}
	w := &world{
		kube:    fake.NewClientset(typed...),
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, all...),
		store:   &memoryStore{content: map[string][]byte{}, names: map[string]incident.EvidenceRef{}},
	}
	w.Hands = New(w.kube, w.dynamic, mapper, w.store, classifier, nil)
	w.Cluster, w.Now = "lab", func() time.Time { return midday }
	return w
}

func testMapper() (meta.RESTMapper, map[schema.GroupVersionResource]string) {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{
		{Version: "v1"}, {Group: "apps", Version: "v1"}, {Group: "batch", Version: "v1"}, {Group: "networking.k8s.io", Version: "v1"},
		{Group: "kubeflow.org", Version: "v1"}, {Group: "kubeflow.org", Version: "v2beta1"}, {Group: "ml.example.com", Version: "v1"},
		{Group: "jobset.x-k8s.io", Version: "v1alpha2"}, {Group: "trainer.kubeflow.org", Version: "v1alpha1"}, {Group: "ray.io", Version: "v1"},
	})
	lists := map[schema.GroupVersionResource]string{}
	add := func(kind schema.GroupVersionKind, scope meta.RESTScope) {
		mapper.Add(kind, scope)
		plural, _ := meta.UnsafeGuessKindToResource(kind)
		lists[plural] = kind.Kind + "List"
	}
	for _, kind := range []string{"Pod", "Service", "ConfigMap", "Event", "PersistentVolumeClaim"} {
		add(schema.GroupVersionKind{Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	add(schema.GroupVersionKind{Version: "v1", Kind: "Node"}, meta.RESTScopeRoot)
	add(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, meta.RESTScopeRoot)
	for _, kind := range []string{"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"} {
		add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	for _, kind := range []string{"Job", "CronJob"} {
		add(schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	add(schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}, meta.RESTScopeNamespace)
	for _, kind := range customKinds {
		add(kind, meta.RESTScopeNamespace)
	}
	return mapper, lists
}

func asUnstructured(t testing.TB, object runtime.Object) *unstructured.Unstructured {
	t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	out := &unstructured.Unstructured{Object: fields}
	out.SetGroupVersionKind(kinds[0])
	return out
}

// resolved runs ResolveTarget and fails the test on an error.
func (w *world) resolved(t testing.TB, hint incident.Target) (steps.ResolveTargetResult, incident.Workload) {
	t.Helper()
	result, err := w.ResolveTarget(t.Context(), steps.ResolveTargetParams{Incident: "i", Hint: hint, Fabric: testFabric})
	if err != nil {
		t.Fatal(err)
	}
	var workload incident.Workload
	if result.Found {
		if workload, err = w.loadWorkload(t.Context(), result.Workload); err != nil {
			t.Fatal(err)
		}
	}
	return result, workload
}

// checked resolves the job and carries out a check for it.
func (w *world) checked(t testing.TB, check func(context.Context, steps.CheckParams) (steps.CheckResult, error)) steps.CheckResult {
	t.Helper()
	found, _ := w.resolved(t, jobTarget)
	result, err := check(t.Context(), steps.CheckParams{Incident: "i", Workload: found.Workload, Fabric: testFabric})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// only returns the single finding of a question.
func only(t testing.TB, result steps.CheckResult, question string) incident.Finding {
	t.Helper()
	found := all(result, question)
	if len(found) != 1 {
		t.Fatalf("%d findings of %s, want 1: %+v", len(found), question, result.Findings)
	}
	return found[0]
}

func all(result steps.CheckResult, question string) []incident.Finding {
	return slices.DeleteFunc(slices.Clone(result.Findings), func(f incident.Finding) bool { return f.ID != question })
}

// refuse makes the API server refuse a verb as RBAC words it.
func (w *world) refuse(verb, resource, group string) {
	denied := func(action k8stesting.Action) (bool, runtime.Object, error) {
		why := fmt.Errorf("User %q cannot %s resource %q in API group %q in the namespace %q", "worker", verb, resource, group, action.GetNamespace())
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: resource}, "", why)
	}
	w.kube.PrependReactor(verb, resource, denied)
	w.dynamic.PrependReactor(verb, resource, denied)
}

// fail makes the API server not answer a verb.
func (w *world) fail(verb, resource string) {
	down := func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("etcd is away")
	}
	w.kube.PrependReactor(verb, resource, down)
	w.dynamic.PrependReactor(verb, resource, down)
}

// paginate makes the fake cut lists of pods and jobs into pages, as the API
// server does, and refuses a list that asks for everything at once.
func (w *world) paginate(t testing.TB, pages *int) {
	cut := func(action k8stesting.Action) (bool, runtime.Object, error) {
		options := action.(k8stesting.ListActionImpl).ListOptions
		if options.Limit == 0 {
			t.Errorf("list of %s without a limit", action.GetResource().Resource)
		}
		*pages++
		objects, err := w.kube.Tracker().List(action.GetResource(), kindOfList(action.GetResource().Resource), action.GetNamespace())
		if err != nil {
			return true, nil, err
		}
		start, _ := strconv.Atoi(options.Continue)
		items, _ := meta.ExtractList(objects)
		end := min(len(items), start+int(options.Limit))
		if err := meta.SetList(objects, items[start:end]); err != nil {
			return true, nil, err
		}
		list, _ := meta.ListAccessor(objects)
		if end < len(items) {
			list.SetContinue(strconv.Itoa(end))
		}
		return true, objects, nil
	}
	w.kube.PrependReactor("list", "pods", cut)
	w.kube.PrependReactor("list", "jobs", cut)
	w.kube.PrependReactor("list", "nodes", cut)
}

func kindOfList(resource string) schema.GroupVersionKind {
	switch resource {
	case "jobs":
		return batchv1.SchemeGroupVersion.WithKind("Job")
	case "nodes":
		return corev1.SchemeGroupVersion.WithKind("Node")
	}
	return corev1.SchemeGroupVersion.WithKind("Pod")
}

// ownedBy makes an object controlled by another.
func ownedBy[T metav1.Object](object T, apiVersion, kind, name, uid string) T {
	yes := true
	object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}})
	return object
}

// testJob is the Indexed Job training/llama-70b with its template.
func testJob(ranks int) *batchv1.Job {
	count, indexed := int32(ranks), batchv1.IndexedCompletion
	pod := testPod(0, "")
	labels := map[string]string{"app": "llama", "team": "nlp", "batch.kubernetes.io/job-name": "llama-70b", "job-name": "llama-70b",
		"controller-uid": "job-uid", "batch.kubernetes.io/controller-uid": "job-uid"}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "llama-70b", Namespace: "training", UID: "job-uid", Labels: map[string]string{"app": "llama"}},
		Spec: batchv1.JobSpec{Parallelism: &count, Completions: &count, CompletionMode: &indexed,
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec}},
	}
}

// testPod is the running pod of a rank of that job, changed by the options.
func testPod(index int, suffix string, options ...func(*corev1.Pod)) *corev1.Pod {
	name := fmt.Sprintf("llama-70b-%d-%s", index, orWord(suffix, "aaaaa"))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "training", UID: types.UID(name + "-uid"), CreationTimestamp: metav1.NewTime(midday.Add(-time.Hour)),
			Labels:      map[string]string{"app": "llama", "team": "nlp", "job-name": "llama-70b", "batch.kubernetes.io/job-name": "llama-70b"},
			Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: strconv.Itoa(index)},
		},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("gpu-%02d", index), Containers: []corev1.Container{
			{Name: "sidecar"},
			{Name: "trainer", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
				"nvidia.com/gpu": resource.MustParse("4"), "rdma/hca_shared_devices_a": resource.MustParse("1")}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.0.0.%d", index), ContainerStatuses: []corev1.ContainerStatus{
			{Name: "trainer", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(midday.Add(-time.Hour))}}},
		}},
	}
	ownedBy(pod, "batch/v1", "Job", "llama-70b", "job-uid")
	for _, option := range options {
		option(pod)
	}
	return pod
}

func trainerOf(pod *corev1.Pod) *corev1.Container          { return &pod.Spec.Containers[1] }
func trainerState(pod *corev1.Pod) *corev1.ContainerStatus { return &pod.Status.ContainerStatuses[0] }

// withEnv sets variables of the trainer.
func withEnv(pairs ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for i := 0; i < len(pairs); i += 2 {
			trainerOf(pod).Env = append(trainerOf(pod).Env, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
		}
	}
}

func withoutRDMA(pod *corev1.Pod) {
	delete(trainerOf(pod).Resources.Limits, "rdma/hca_shared_devices_a")
}

// died is a container that was started and ended some time before midday and
// runs again since.
func died(started, ended time.Duration, code int32, reason string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		status := trainerState(pod)
		status.RestartCount++
		status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason,
			StartedAt: metav1.NewTime(midday.Add(-started)), FinishedAt: metav1.NewTime(midday.Add(-ended))}
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(midday.Add(-ended + 10*time.Second))}
	}
}

// backOff makes a container wait for its restart.
func backOff(pod *corev1.Pod) {
	trainerState(pod).State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
}

// born makes a pod younger or older than an hour.
func born(ago time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(midday.Add(-ago)) }
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

// testNode is a Ready H100 node; even ones are under leaf-a.
func testNode(index int, options ...func(*corev1.Node)) *corev1.Node {
	leaf := []string{"leaf-a", "leaf-b"}[index%2]
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("gpu-%02d", index), UID: types.UID(fmt.Sprintf("node-%d", index)),
			Labels: map[string]string{"network.gpumedic.io/leaf": leaf, "network.gpumedic.io/rack": "rack-1", "topology.kubernetes.io/zone": "z",
				"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "kubernetes.io/hostname": fmt.Sprintf("gpu-%02d", index)},
			Annotations: map[string]string{simulatedAnnotation: "true"}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("8"), "rdma/hca_shared_devices_a": resource.MustParse("63")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}},
			Images:      []corev1.ContainerImage{{Names: []string{"a-long-list-of-images"}}}},
	}
	for _, option := range options {
		option(node)
	}
	return node
}

// customObject is an object of a custom kind in namespace training.
func customObject(apiVersion, kind, name, uid, spec string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	if err := json.Unmarshal([]byte(orWord(spec, "{}")), &object.Object); err != nil { // whole numbers stay whole
		panic(err) // the test's own text
	}
	object.SetAPIVersion(apiVersion)
	object.SetKind(kind)
	object.SetName(name)
	object.SetNamespace("training")
	object.SetUID(types.UID(uid))
	return object
}

// gang is the job with healthy ranks on nodes of their own.
func gang(ranks int, options ...func(*corev1.Pod)) []runtime.Object {
	objects := []runtime.Object{testJob(ranks)}
	for i := range ranks {
		objects = append(objects, testPod(i, "", options...), testNode(i))
	}
	return objects
}

// contains checks a sentence for its parts.
func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// checks are those of the reading half that ask the cluster about the ranks.
func (w *world) checks() map[string]func(context.Context, steps.CheckParams) (steps.CheckResult, error) {
	return map[string]func(context.Context, steps.CheckParams) (steps.CheckResult, error){
		steps.CheckWorkload: w.CheckWorkload, steps.CheckNCCLEnv: w.CheckNCCLEnv, steps.CheckRDMA: w.CheckRDMA,
	}
}

func paramsOf(found steps.ResolveTargetResult) steps.CheckParams {
	return steps.CheckParams{Incident: "i", Workload: found.Workload, Fabric: testFabric}
}

func contextThatEnds(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// containsSecret looks for the secret that tests plant.
func containsSecret(text string) bool { return strings.Contains(text, "abcdefghijkl") }
