package realapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"gpumedic/activities/cluster"
	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// rdmaResource is what the test's nodes offer.
const rdmaResource = "rdma/hca_shared_devices_a"

// secret is what no diff and no evidence may hold.
const secret = "5ba1c0ffee5ba1c0ffee5ba1c0ffee5ba1c0ffee"

// fabric is the site's configuration as the tests have it.
var fabric = incident.FabricSettings{RDMAResources: []string{"rdma/", "vpc.amazonaws.com/efa"}}

// world is a namespace of a real API server, with an administrator who plays
// everybody else, and hands that may do no more than deploy/rbac.yaml says.
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
	admin     kubernetes.Interface
	dynamic   dynamic.Interface
	hands     *cluster.Hands
	store     *memoryStore
}

// newWorld makes a namespace and binds the worker's roles in it.
func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	config := adminConfig(t)
	w := &world{T: t, ctx: ctx, store: &memoryStore{content: map[string][]byte{}}}
	w.admin, w.dynamic = kubernetes.NewForConfigOrDie(config), dynamic.NewForConfigOrDie(config)
	namespace, err := w.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "training-"}}, metav1.CreateOptions{})
	w.must(err)
	w.namespace = namespace.Name
	w.deployRBAC(config)
	worker := rest.AnonymousClientConfig(config)
	worker.BearerToken = w.workerToken()
	kube := kubernetes.NewForConfigOrDie(worker)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery()))
	signatures, err := runbooks.Signatures()
	w.must(err)
	classifier, err := diagnosis.NewClassifier(signatures)
	w.must(err)
	w.hands = cluster.New(kube, dynamic.NewForConfigOrDie(worker), mapper, w.store, classifier, nil)
	w.hands.Cluster = "lab"
	w.Cleanup(w.remove)
	return w
}

// remove removes the namespace, and its pods at once: those of the next test want
// their GPUs.
func (w *world) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.admin.CoreV1().Namespaces().Delete(ctx, w.namespace, metav1.DeleteOptions{}); err != nil {
		w.Logf("removing namespace %s: %v", w.namespace, err)
	}
	now, pods := int64(0), w.admin.CoreV1().Pods(w.namespace)
	for ctx.Err() == nil {
		if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}); err != nil {
			w.Logf("removing the pods of %s: %v", w.namespace, err)
		}
		if left, err := pods.List(ctx, metav1.ListOptions{}); err == nil && len(left.Items) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// deployRBAC applies deploy/rbac.yaml, with this test's namespace in the
// place of the one that its last part names.
func (w *world) deployRBAC(config *rest.Config) {
	w.Helper()
	text, err := os.ReadFile("../../deploy/rbac.yaml")
	w.must(err)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kubernetes.NewForConfigOrDie(config).Discovery()))
	text = bytes.ReplaceAll(text, []byte("namespace: training"), []byte("namespace: "+w.namespace))
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			w.Fatal(err)
		}
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		w.must(err)
		var client dynamic.ResourceInterface = w.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() != meta.RESTScopeNameRoot {
			client = w.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
		}
		_, err = client.Apply(w.ctx, object.GetName(), &object, metav1.ApplyOptions{FieldManager: "deploy", Force: true})
		w.must(err)
	}
}

func (w *world) workerToken() string {
	w.Helper()
	token, err := w.admin.CoreV1().ServiceAccounts("gpumedic").CreateToken(w.ctx, "gpumedic-worker", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	w.must(err)
	return token.Status.Token
}

// trainingJob creates an Indexed Job of four ranks, as a person's kubectl would.
func (w *world) trainingJob(name string) *batchv1.Job {
	w.Helper()
	return w.trainingJobWith(name, nil)
}

// trainingJobWith creates the same job after an alteration.
func (w *world) trainingJobWith(name string, alter func(*batchv1.Job)) *batchv1.Job {
	w.Helper()
	indexed, count, attempts := batchv1.IndexedCompletion, int32(4), int32(100)
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: batchv1.JobSpec{CompletionMode: &indexed, Completions: &count, Parallelism: &count, BackoffLimit: &attempts,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "llama"}},
				Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyOnFailure, Containers: []corev1.Container{
					{Name: "side", Image: "lab.gpumedic.io/side:1"},
					{Name: "trainer", Image: "lab.gpumedic.io/train:1", Env: []corev1.EnvVar{{Name: "MASTER_PORT", Value: "29500"}, {Name: "WANDB_API_KEY", Value: secret}},
						Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}}},
				}}}},
	}
	if alter != nil {
		alter(job)
	}
	created, err := w.admin.BatchV1().Jobs(w.namespace).Create(w.ctx, job, metav1.CreateOptions{FieldManager: "kubectl-create"})
	w.must(err)
	return created
}

// deny makes a policy that isolates all pods of the namespace.
func (w *world) deny() {
	w.Helper()
	_, err := w.admin.NetworkingV1().NetworkPolicies(w.namespace).Create(w.ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "default-deny"},
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}}}, metav1.CreateOptions{FieldManager: "kubectl-create"})
	w.must(err)
}

func (w *world) target(name string) incident.Target {
	return incident.Target{Cluster: "lab", Namespace: w.namespace, Kind: "Job", Name: name}
}

// pods waits until the job has so many pods.
func (w *world) pods(job string, count int) []corev1.Pod {
	w.Helper()
	var pods []corev1.Pod
	w.until(fmt.Sprintf("job %s has %d pods", job, count), func() bool {
		list, err := w.admin.CoreV1().Pods(w.namespace).List(w.ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
		w.must(err)
		pods = list.Items
		return len(pods) == count
	})
	return pods
}

// until polls for what another controller brings about.
func (w *world) until(what string, holds func() bool) {
	w.Helper()
	for range 300 {
		if holds() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.Fatalf("waited in vain until %s", what)
}

// workload resolves the job once all of its pods run, and returns the evidence.
func (w *world) workload(job *batchv1.Job) incident.EvidenceRef {
	w.Helper()
	w.until("all ranks of "+job.Name+" run", func() bool {
		for _, pod := range w.pods(job.Name, int(*job.Spec.Parallelism)) {
			if pod.Status.Phase != corev1.PodRunning {
				return false
			}
		}
		return true
	})
	found, err := w.hands.ResolveTarget(w.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: w.target(job.Name), Fabric: fabric})
	w.must(err)
	if !found.Found || !found.Supported || found.Summary.Ranks != int(*job.Spec.Parallelism) {
		w.Fatalf("resolved %+v (%s)", found.Summary, found.Why)
	}
	return found.Workload
}

// job reads the job as a map without what the server changes by itself.
func (w *world) job(name string) map[string]any {
	w.Helper()
	live, err := w.dynamic.Resource(batchv1.SchemeGroupVersion.WithResource("jobs")).Namespace(w.namespace).Get(w.ctx, name, metav1.GetOptions{})
	w.must(err)
	delete(live.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(live.Object, "metadata", field)
	}
	return live.Object
}

// patchJob is somebody else's edit.
func (w *world) patchJob(name, patch string) {
	w.Helper()
	_, err := w.admin.BatchV1().Jobs(w.namespace).Patch(w.ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
	w.must(err)
}

func (w *world) policies() []string {
	w.Helper()
	list, err := w.admin.NetworkingV1().NetworkPolicies(w.namespace).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	var names []string
	for _, policy := range list.Items {
		names = append(names, policy.Name)
	}
	return names
}

// memoryStore keeps evidence by content, and fails as a real store does when
// it is asked for what it never got.
type memoryStore struct {
	mu      sync.Mutex
	content map[string][]byte
	names   []string
}

func (s *memoryStore) Put(_ context.Context, name string, content io.Reader) (incident.EvidenceRef, error) {
	data, err := io.ReadAll(content)
	if err != nil {
		return incident.EvidenceRef{}, err
	}
	sum := sha256.Sum256(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content[hex.EncodeToString(sum[:])] = data
	s.names = append(s.names, name)
	return incident.EvidenceRef{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}, nil
}

func (s *memoryStore) Open(_ context.Context, ref incident.EvidenceRef) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.content[ref.SHA256]
	if !ok {
		return nil, incident.Faultf(incident.Missing, nil, "opening %s", ref.Name)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// leaks says whether anything that was stored holds a text.
func (s *memoryStore) leaks(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, data := range s.content {
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

func (s *memoryStore) holds(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.names, "\n"), name)
}
