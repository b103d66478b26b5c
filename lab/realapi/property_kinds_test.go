package realapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"gpumedic/incident"
	"gpumedic/lab/crds"
	"gpumedic/steps"
)

const trainerContainer = `{name: trainer, image: "lab.gpumedic.io/train:1", resources: {limits: {nvidia.com/gpu: "1"}}, env: [{name: TOKEN, value: ` + secret + `}]}`

// otherKinds are the kinds beside Job whose template is changed, and an object
// of each. No operator runs: what their controllers would do with it is not seen
// here. StatefulSet and Deployment have their real ones.
var otherKinds = map[schema.GroupVersionResource]string{
	{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"}: `
kind: JobSet
spec:
  replicatedJobs:
    - {name: trainer, template: {spec: {template: {spec: {restartPolicy: Never, containers: [` + trainerContainer + `]}}}}}`,
	{Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"}: `
kind: PyTorchJob
spec:
  pytorchReplicaSpecs:
    Master: {replicas: 1, template: {spec: {containers: [` + trainerContainer + `]}}}
    Worker: {replicas: 2, template: {spec: {containers: [` + trainerContainer + `]}}}`,
	{Group: "kubeflow.org", Version: "v2beta1", Resource: "mpijobs"}: `
kind: MPIJob
spec:
  mpiReplicaSpecs:
    Launcher: {replicas: 1, template: {spec: {containers: [{name: launcher, image: "lab.gpumedic.io/train:1"}]}}}
    Worker: {replicas: 2, template: {spec: {containers: [` + trainerContainer + `]}}}`,
	{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"}: `
kind: TrainJob
spec:
  runtimeRef: {name: torch-distributed}
  trainer: {numNodes: 2, env: [{name: TOKEN, value: ` + secret + `}]}`,
	{Group: "ray.io", Version: "v1", Resource: "rayjobs"}: `
kind: RayJob
spec:
  entrypoint: python train.py
  rayClusterSpec:
    headGroupSpec: {rayStartParams: {}, template: {spec: {containers: [{name: head, image: "lab.gpumedic.io/train:1"}]}}}
    workerGroupSpecs:
      - {groupName: gpus, replicas: 2, minReplicas: 2, maxReplicas: 2, rayStartParams: {}, template: {spec: {containers: [` + trainerContainer + `]}}}`,
	{Group: "apps", Version: "v1", Resource: "statefulsets"}: `
kind: StatefulSet
spec:
  serviceName: x
  replicas: 1
  selector: {matchLabels: {app: x}}
  template: {metadata: {labels: {app: x}}, spec: {containers: [` + trainerContainer + `]}}`,
	{Group: "apps", Version: "v1", Resource: "deployments"}: `
kind: Deployment
spec:
  replicas: 1
  selector: {matchLabels: {app: z}}
  template: {metadata: {labels: {app: z}}, spec: {containers: [` + trainerContainer + `]}}`,
}

// ofKind is an object of another kind on its way there and back.
type ofKind struct {
	*trial
	client dynamic.ResourceInterface
	target incident.Target
}

// TestPropertyOtherKinds: applied twice is once, undone is as before, and killed
// at any write and tried again ends the same, for every kind.
func TestPropertyOtherKinds(t *testing.T) {
	installKinds(t)
	for resource, text := range otherKinds {
		t.Run(resource.Resource, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := &ofKind{trial: &trial{world: w, propertyCase: propertyCase{remedy: steps.SetAllocator}}, client: w.dynamic.Resource(resource).Namespace(w.namespace)}
			k.create(resource, text)
			before := k.object()
			after := k.thereAndBack(before, nil, 0, false)
			for n, died := 1, true; died; n++ {
				died = false
				for _, lost := range []bool{false, true} {
					k.thereAndBack(before, after, n, lost)
					died = died || k.name == "died"
				}
			}
		})
	}
}

// installKinds installs the published definitions until the test ends: other tests
// of the shared control plane want it without them, or with their own.
func installKinds(t *testing.T) {
	t.Helper()
	if err := crds.Install(t.Context(), control); err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(control.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	definitions := objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own has ended
		defer cancel()
		for resource := range otherKinds {
			if resource.Group == "apps" {
				continue
			}
			name := resource.Resource + "." + resource.Group
			err := definitions.Delete(ctx, name, metav1.DeleteOptions{})
			for err == nil { // until it is gone
				time.Sleep(50 * time.Millisecond)
				_, err = definitions.Get(ctx, name, metav1.GetOptions{})
			}
			if !apierrors.IsNotFound(err) {
				t.Errorf("removing the definition %s: %v", name, err)
			}
		}
	})
}

func (k *ofKind) create(resource schema.GroupVersionResource, text string) {
	k.Helper()
	var object unstructured.Unstructured
	k.must(yaml.Unmarshal([]byte(text), &object.Object))
	object.SetAPIVersion(resource.GroupVersion().String())
	object.SetName("x")
	k.target = incident.Target{Cluster: "lab", Namespace: k.namespace, Kind: object.GetKind(), Name: "x"}
	_, err := k.client.Create(k.ctx, &object, metav1.CreateOptions{FieldManager: "kubectl-create", FieldValidation: metav1.FieldValidationStrict})
	k.must(err)
}

// object is the object without what the server sets, and the marks that every
// change leaves: an explicit false where suspension was not told.
func (k *ofKind) object() map[string]any {
	k.Helper()
	live, err := k.client.Get(k.ctx, "x", metav1.GetOptions{})
	k.must(err)
	delete(live.Object, "status")
	for _, field := range []string{"uid", "creationTimestamp", "managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(live.Object, "metadata", field)
	}
	annotations := without(live.GetAnnotations(), steps.OperationAnnotation, "deployment.kubernetes.io/revision")
	unstructured.RemoveNestedField(live.Object, "metadata", "annotations")
	if len(annotations) > 0 {
		live.SetAnnotations(annotations)
	}
	for _, path := range [][]string{{"spec", "suspend"}, {"spec", "runPolicy", "suspend"}} {
		if value, _, _ := unstructured.NestedBool(live.Object, path...); !value {
			unstructured.RemoveNestedField(live.Object, path...)
		}
	}
	if policy, _, _ := unstructured.NestedMap(live.Object, "spec", "runPolicy"); len(policy) == 0 {
		unstructured.RemoveNestedField(live.Object, "spec", "runPolicy")
	}
	return live.Object
}

// thereAndBack plans, changes and undoes, by hands that die at the n-th write of
// both; 0 is never. It returns the changed object.
func (k *ofKind) thereAndBack(before, want map[string]any, n int, lost bool) map[string]any {
	k.Helper()
	k.operation, k.name = fmt.Sprintf("%s@%d%t/%s", incidentID, n, lost, k.remedy), "lived"
	found, err := k.hands.ResolveTarget(k.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: k.target, Fabric: fabric})
	k.must(err)
	result, err := k.hands.PlanRemedy(k.ctx, steps.PlanRemedyParams{Incident: incidentID, Remedy: k.remedy, Risk: incident.RiskMedium, Workload: found.Workload, Fabric: fabric})
	k.must(err)
	if !result.Possible || !strings.Contains(result.Plan.Diff, "expandable_segments:True") || k.store.leaks(secret) {
		k.Fatalf("plan %t (%s), a secret leaks %t, diff:\n%s", result.Possible, result.WhyNot, k.store.leaks(secret), result.Plan.Diff)
	}
	k.plan = result.Plan
	k.same(before, k.object(), true, "planned")
	k.snapshot, k.stops = k.world.snapshot(k.plan), k.plan.Restart
	k.stop()
	k.cutAndTried(steps.ApplyChange, n, lost)
	got := k.object()
	if want != nil {
		k.same(want, got, true, "killed at write %d (written: %t) and tried again", n, lost)
	}
	k.same(before, got, false, "the change changes nothing")
	k.cutAndTried(steps.UndoChange, n, lost)
	k.start()
	k.same(before, k.object(), true, "undone after being killed at write %d (written: %t)", n, lost)
	return got
}

// cutAndTried performs a step by a hand that dies, and twice by one that lives.
func (k *ofKind) cutAndTried(step string, n int, lost bool) {
	k.Helper()
	if n > 0 && k.kill(n, lost, step) {
		k.name = "died"
	}
	k.must(k.perform(k.hands, step))
	k.must(k.perform(k.hands, step))
}
