package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

// dryCreates answers a dry run of a creation with what was sent, as the API
// server does before defaults; the fake would keep it.
func (w *world) dryCreates() {
	w.dynamic.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, action.(clienttesting.CreateAction).GetObject(), nil
	})
}

// templatePlan plans a remedy for the gang's job after an alteration.
func templatePlan(t *testing.T, remedy string, alter func(*batchv1.Job, *corev1.Container), params steps.PlanRemedyParams) steps.PlanRemedyResult {
	t.Helper()
	objects := networked(gang(2, func(pod *corev1.Pod) {
		started := metav1.NewTime(midday.Add(-90 * time.Minute))
		pod.Status.StartTime = &started
	}))
	job := objects[0].(*batchv1.Job)
	containers := []corev1.Container{{Name: "trainer", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}}}}
	alter(job, &containers[0])
	job.Spec.Template.Spec.Containers = containers
	w := newWorld(t, objects...)
	w.dryCreates()
	params.Incident, params.Remedy, params.Risk, params.Workload, params.Fabric = "i", remedy, incident.RiskMedium, w.ranksEvidence(t, jobTarget), testFabric
	result, err := w.PlanRemedy(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func env(pairs ...string) []corev1.EnvVar {
	var out []corev1.EnvVar
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

const someKnobs = "- {role: micro-batch, arg: --bs, type: int, min: 1, max: 8, constant: accumulation}\n- {role: accumulation, env: ACC, type: int, min: 1, max: 8}\n- {role: precision, env: DTYPE, type: choice, choices: [fp32, bf16]}\n- {role: loader-workers, env: WORKERS, type: int, max: 4}\n"

func withKnobs(args []string, pairs ...string) func(*batchv1.Job, *corev1.Container) {
	return func(job *batchv1.Job, c *corev1.Container) {
		job.Annotations = map[string]string{incident.KnobAnnotation: someKnobs}
		c.Args, c.Env = args, env(pairs...)
	}
}

func withMemory(limit, request string) func(*batchv1.Job, *corev1.Container) {
	return func(_ *batchv1.Job, c *corev1.Container) {
		c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse(limit)
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(request)}
	}
}

func plainJob(*batchv1.Job, *corev1.Container) {}

func TestTemplateDiffs(t *testing.T) {
	larger := steps.PlanRemedyParams{Findings: []incident.Finding{{ID: incident.LargerGPUFree, State: incident.Yes, Value: "NVIDIA-H200"}}}
	workers := steps.PlanRemedyParams{Roles: []string{incident.KnobWorkers}}
	tests := map[string]struct {
		remedy string
		alter  func(*batchv1.Job, *corev1.Container)
		params steps.PlanRemedyParams
		diff   string
		words  string
	}{
		"allocator, both names": {steps.SetAllocator, plainJob, steps.PlanRemedyParams{}, "+        - name: PYTORCH_CUDA_ALLOC_CONF\n+          value: expandable_segments:True\n+        - name: PYTORCH_ALLOC_CONF\n+          value: expandable_segments:True\n", "expandable_segments:True"},
		"allocator, other options": {steps.SetAllocator, func(_ *batchv1.Job, c *corev1.Container) {
			c.Env = env("PYTORCH_ALLOC_CONF", "max_split_size_mb:64,pinned_use_background_threads:True")
		}, steps.PlanRemedyParams{}, "-          value: max_split_size_mb:64,pinned_use_background_threads:True\n+          value: expandable_segments:True,pinned_use_background_threads:True\n", ""},
		"allocator of JAX": {steps.SetAllocator, plainJob, steps.PlanRemedyParams{Framework: "jax"}, "+        - name: XLA_PYTHON_CLIENT_PREALLOCATE\n+          value: \"false\"\n", "JAX"},
		"knobs":            {steps.TurnKnobs, withKnobs([]string{"--bs", "4"}, "ACC", "2"), steps.PlanRemedyParams{}, "-        - \"4\"\n+        - \"2\"\n", "micro-batch 4 -> 2, accumulation 2 -> 4"},
		"knobs of the template": {steps.TurnKnobs, func(job *batchv1.Job, c *corev1.Container) {
			withKnobs([]string{"--bs", "4"}, "ACC", "2")(job, c)
			job.Annotations, job.Spec.Template.Annotations = nil, job.Annotations
		}, steps.PlanRemedyParams{}, "-        - \"4\"\n+        - \"2\"\n", "micro-batch 4 -> 2"},
		"the next role":        {steps.TurnKnobs, withKnobs([]string{"--bs=1"}, "ACC", "2", "DTYPE", "fp32"), steps.PlanRemedyParams{}, "+          value: bf16\n", "precision fp32 -> bf16"},
		"loader workers":       {steps.TurnKnobs, withKnobs(nil, "WORKERS", "1"), workers, "+          value: \"2\"\n", "loader-workers 1 -> 2"},
		"memory":               {steps.RaiseMemory, withMemory("10Gi", "1Gi"), steps.PlanRemedyParams{}, "-            memory: 10Gi\n+            memory: 15Gi\n", "memory limit by half"},
		"memory, guaranteed":   {steps.RaiseMemory, withMemory("10Gi", "10Gi"), steps.PlanRemedyParams{}, "           requests:\n-            memory: 10Gi\n+            memory: 15Gi\n", ""},
		"shm":                  {steps.RaiseShm, withMemory("16Gi", "1Gi"), steps.PlanRemedyParams{}, "+      - emptyDir:\n+          medium: Memory\n+          sizeLimit: 4Gi\n+        name: gpumedic-shm\n", "/dev/shm 4Gi large, with as much more memory"},
		"shm counts as memory": {steps.RaiseShm, withMemory("16Gi", "1Gi"), steps.PlanRemedyParams{}, "+            memory: 20Gi\n", ""},
		"larger GPU":           {steps.LargerGPU, plainJob, larger, "+      nodeSelector:\n+        nvidia.com/gpu.product: NVIDIA-H200\n", "NVIDIA-H200"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := templatePlan(t, test.remedy, test.alter, test.params)
			if !result.Possible {
				t.Fatalf("no plan: %s", result.WhyNot)
			}
			contains(t, result.Plan.Diff, test.diff)
			contains(t, result.Plan.Summary, test.words, "restart 2 ranks", "12.00 GPU-hours since they started") // 2 ranks, 4 GPUs, 1.5 hours
			if len(result.Plan.Changes) != 1 || result.Plan.Changes[0].Verb != verbReplace || !result.Plan.Restart {
				t.Errorf("changes %+v, restart %t", result.Plan.Changes, result.Plan.Restart)
			}
		})
	}
}

func TestReasonsAgainstTemplateChanges(t *testing.T) {
	yes := true
	marked := func(labels, annotations map[string]string) func(*batchv1.Job, *corev1.Container) {
		return func(job *batchv1.Job, _ *corev1.Container) { job.Labels, job.Annotations = labels, annotations }
	}
	tests := map[string]struct {
		remedy string
		alter  func(*batchv1.Job, *corev1.Container)
		why    string
		// diff: the refusal shows what would have been done.
		diff bool
	}{
		"Argo CD":   {steps.SetAllocator, marked(nil, map[string]string{"argocd.argoproj.io/tracking-id": "x"}), "managed by Argo CD", true},
		"Flux":      {steps.SetAllocator, marked(map[string]string{"kustomize.toolkit.fluxcd.io/name": "x"}, nil), "managed by Flux", true},
		"Kueue":     {steps.SetAllocator, marked(map[string]string{kueueQueue: "gold"}, nil), "Kueue (queue gold) owns the suspension", true},
		"finalizer": {steps.SetAllocator, func(job *batchv1.Job, _ *corev1.Container) { job.Finalizers = []string{"acme.io/bill"} }, "finalizer acme.io/bill of somebody else", true},
		"set already": {steps.SetAllocator, func(_ *batchv1.Job, c *corev1.Container) {
			c.Env = env("PYTORCH_ALLOC_CONF", "expandable_segments:True")
		}, "is expandable_segments:True already", false},
		"another backend": {steps.SetAllocator, func(_ *batchv1.Job, c *corev1.Container) {
			c.Env = env("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
		}, "no expandable segments", false},
		"from elsewhere": {steps.SetAllocator, func(_ *batchv1.Job, c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "PYTORCH_ALLOC_CONF", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "x"}}}}
		}, "takes PYTORCH_ALLOC_CONF from elsewhere", false},
		"no GPUs":         {steps.SetAllocator, func(_ *batchv1.Job, c *corev1.Container) { c.Resources.Limits = nil }, "requests GPUs", false},
		"no knobs":        {steps.TurnKnobs, plainJob, "declares no knobs", false},
		"broken knobs":    {steps.TurnKnobs, marked(nil, map[string]string{incident.KnobAnnotation: "- {role: x}"}), `line 1: role "x" is not known`, false},
		"nothing left":    {steps.TurnKnobs, withKnobs([]string{"--bs=1"}, "ACC", "2", "DTYPE", "bf16"), "bf16 already, the last", false},
		"secret argument": {steps.TurnKnobs, withKnobs([]string{"--bs=4", "--api-key=5ba1c0ffee5ba1c0ffee5ba1c0ffee5ba1c0ffee"}, "ACC", "2"), "looks like a secret", false},
		"no limit":        {steps.RaiseMemory, plainJob, "has no memory limit", false},
		"shm of another kind": {steps.RaiseShm, func(job *batchv1.Job, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/dev/shm"}}
		}, "no memory volume with a size", false},
		"no product": {steps.LargerGPU, plainJob, "no check found nodes", false},
		"owned": {steps.SetAllocator, func(job *batchv1.Job, _ *corev1.Container) {
			job.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "c", Controller: &yes}}
		}, "belongs to cronjob nightly", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := templatePlan(t, test.remedy, test.alter, steps.PlanRemedyParams{})
			if result.Possible {
				t.Error("possible")
			}
			contains(t, result.WhyNot, test.why)
			if (result.Plan.Diff != "") != test.diff {
				t.Errorf("diff: %q", result.Plan.Diff)
			}
			if strings.Contains(result.WhyNot, "5ba1c0ffee") {
				t.Errorf("the reason tells the secret: %s", result.WhyNot)
			}
		})
	}
}

func TestPriceCountsFromTheCheckpoint(t *testing.T) {
	at := midday.Add(-15 * time.Minute).Format(time.RFC3339)
	plan := templatePlan(t, steps.SetAllocator, func(job *batchv1.Job, _ *corev1.Container) {
		job.Annotations = map[string]string{incident.CheckpointAnnotation: at}
	}, steps.PlanRemedyParams{Wanted: incident.Wanted{PastStep: 700, Recurrences: 2}}).Plan
	if plan.GPUHoursLost != 2 || plan.Wanted.PastStep != 700 || plan.Wanted.Recurrences != 2 { // 2 ranks, 4 GPUs, a quarter of an hour
		t.Errorf("%v GPU-hours, wanted %+v", plan.GPUHoursLost, plan.Wanted)
	}
	contains(t, plan.Summary, "declared to be of "+at, "2.00 GPU-hours since then")
}

func TestUnknownFrameworkIsAFault(t *testing.T) {
	w := newWorld(t, networked(gang(2))...)
	_, err := w.PlanRemedy(context.Background(), steps.PlanRemedyParams{Remedy: steps.SetAllocator, Framework: "caffe", Workload: w.ranksEvidence(t, jobTarget)})
	if incident.KindOf(err) != incident.Unsupported {
		t.Errorf("got %v", err)
	}
}

func TestDroppedByAdmissionIsARefusal(t *testing.T) {
	objects := networked(gang(2))
	job := objects[0].(*batchv1.Job)
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "trainer", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}}}}
	w := newWorld(t, objects...)
	answers := []runtime.Object{nil}
	w.dynamic.PrependReactor("create", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if answers[0] == nil {
			object := action.(clienttesting.CreateAction).GetObject().DeepCopyObject()
			fields := object.(*unstructured.Unstructured)
			fieldPath{key("spec"), key("template"), key("spec")}.fieldsAt(fields.Object)["containers"] = []any{map[string]any{"name": "trainer"}}
			return true, object, nil
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "batch", Resource: "jobs"}, "x", nil)
	})
	contains(t, w.planned(t, steps.SetAllocator, jobTarget).WhyNot, "drops", "PYTORCH_ALLOC_CONF")
	answers[0] = job
	contains(t, w.planned(t, steps.SetAllocator, jobTarget).WhyNot, "the API server would refuse it")
}
