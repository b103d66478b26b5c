package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"gpumedic/incident"
	"gpumedic/lab/kubelet"
)

// decode turns manifests into typed objects; an unknown or repeated field fails.
func decode(t *testing.T, manifests []byte) []runtime.Object {
	t.Helper()
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for i, doc := range strings.Split(string(manifests), "\n---\n") {
		o, _, err := strict.Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatalf("document %d: %v\n%s", i, err, doc)
		}
		objects = append(objects, o)
	}
	return objects
}

// find returns the one object of a type.
func find[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	for _, o := range objects {
		if found, ok := o.(T); ok {
			return found
		}
	}
	t.Fatalf("no %T in the manifests", *new(T))
	panic("unreachable")
}

func all(t *testing.T) []Scenario {
	t.Helper()
	list, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEveryScenarioIsWholeAndStrict(t *testing.T) {
	var names []string
	for _, s := range all(t) {
		t.Run(s.Name, func(t *testing.T) {
			names = append(names, s.Name)
			objects := decode(t, s.Manifests)
			if _, ok := objects[0].(*corev1.Namespace); !ok {
				t.Errorf("first object is %T, want the namespace", objects[0])
			}
			if _, ok := objects[len(objects)-1].(*batchv1.Job); !ok {
				t.Errorf("last object is %T, want the job", objects[len(objects)-1])
			}
			job := find[*batchv1.Job](t, objects)
			if job.Namespace != Namespace || job.Name != Job || int(*job.Spec.Parallelism) != s.Ranks || int(*job.Spec.Completions) != s.Ranks {
				t.Errorf("job %s/%s of %d ranks", job.Namespace, job.Name, *job.Spec.Parallelism)
			}
			if svc := find[*corev1.Service](t, objects); svc.Name != job.Spec.Template.Spec.Subdomain || svc.Spec.ClusterIP != corev1.ClusterIPNone {
				t.Errorf("service %s with cluster IP %q gives the ranks of subdomain %q no names", svc.Name, svc.Spec.ClusterIP, job.Spec.Template.Spec.Subdomain)
			}
			if err := s.Faults.Check(); err != nil {
				t.Error(err)
			}
			checkSize(t, s, job)
			checkStory(t, s)
		})
	}
	want := []string{"nccl-policy", "nccl-rdma-fallback", "nccl-policy-denied", "nccl-policy-useless", "nccl-peer-died", "nccl-wrong-interface", "false-alarm", "crash"}
	for _, name := range []string{"fragmentation", "capacity-knob", "capacity-no-knob", "capacity-larger-gpu", "foreign-process", "host-limit", "shm", "leak", "allocator-useless", "behind-nccl"} {
		want = append(want, "oom-"+name)
	}
	for _, name := range []string{"loader", "slow-storage", "copy-fails", "mount-failure", "cold-cache", "metrics-missing", "false-alarm"} {
		want = append(want, "dataset-"+name)
	}
	for _, size := range []string{"", "-64"} {
		for _, name := range []string{"bad-node", "slow-node", "flaky-node", "leaf-uplink", "two-bad-nodes"} {
			want = append(want, "nccl-"+name+size)
		}
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("scenarios (-want +got):\n%s", diff)
	}
}

// checkSize: the ranks know how many they are, one leaf switch is spare, and
// what is at fault is where the ranks are.
func checkSize(t *testing.T, s Scenario, job *batchv1.Job) {
	t.Helper()
	container := job.Spec.Template.Spec.Containers[0]
	world := corev1.EnvVar{Name: "NNODES", Value: fmt.Sprint(s.Ranks)}
	if !slices.Contains(container.Env, world) {
		t.Errorf("the ranks are told %v, want %v", container.Env, world)
	}
	if s.Ranks == Ranks {
		return
	}
	topology := s.Topology
	perLeaf := topology.Nodes / topology.Leafs
	if topology.Nodes-s.Ranks != perLeaf || topology.Nodes%topology.Leafs != 0 || topology.Leafs < 4 {
		t.Errorf("%d ranks on %d nodes under %d leaf switches; want several, one of them spare", s.Ranks, topology.Nodes, topology.Leafs)
	}
	var leafs []string
	for _, f := range s.Faults.NodeFaults {
		n := -1
		for i := range s.Ranks {
			if kubelet.NodeName(i) == f.Node {
				n = i
			}
		}
		if n < 0 || !slices.Contains(s.Expect.Isolated, f.Node) {
			t.Errorf("node %s is at fault, and not expected to be isolated or without a rank", f.Node)
		}
		leafs = append(leafs, kubelet.LeafName(n/perLeaf))
	}
	if slices.Sort(leafs); len(slices.Compact(leafs)) != len(s.Faults.NodeFaults) {
		t.Errorf("bad nodes share a leaf switch: %v", leafs)
	}
}

func checkStory(t *testing.T, s Scenario) {
	t.Helper()
	if s.Title == "" || s.Story == "" || s.Alert["alertname"] == "" || s.Alert["namespace"] != Namespace || s.Alert["job_name"] != Job {
		t.Errorf("title, story or alert is incomplete: %+v", s)
	}
	if s.Answer != Approve && s.Answer != Deny || !slices.Contains([]Settle{UntilFailing, UntilTraining, UntilMounting}, s.SettleUntil) {
		t.Errorf("answer %q, settle until %q", s.Answer, s.SettleUntil)
	}
	e := s.Expect
	acted := e.Outcome == incident.Resolved || e.Outcome == incident.RolledBack
	if acted != (e.Changes > 0) || acted && s.Answer != Approve || e.Undone != (e.Outcome == incident.RolledBack) {
		t.Errorf("outcome %s with answer %s, %d changes, undone %v", e.Outcome, s.Answer, e.Changes, e.Undone)
	}
	if e.ClusterUnchanged == (e.Outcome == incident.Resolved) {
		t.Errorf("outcome %s and cluster unchanged %v", e.Outcome, e.ClusterUnchanged)
	}
	nothing, nobody := e.FailureCase == incident.NoneOfThese, e.RootCause == "" || e.RootCause == incident.UnknownCause
	if nothing != (e.RootCause == "") || nobody != (e.BlamedKind == "") {
		t.Errorf("failure case %s, root cause %q, blamed %q", e.FailureCase, e.RootCause, e.BlamedKind)
	}
}

func TestWhatScenariosChange(t *testing.T) {
	trainer := func(name string) corev1.Container {
		s, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return find[*batchv1.Job](t, decode(t, s.Manifests)).Spec.Template.Spec.Containers[0]
	}
	healthy, fallback, wrong := trainer("false-alarm"), trainer("nccl-rdma-fallback"), trainer("nccl-wrong-interface")

	if q := healthy.Resources.Limits["rdma/hca_shared_devices_a"]; q.Value() != 1 {
		t.Errorf("healthy job asks for %v RDMA devices, want 1", q.Value())
	}
	if diff := cmp.Diff(withoutRDMA(healthy), fallback); diff != "" {
		t.Errorf("nccl-rdma-fallback takes away more than the RDMA device (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(len(healthy.Env)+1, len(wrong.Env)); diff != "" {
		t.Errorf("nccl-wrong-interface: number of variables (-want +got):\n%s", diff)
	}
	s, _ := Find("nccl-policy")
	policies := 0
	for _, o := range decode(t, s.Manifests) {
		if _, ok := o.(*netv1.NetworkPolicy); ok {
			policies++
		}
	}
	if policies != 3 {
		t.Errorf("nccl-policy has %d policies, want 3", policies)
	}
}

func withoutRDMA(c corev1.Container) corev1.Container {
	c = *c.DeepCopy()
	delete(c.Resources.Limits, "rdma/hca_shared_devices_a")
	return c
}

func TestFindNamesWhatThereIs(t *testing.T) {
	_, err := Find("nccl-polcy")
	if err == nil || !strings.Contains(err.Error(), `no scenario "nccl-polcy"; there are nccl-policy, `) {
		t.Errorf("error %v", err)
	}
}

func TestIdentifyRefusesWhatItCannotPlace(t *testing.T) {
	for name, text := range map[string]string{
		"not YAML":     "a: [",
		"no kind":      "apiVersion: v1\nmetadata: {name: x}",
		"no name":      "apiVersion: v1\nkind: Service",
		"key repeated": "apiVersion: v1\nkind: Service\nkind: Pod\nmetadata: {name: x}",
	} {
		if _, err := documents([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "document 1: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
