package realapi

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gpumedic/steps"
)

// trainerContainer is one that every template remedy finds something in.
const trainerContainer = `{name: pytorch, image: "lab.gpumedic.io/train:1", args: ["--batch-size=8"],
      resources: {limits: {nvidia.com/gpu: "1", memory: 4Gi}},
      volumeMounts: [{name: dataset, mountPath: /data, readOnly: true}],
      env: [{name: GRAD_ACCUM, value: "2"}, {name: TOKEN, value: ` + secret + `}]}`

const trainerPod = `containers: [` + trainerContainer + `], volumes: [{name: dataset, persistentVolumeClaim: {claimName: corpus, readOnly: true}}]`

// otherKinds are the kinds beside Job whose template is changed, and an object
// of each. No operator runs: what their controllers would do with it is not seen
// here. StatefulSet and Deployment have their real ones.
var otherKinds = map[schema.GroupVersionResource]string{
	{Group: "jobset.x-k8s.io", Version: "v1alpha2", Resource: "jobsets"}: `
kind: JobSet
spec:
  replicatedJobs:
    - {name: trainer, template: {spec: {template: {spec: {restartPolicy: Never, ` + trainerPod + `}}}}}`,
	{Group: "kubeflow.org", Version: "v1", Resource: "pytorchjobs"}: `
kind: PyTorchJob
spec:
  pytorchReplicaSpecs:
    Master: {replicas: 1, template: {spec: {` + trainerPod + `}}}
    Worker: {replicas: 2, template: {spec: {` + trainerPod + `}}}`,
	{Group: "kubeflow.org", Version: "v2beta1", Resource: "mpijobs"}: `
kind: MPIJob
spec:
  mpiReplicaSpecs:
    Launcher: {replicas: 1, template: {spec: {containers: [{name: launcher, image: "lab.gpumedic.io/train:1"}]}}}
    Worker: {replicas: 2, template: {spec: {` + trainerPod + `}}}`,
	{Group: "trainer.kubeflow.org", Version: "v1alpha1", Resource: "trainjobs"}: `
kind: TrainJob
spec:
  runtimeRef: {name: torch-distributed}
  trainer: {numNodes: 2, args: ["--batch-size=8"], env: [{name: GRAD_ACCUM, value: "2"}, {name: TOKEN, value: ` + secret + `}]}`,
	{Group: "ray.io", Version: "v1", Resource: "rayjobs"}: `
kind: RayJob
spec:
  entrypoint: python train.py
  shutdownAfterJobFinishes: true
  rayClusterSpec:
    headGroupSpec: {rayStartParams: {}, template: {spec: {containers: [{name: head, image: "lab.gpumedic.io/train:1"}]}}}
    workerGroupSpecs:
      - {groupName: gpus, replicas: 2, minReplicas: 2, maxReplicas: 2, rayStartParams: {}, template: {spec: {` + trainerPod + `}}}`,
	{Group: "apps", Version: "v1", Resource: "statefulsets"}: `
kind: StatefulSet
spec:
  serviceName: x
  replicas: 1
  selector: {matchLabels: {app: x}}
  template: {metadata: {labels: {app: x}}, spec: {` + trainerPod + `}}`,
	{Group: "apps", Version: "v1", Resource: "deployments"}: `
kind: Deployment
spec:
  replicas: 1
  selector: {matchLabels: {app: z}}
  template: {metadata: {labels: {app: z}}, spec: {` + trainerPod + `}}`,
}

// kindCase is one remedy that changes the pod template, tried on every kind.
type kindCase struct {
	// verb is how kinds that roll their pods are changed: "apply" what nobody has
	// set, "edit" what kubectl has set. All others are replaced.
	verb string
	// theirs is what somebody else writes over ours.
	ours, theirs string
	// whyNot is the reason against it on kinds that keep their template elsewhere.
	whyNot map[string]string
}

const elsewhere = "described in its runtime"

var kindCases = map[string]kindCase{
	steps.SetAllocator: {verb: "apply", ours: "expandable_segments:True", theirs: "expandable_segments:False"},
	steps.TurnKnobs:    {verb: "edit", ours: `"name":"GRAD_ACCUM","value":"4"`, theirs: `"name":"GRAD_ACCUM","value":"99"`},
	steps.RaiseMemory: {verb: "edit", ours: `"memory":"6Gi"`, theirs: `"memory":"77Gi"`,
		whyNot: map[string]string{"TrainJob": "has no memory limit"}},
	steps.RaiseShm: {verb: "edit", ours: `"sizeLimit":"1Gi"`, theirs: `"sizeLimit":"33Gi"`,
		whyNot: map[string]string{"TrainJob": elsewhere}},
	steps.CacheDataset: {verb: "apply", ours: `"name":"CACHE_DIR","value":"/var/cache/gpumedic/dataset"`, theirs: `"name":"CACHE_DIR","value":"/theirs"`,
		whyNot: map[string]string{"TrainJob": elsewhere}},
	steps.FasterStorage: {verb: "edit", ours: `"claimName":"gpumedic-corpus-`, theirs: `"claimName":"theirs-`,
		whyNot: map[string]string{"TrainJob": elsewhere}},
	steps.LargerGPU: {verb: "apply", ours: `"nvidia.com/gpu.product":"NVIDIA-H200"`, theirs: `"nvidia.com/gpu.product":"NVIDIA-B200"`,
		whyNot: map[string]string{"TrainJob": elsewhere}},
}

// verbOf is the verb by which an object of a kind is changed.
func (c kindCase) verbOf(kind string) string {
	if kind == "Deployment" || kind == "StatefulSet" {
		return c.verb
	}
	return "replace"
}
