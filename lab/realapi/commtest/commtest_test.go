package commtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"gpumedic/activities/commtest"
	"gpumedic/incident"
	"gpumedic/lab/cluster"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
	"gpumedic/steps"
)

const namespace = "training"

// admin plays everybody else; worker may do what deploy/rbac.yaml says.
var (
	admin, worker               kubernetes.Interface
	adminObjects, workerObjects dynamic.Interface
)

func TestMain(m *testing.M) {
	code, err := withLab(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withLab starts a control plane, nodes and the fault model around the tests.
func withLab(tests func() int) (code int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "gpumedic-commtest")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	control, err := cluster.Start(ctx, cluster.Options{Dir: dir, Binary: controlPlane()})
	if err != nil {
		return 1, err
	}
	defer control.Stop()
	config := control.RESTConfig()
	config.QPS = -1
	if admin, err = kubernetes.NewForConfig(config); err != nil {
		return 1, err
	}
	if adminObjects, err = dynamic.NewForConfig(config); err != nil {
		return 1, err
	}
	model, err := faults.Open(ctx, admin, faults.Options{})
	if err != nil {
		return 1, err
	}
	defer model.Close()
	defer cancel() // the model's watches end with it
	certificate, err := control.Certificate()
	if err != nil {
		return 1, err
	}
	nodes, err := kubelet.Start(ctx, kubelet.Options{Config: config, Topology: kubelet.DefaultTopology(), Runner: ncclTests{model}, Certificate: certificate})
	if err != nil {
		return 1, err
	}
	defer nodes.Stop()
	if err := workerClients(ctx, control, config); err != nil {
		return 1, err
	}
	stopOperator, err := startOperator(ctx)
	if err != nil {
		return 1, err
	}
	defer stopOperator()
	return tests(), nil
}

func controlPlane() string {
	if path := os.Getenv("GPUMEDIC_CONTROLPLANE"); path != "" {
		return path
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "bin", "gpumedic-controlplane"))
	if err != nil {
		return "" // the cluster then says what is missing
	}
	return path
}

// workerClients deploys the worker's roles and takes its place.
func workerClients(ctx context.Context, control *cluster.Cluster, config *rest.Config) error {
	stream := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + namespace + "\n"
	for _, file := range []string{"../../../deploy/rbac.yaml", filepath.Join("testdata", "mpijob-crd.yaml")} {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		stream += "---\n" + string(data)
	}
	if err := control.Apply(ctx, []byte(stream)); err != nil {
		return err
	}
	request := &authenticationv1.TokenRequest{}
	token, err := admin.CoreV1().ServiceAccounts("gpumedic").CreateToken(ctx, "gpumedic-worker", request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	own := rest.AnonymousClientConfig(config)
	own.BearerToken = token.Status.Token
	if worker, err = kubernetes.NewForConfig(own); err != nil {
		return err
	}
	workerObjects, err = dynamic.NewForConfig(own)
	return err
}

// memory keeps evidence by name.
type memory struct {
	mu    sync.Mutex
	files map[string]string
}

func (m *memory) Put(_ context.Context, name string, content io.Reader) (incident.EvidenceRef, error) {
	data, err := io.ReadAll(content)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[string]string{}
	}
	m.files[name] = string(data)
	return incident.EvidenceRef{Name: name, Bytes: int64(len(data))}, err
}

func (m *memory) Open(_ context.Context, ref incident.EvidenceRef) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, found := m.files[ref.Name]
	if !found {
		return nil, errors.New("no evidence " + ref.Name)
	}
	return io.NopCloser(strings.NewReader(data)), nil
}

// group is a test over nodes of both leafs; the deadlines are the lab's.
func group(name string, nodes ...string) steps.RunCommTestParams {
	return steps.RunCommTestParams{
		Incident: "incident/lab/training/job/llama-70b", Name: name, Namespace: namespace,
		Group: incident.Group{ID: "r1-g1", Nodes: nodes},
		Settings: incident.CommTestSettings{
			Image: "lab.gpumedic.io/commtest:1", GPUsPerNode: 4, Resources: map[string]string{"rdma/hca_shared_devices_a": "1"},
			ExpectedBusBWGBps: 370, SlowBelow: 0.5, MaxBytes: 1 << 30, StartDeadline: 30 * time.Second, Deadline: 30 * time.Second,
		},
		PodLabels: map[string]string{"app": "llama-70b"},
	}
}

// run runs a test and cleans up after it, whatever happens.
func run(t *testing.T, p steps.RunCommTestParams) (steps.RunCommTestResult, *memory) {
	t.Helper()
	kept := &memory{}
	hands := &commtest.Hands{Kube: worker, Dynamic: workerObjects, Store: kept}
	t.Cleanup(func() { clean(t, p) })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	result, err := hands.RunCommTest(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return result, kept
}

func clean(t *testing.T, p steps.RunCommTestParams) {
	t.Helper()
	hands := &commtest.Hands{Kube: worker, Dynamic: workerObjects}
	params := steps.CleanCommTestParams{Incident: p.Incident, Namespace: p.Namespace, Names: []string{p.Name}}
	if _, err := hands.CleanCommTest(context.Background(), params); err != nil {
		t.Error(err)
	}
	gone := func() (string, bool) { return leftovers(t, p.Name) }
	if left := eventually(gone); left != "" {
		t.Errorf("the cluster did not collect %s", left)
	}
}

// eventually asks until the answer is yes, and gives the last complaint else.
// The garbage collector learns of a new kind of owner within half a minute.
func eventually(ask func() (string, bool)) string {
	complaint := ""
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var done bool
		if complaint, done = ask(); done {
			return ""
		}
	}
	return complaint
}

func leftovers(t *testing.T, name string) (string, bool) {
	t.Helper()
	ctx := context.Background()
	pods, err := admin.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: commtest.TestLabel + "=true"})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, pod := range pods.Items {
		if strings.HasPrefix(pod.Name, name+"-") {
			left = append(left, "pod "+pod.Name)
		}
	}
	if _, err := admin.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
		left = append(left, "job")
	}
	if _, err := adminObjects.Resource(mpiJobs).Namespace(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
		left = append(left, "mpijob")
	}
	if _, err := admin.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
		left = append(left, "service")
	}
	if _, err := admin.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
		left = append(left, "config map")
	}
	return strings.Join(left, ", "), len(left) == 0
}

// placesOf are the nodes of the pods that a selector finds, sorted.
func placesOf(t *testing.T, selector string) []string {
	t.Helper()
	pods, err := admin.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	var places []string
	for _, pod := range pods.Items {
		places = append(places, pod.Spec.NodeName)
	}
	slices.Sort(places)
	return places
}

func TestAGroupLandsOnExactlyItsNodes(t *testing.T) {
	p := group("ct-place", "gpu-02", "gpu-07", "gpu-11")
	result, kept := run(t, p)
	outcome := result.Outcome
	if outcome.Result != incident.TestPass || outcome.Transport != "IB" || !outcome.Simulated {
		t.Errorf("got %s over %q, simulated %v: %s", outcome.Result, outcome.Transport, outcome.Simulated, outcome.Why)
	}
	if diff := cmp.Diff(p.Group.Nodes, placesOf(t, batchv1.JobNameLabel+"="+p.Name)); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	if len(kept.files) != 4 || result.Index.Name != "commtest/ct-place/index.json" {
		t.Errorf("kept %d files, index %q", len(kept.files), result.Index.Name)
	}
	t.Logf("%s; took %s", outcome.Why, outcome.EndedAt.Sub(outcome.StartedAt))
}

func TestOneNode(t *testing.T) {
	result, _ := run(t, group("ct-one", "gpu-05"))
	if result.Outcome.Result != incident.TestPass || !strings.Contains(result.Outcome.Why, "says nothing about the network") {
		t.Errorf("got %s: %s", result.Outcome.Result, result.Outcome.Why)
	}
}

func TestWithoutRDMAItIsSlow(t *testing.T) {
	p := group("ct-slow", "gpu-02", "gpu-07")
	p.Settings.Resources = nil
	result, _ := run(t, p)
	if result.Outcome.Result != incident.TestFail || result.Outcome.Transport != "Socket" || !strings.Contains(result.Outcome.Why, "slow") {
		t.Errorf("got %s over %q: %s", result.Outcome.Result, result.Outcome.Transport, result.Outcome.Why)
	}
}

func TestBlockedByDefaultDeny(t *testing.T) {
	deny := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "default-deny"}, Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	}}
	policies := admin.NetworkingV1().NetworkPolicies(namespace)
	if _, err := policies.Create(context.Background(), deny, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := policies.Delete(context.Background(), deny.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	p := group("ct-deny", "gpu-01", "gpu-08", "gpu-09")
	result, kept := run(t, p)
	if result.Outcome.Result != incident.TestFail {
		t.Errorf("got %s: %s", result.Outcome.Result, result.Outcome.Why)
	}
	if diff := cmp.Diff(p.Group.Nodes, result.Outcome.FailedNodes); diff != "" {
		t.Errorf("failed nodes (-want +got):\n%s\n%s", diff, kept.files["commtest/ct-deny/rank-000.log"])
	}
	t.Logf("%s; took %s", result.Outcome.Why, result.Outcome.EndedAt.Sub(result.Outcome.StartedAt))
}

func TestUnschedulable(t *testing.T) {
	p := group("ct-room", "gpu-03", "gpu-04")
	p.Settings.GPUsPerNode, p.Settings.StartDeadline = 9, 3*time.Second
	result, _ := run(t, p)
	if result.Outcome.Result != incident.TestError || !strings.Contains(result.Outcome.Why, "nvidia.com/gpu") {
		t.Errorf("got %s: %s", result.Outcome.Result, result.Outcome.Why)
	}
}

// TestASecondAttemptJoins: the first attempt's worker is gone in the middle.
func TestASecondAttemptJoins(t *testing.T) {
	p := group("ct-join", "gpu-02", "gpu-12")
	first, kill := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := (&commtest.Hands{Kube: worker, Store: &memory{}}).RunCommTest(first, p)
		done <- err
	}()
	var job *batchv1.Job
	missing := eventually(func() (string, bool) {
		var err error
		job, err = admin.BatchV1().Jobs(namespace).Get(context.Background(), p.Name, metav1.GetOptions{})
		return "the first attempt's job", err == nil
	})
	kill()
	if err := <-done; missing != "" || err == nil {
		t.Fatalf("the first attempt was not killed in the middle: %s, error %v", missing, err)
	}
	result, _ := run(t, p)
	if result.Outcome.Result != incident.TestPass {
		t.Errorf("second attempt: %s: %s", result.Outcome.Result, result.Outcome.Why)
	}
	again, err := admin.BatchV1().Jobs(namespace).Get(context.Background(), p.Name, metav1.GetOptions{})
	if err != nil || again.UID != job.UID {
		t.Errorf("the second attempt did not join the first one's Job (error %v)", err)
	}
}
