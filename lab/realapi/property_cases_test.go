package realapi

import (
	"fmt"
	"math/rand/v2"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	declaredKnobs = `- {role: micro-batch, arg: --batch-size, type: int, min: 1, max: 64, constant: accumulation}
- {role: accumulation, env: GRAD_ACCUM, type: int, min: 1, max: 256}
`
	declaredCache = "- {role: cache-dir, env: CACHE_DIR, type: path, source: /data/images, size: 30Gi}\n"
)

var propertyCases = []propertyCase{
	{remedy: steps.SetAllocator, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true,
		object: func(random *rand.Rand, job *batchv1.Job) {
			if random.IntN(2) == 0 {
				setEnv(job, "PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128,roundup_power2_divisions:4")
			}
		},
		meddle: anew(func(job *batchv1.Job) { setEnv(job, "PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:False") })},
	{remedy: steps.TurnKnobs, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true,
		object: func(random *rand.Rand, job *batchv1.Job) {
			job.Annotations = map[string]string{incident.KnobAnnotation: declaredKnobs}
			batch := fmt.Sprint(2 << random.IntN(4))
			setEnv(job, "GRAD_ACCUM", fmt.Sprint(1+random.IntN(8)))
			trainer(job).Args = append(trainer(job).Args, [][]string{{"--batch-size=" + batch}, {"--batch-size", batch}}[random.IntN(2)]...)
		},
		meddle: anew(func(job *batchv1.Job) { setEnv(job, "GRAD_ACCUM", "99") })},
	{remedy: steps.RaiseMemory, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true,
		object: func(random *rand.Rand, job *batchv1.Job) { limitMemory(random, job) },
		meddle: anew(func(job *batchv1.Job) {
			trainer(job).Resources.Limits[corev1.ResourceMemory] = resource.MustParse("77Gi")
		})},
	{remedy: steps.RaiseShm, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true,
		object: func(random *rand.Rand, job *batchv1.Job) {
			if random.IntN(2) == 0 {
				limitMemory(random, job)
			}
			if random.IntN(2) == 0 {
				size := resource.MustParse("1Gi")
				job.Spec.Template.Spec.Volumes = append(job.Spec.Template.Spec.Volumes, corev1.Volume{Name: "dshm", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory", SizeLimit: &size}}})
				trainer(job).VolumeMounts = append(trainer(job).VolumeMounts, corev1.VolumeMount{Name: "dshm", MountPath: "/dev/shm"})
			}
		},
		meddle: anew(func(job *batchv1.Job) {
			for i, volume := range job.Spec.Template.Spec.Volumes {
				if volume.EmptyDir != nil && volume.EmptyDir.Medium == "Memory" {
					size := resource.MustParse("33Gi")
					job.Spec.Template.Spec.Volumes[i].EmptyDir.SizeLimit = &size
				}
			}
		})},
	{remedy: steps.LargerGPU, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true,
		params: func(_ *trial, params *steps.PlanRemedyParams) {
			params.Findings = []incident.Finding{{ID: incident.LargerGPUFree, State: incident.Yes, Value: "NVIDIA-H200"}}
		},
		meddle: anew(func(job *batchv1.Job) { job.Spec.Template.Spec.NodeSelector["nvidia.com/gpu.product"] = "NVIDIA-B200" })},
	{remedy: steps.CacheDataset, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true,
		object: func(random *rand.Rand, job *batchv1.Job) { coldCache(random, job) },
		meddle: anew(func(job *batchv1.Job) { job.Spec.Template.Spec.InitContainers[0].Args = []string{"theirs"} })},
	{remedy: steps.FasterStorage, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "replace", stops: true, prepares: true,
		object: func(random *rand.Rand, job *batchv1.Job) { onSlowClaim(random, job) },
		state:  func(p *trial, state map[string]any) { p.claimsAndCopies(state) },
		meddle: anew(func(job *batchv1.Job) {
			volumeNamed(job, "dataset").PersistentVolumeClaim.ClaimName = "corpus-of-theirs"
		})},
	{remedy: steps.FasterStorage, doing: steps.PrepareChange, undoing: steps.UndoChange, verb: "run",
		object: func(random *rand.Rand, job *batchv1.Job) { onSlowClaim(random, job) },
		state:  func(p *trial, state map[string]any) { p.claimsAndCopies(state) },
		meddle: func(p *trial) { p.editPrepared() }},
	{remedy: steps.RestoreRDMAResource, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "apply", stops: true,
		meddle: func(p *trial) {
			p.patchJob(p.name, `{"spec":{"template":{"spec":{"containers":[{"name":"trainer","resources":{"limits":{"`+rdmaResource+`":"3"},"requests":{"`+rdmaResource+`":"3"}}}]}}}}`)
		}},
	{remedy: steps.AllowJobTraffic, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "create", stops: true,
		object: func(_ *rand.Rand, job *batchv1.Job) {
			two := int32(2)
			job.Spec.Parallelism, job.Spec.Completions = &two, &two
		},
		state: func(p *trial, state map[string]any) { p.policySpecs(state) },
		meddle: func(p *trial) {
			_, err := p.admin.NetworkingV1().NetworkPolicies(p.namespace).Patch(p.ctx, p.plan.Changes[0].Name, types.JSONPatchType,
				[]byte(`[{"op":"replace","path":"/spec/ingress","value":[{}]}]`), metav1.PatchOptions{FieldManager: "somebody"})
			p.must(err)
		}},
	{remedy: steps.IsolateNode, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "isolate", stops: true,
		params: func(p *trial, params *steps.PlanRemedyParams) {
			params.Blamed = incident.Blamed{Kind: "node", Names: []string{p.aNode()}}
		},
		state: func(p *trial, state map[string]any) {
			for _, name := range p.plan.Nodes { // whichever node it is this time
				face := p.face(name)
				if len(p.node(name).Spec.Taints) > 0 || face["cordon"] == true {
					state["isolated"] = []any{face["cordon"], face["taints"]}
				}
			}
		},
		meddle: func(p *trial) {
			p.putBackAfterwards(p.plan.Nodes[0])
			p.patchNode(p.plan.Nodes[0], `{"spec":{"unschedulable":false}}`)
		}},
	{remedy: steps.StopForTest, doing: steps.SuspendWorkload, undoing: steps.ResumeWorkload,
		meddle: func(p *trial) {
			p.patchJob(p.name, `{"metadata":{"annotations":{"gpumedic.io/suspended-by":"somebody else"}}}`)
		}},
	{remedy: steps.ReplaceRank, doing: steps.ApplyChange, undoing: steps.UndoChange, verb: "evict",
		params: func(p *trial, params *steps.PlanRemedyParams) {
			params.Blamed = incident.Blamed{Kind: "rank", Names: []string{"0"}}
		},
		state: func(p *trial, state map[string]any) { // the evicted pod does not come back, and only it is gone
			if p.plan.Remedy == steps.ReplaceRank {
				_, err := p.admin.CoreV1().Pods(p.namespace).Get(p.ctx, p.plan.Changes[0].Name, metav1.GetOptions{})
				state["evicted"] = err != nil
			}
		}},
}

// aNode is a node of the trial's ranks.
func (p *trial) aNode() string {
	return p.pods(p.name, int(*p.jobOf(p.name).Spec.Parallelism))[0].Spec.NodeName
}

// randomJob alters a job in ways that no remedy may mind.
func randomJob(random *rand.Rand, job *batchv1.Job) {
	count := int32(1 + random.IntN(2))
	job.Spec.Parallelism, job.Spec.Completions = &count, &count
	job.Spec.Template.Spec.Containers[1].Resources.Limits["nvidia.com/gpu"] = resource.MustParse("1")
	if random.IntN(2) == 0 {
		job.Labels = map[string]string{"team": fmt.Sprint(random.IntN(9)), "a.b/c": "d"}
	}
	if random.IntN(2) == 0 {
		job.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}}
		job.Spec.Template.Spec.NodeSelector = map[string]string{"nvidia.com/gpu.present": "true"}
	}
	for i := range random.IntN(3) {
		setEnv(job, fmt.Sprintf("RANDOM_%d", i), fmt.Sprint(random.IntN(99)))
	}
	if random.IntN(2) == 0 {
		trainer(job).Args = []string{"--lr", "3e-4"}
		job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		trainer(job).VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	}
	if random.IntN(2) == 0 {
		containers := job.Spec.Template.Spec.Containers
		containers[0], containers[1] = containers[1], containers[0]
	}
}

func trainer(job *batchv1.Job) *corev1.Container {
	containers := job.Spec.Template.Spec.Containers
	return &containers[slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == "trainer" })]
}

func setEnv(job *batchv1.Job, name, value string) {
	c := trainer(job)
	for i := range c.Env {
		if c.Env[i].Name == name {
			c.Env[i].Value = value
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
}

func limitMemory(random *rand.Rand, job *batchv1.Job) {
	amount := resource.MustParse([]string{"4Gi", "3000Mi", "5e9", "64Gi"}[random.IntN(4)])
	trainer(job).Resources.Limits[corev1.ResourceMemory] = amount
	if random.IntN(2) == 0 {
		trainer(job).Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	}
}

// anew is how a person edits what the API server does not let be edited: delete,
// and create from the edited manifest, marks and all.
func anew(edit func(*batchv1.Job)) func(*trial) {
	return func(p *trial) {
		job, err := p.admin.BatchV1().Jobs(p.namespace).Get(p.ctx, p.name, metav1.GetOptions{})
		p.must(err)
		uid, foreground := job.UID, metav1.DeletePropagationForeground
		p.must(p.admin.BatchV1().Jobs(p.namespace).Delete(p.ctx, p.name, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &uid}}))
		edit(job)
		job.UID, job.ResourceVersion, job.ManagedFields, job.Spec.Selector, job.Status = "", "", nil, nil, batchv1.JobStatus{}
		job.Labels, job.Spec.Template.Labels = withoutJobLabels(job.Labels), withoutJobLabels(job.Spec.Template.Labels)
		p.until("the name is free", func() bool {
			_, err = p.admin.BatchV1().Jobs(p.namespace).Create(p.ctx, job, metav1.CreateOptions{FieldManager: "somebody"})
			return err == nil
		})
	}
}

func without(in map[string]string, keys ...string) map[string]string {
	out := map[string]string{}
	for name, value := range in {
		if !slices.Contains(keys, name) {
			out[name] = value
		}
	}
	return out
}

func withoutJobLabels(in map[string]string) map[string]string {
	return without(in, "controller-uid", "job-name", batchv1.ControllerUidLabel, batchv1.JobNameLabel)
}

// state is the trial's object without what the server sets, and whatever else
// the case looks at. The mark of an operation is not part of it.
func (p *trial) state() map[string]any {
	p.Helper()
	object := p.job(p.name)
	for _, field := range []string{"uid", "creationTimestamp"} {
		unstructured.RemoveNestedField(object, "metadata", field)
	}
	unstructured.RemoveNestedField(object, "spec", "selector")
	for _, path := range [][]string{{"metadata", "labels"}, {"spec", "template", "metadata", "labels"}} {
		labels, _, _ := unstructured.NestedStringMap(object, path...)
		p.must(unstructured.SetNestedStringMap(object, withoutJobLabels(labels), path...))
	}
	annotations, _, _ := unstructured.NestedStringMap(object, "metadata", "annotations")
	p.must(unstructured.SetNestedStringMap(object, without(annotations, steps.OperationAnnotation), "metadata", "annotations"))
	state := map[string]any{"job": object}
	if p.propertyCase.state != nil && p.plan.Remedy != "" {
		p.propertyCase.state(p, state)
	}
	return state
}

// policySpecs adds the policies that the world did not begin with.
func (p *trial) policySpecs(state map[string]any) {
	list, err := p.admin.NetworkingV1().NetworkPolicies(p.namespace).List(p.ctx, metav1.ListOptions{})
	p.must(err)
	for _, policy := range list.Items {
		if policy.Name != "default-deny" {
			state["policy"] = policy.Spec
		}
	}
}
