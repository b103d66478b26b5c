package crds

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"gpumedic/lab/cluster"
)

// start has a control plane with all definitions.
func start(t *testing.T) dynamic.Interface {
	t.Helper()
	binary, err := filepath.Abs(cmp.Or(os.Getenv("GPUMEDIC_CONTROLPLANE"), "../../bin/gpumedic-controlplane"))
	if err != nil {
		t.Fatal(err)
	}
	lab, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Stop)
	began := time.Now()
	if err := Install(t.Context(), lab); err != nil {
		t.Fatal(err)
	}
	t.Logf("all definitions are served %s after the control plane", time.Since(began).Round(10*time.Millisecond))
	return dynamic.NewForConfigOrDie(lab.RESTConfig())
}

// kinds are the resources and a small object of each, as an owner would write it.
var kinds = map[schema.GroupVersionResource]string{
	{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"}: `
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: small, namespace: default}
spec:
  replicatedJobs:
    - name: trainer
      template: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: trainer, image: "lab.gpumedic.io/train:1"}]}}}}`,
	{Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"}: `
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: small, namespace: default}
spec:
  pytorchReplicaSpecs:
    Worker: {replicas: 2, template: {spec: {containers: [{name: pytorch, image: "lab.gpumedic.io/train:1"}]}}}`,
	{Group: "kubeflow.org", Version: "v2beta1", Resource: "mpijobs"}: `
apiVersion: kubeflow.org/v2beta1
kind: MPIJob
metadata: {name: small, namespace: default}
spec:
  mpiReplicaSpecs:
    Launcher: {replicas: 1, template: {spec: {containers: [{name: launcher, image: "lab.gpumedic.io/train:1"}]}}}
    Worker: {replicas: 2, template: {spec: {containers: [{name: worker, image: "lab.gpumedic.io/train:1"}]}}}`,
	{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"}: `
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
metadata: {name: small, namespace: default}
spec:
  runtimeRef: {name: torch-distributed}
  trainer: {numNodes: 2, env: [{name: MICRO_BATCH, value: "4"}]}`,
	{Group: "ray.io", Version: "v1", Resource: "rayjobs"}: `
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: small, namespace: default}
spec:
  entrypoint: python train.py
  rayClusterSpec:
    headGroupSpec: {rayStartParams: {}, template: {spec: {containers: [{name: head, image: "lab.gpumedic.io/train:1"}]}}}`,
}

// TestPublishedKinds: the API server serves every kind, takes a good object,
// and refuses one that the schema does not know.
func TestPublishedKinds(t *testing.T) {
	client := start(t)
	if len(kinds) != len(Published) {
		t.Fatalf("%d kinds are tried, %d are published", len(kinds), len(Published))
	}
	for resource, text := range kinds {
		t.Run(resource.Resource, func(t *testing.T) {
			objects := client.Resource(resource).Namespace("default")
			var object unstructured.Unstructured
			if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
				t.Fatal(err)
			}
			if _, err := objects.Create(t.Context(), &object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
				t.Fatal(err)
			}
			object.SetName("broken")
			if err := unstructured.SetNestedField(object.Object, "much", "spec", "unheardOf"); err != nil {
				t.Fatal(err)
			}
			_, err := objects.Create(t.Context(), &object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
			if err == nil || !strings.Contains(err.Error(), `unknown field "spec.unheardOf"`) {
				t.Errorf("a field that the schema does not know: %v", err)
			}
		})
	}
}

func TestHashIsPinned(t *testing.T) {
	forged := Published[0]
	forged.Sum = "h1:" + strings.Repeat("A", 43) + "="
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := forged.Definition(ctx); err == nil || !strings.Contains(err.Error(), "pinned is h1:AAA") {
		t.Errorf("a module with another hash: %v", err)
	}
}

func TestDescriptionsGoAndPropertiesStay(t *testing.T) {
	node := map[string]any{"description": "words", "properties": map[string]any{"description": map[string]any{"type": "string", "description": "words"}}}
	bare(node)
	inner := node["properties"].(map[string]any)["description"].(map[string]any)
	if _, words := node["description"]; words || inner["type"] != "string" || len(inner) != 1 {
		t.Errorf("left is %v", node)
	}
}
