package cluster

import (
	"errors"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"gpumedic/incident"
	"gpumedic/steps"
)

func TestWhatAKindHasAgainstAChange(t *testing.T) {
	ray := "kind: RayJob\nspec: {shutdownAfterJobFinishes: true}\n"
	tests := map[string]struct{ text, why string }{
		"job of its controller":    {"kind: Job\nspec: {managedBy: kubernetes.io/job-controller}", ""},
		"job of another cluster":   {"kind: Job\nspec: {managedBy: kueue.x-k8s.io/multikueue}", "is run by kueue.x-k8s.io/multikueue (spec.managedBy)"},
		"mpi of another cluster":   {"kind: MPIJob\nspec: {runPolicy: {managedBy: kueue.x-k8s.io/multikueue}}", "(spec.runPolicy.managedBy)"},
		"ray":                      {ray + "status: {jobDeploymentStatus: Running}", ""},
		"ray that keeps":           {"kind: RayJob\nspec: {}", "does not set shutdownAfterJobFinishes"},
		"ray on another's cluster": {"kind: RayJob\nspec: {shutdownAfterJobFinishes: true, clusterSelector: {ray.io/cluster: x}}", "that it only selects"},
		"ray between tries":        {ray + "status: {jobDeploymentStatus: Retrying}", "is Retrying"},
		"deployment":               {"kind: Deployment\nspec: {strategy: {type: RollingUpdate}}", ""},
		"paused":                   {"kind: Deployment\nspec: {paused: true}", "is paused"},
		"statefulset":              {"kind: StatefulSet\nspec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}}", ""},
		"on delete":                {"kind: StatefulSet\nspec: {updateStrategy: {type: OnDelete}}", "OnDelete"},
		"partition":                {"kind: StatefulSet\nspec: {updateStrategy: {rollingUpdate: {partition: 2}}}", "below 2 back"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live := liveFrom(t, test.text)
			target := incident.Target{Kind: live.GetKind(), Namespace: "training", Name: "x"}
			got := strings.Join(append(kindBlockers(target, live), rollBlockers(target, live)...), "; ")
			if (got == "") != (test.why == "") || !strings.Contains(got, test.why) {
				t.Errorf("got %q, want %q", got, test.why)
			}
		})
	}
}

// liveFrom reads YAML as the API server's answers are read: whole numbers are int64.
func liveFrom(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte("apiVersion: v1\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	var live unstructured.Unstructured
	if err := live.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return &live
}

func TestWhoseFieldsMayBeEdited(t *testing.T) {
	conflict := func(managers ...string) error {
		var causes []metav1.StatusCause
		for _, name := range managers {
			causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "` + name + `" using apps/v1`, Field: ".spec.x"})
		}
		return apierrors.NewApplyConflict(causes, "conflict")
	}
	tests := map[string]struct {
		err  error
		want string
	}{
		"kubectl":                {conflict("kubectl-client-side-apply", "Helm"), "Helm, kubectl-client-side-apply"},
		"ours":                   {conflict(steps.FieldManager), steps.FieldManager},
		"a controller":           {conflict("argocd-controller"), ""},
		"one of them":            {conflict("kubectl-edit", "vpa-updater"), ""},
		"no conflict of fields":  {apierrors.NewConflict(schema.GroupResource{Resource: "x"}, "x", errors.New("x")), ""},
		"nothing in the way yet": {nil, ""},
	}
	for name, test := range tests {
		if got := strings.Join(toolsInTheWay(test.err), ", "); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// allocatorPlan plans set-allocator for the gang's job, which mounts the claim data.
func (w *world) allocatorPlan(t *testing.T) steps.PlanRemedyResult {
	t.Helper()
	w.dryCreates()
	result, err := w.PlanRemedy(t.Context(), steps.PlanRemedyParams{Incident: "i", Remedy: steps.SetAllocator, Risk: incident.RiskMedium, Workload: w.ranksEvidence(t, jobTarget), Fabric: testFabric})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func gangWithClaim(owner metav1.OwnerReference) []runtime.Object {
	objects := networked(gang(2))
	job := objects[0].(*batchv1.Job)
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "trainer", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}}}}
	job.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: job.Namespace}}
	if owner.Kind == "Job" {
		owner.UID = job.UID
	}
	if owner.Kind != "" {
		claim.OwnerReferences = []metav1.OwnerReference{owner}
	}
	return append(objects, claim)
}

func TestClaimsThatWouldGoAreAReason(t *testing.T) {
	if result := newWorld(t, gangWithClaim(metav1.OwnerReference{})...).allocatorPlan(t); !result.Possible {
		t.Errorf("a claim of its own is no reason: %s", result.WhyNot)
	}
	if result := newWorld(t, gangWithClaim(metav1.OwnerReference{Kind: "ConfigMap", Name: "x", UID: "x"})...).allocatorPlan(t); !result.Possible {
		t.Errorf("a claim of somebody else is no reason: %s", result.WhyNot)
	}
	result := newWorld(t, gangWithClaim(metav1.OwnerReference{Kind: "Job", Name: jobTarget.Name})...).allocatorPlan(t)
	contains(t, result.WhyNot, "claim data belongs to")
	w := newWorld(t, gangWithClaim(metav1.OwnerReference{})...)
	w.kube.PrependReactor("get", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumeclaims"}, "data", errors.New("no"))
	})
	contains(t, w.allocatorPlan(t).WhyNot, "whether claim data would be deleted")
}

func TestPlansNameTheBudgetsThatTheyGoPast(t *testing.T) {
	budget := func(name string, allowed int32, selector map[string]string) runtime.Object {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: jobTarget.Namespace},
			Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: selector}}, Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed}}
	}
	ranks := map[string]string{batchv1.JobNameLabel: jobTarget.Name}
	w := newWorld(t, append(gangWithClaim(metav1.OwnerReference{}), budget("tight", 1, ranks), budget("wide", 2, ranks), budget("others", 0, map[string]string{"app": "other"}))...)
	summary := w.allocatorPlan(t).Plan.Summary
	contains(t, summary, "goes past PodDisruptionBudget tight (2 of its pods at a time, it allows 1 now), which only evictions ask.")
	if strings.Contains(summary, "wide") || strings.Contains(summary, "others") {
		t.Errorf("too many budgets: %s", summary)
	}
	w = newWorld(t, gangWithClaim(metav1.OwnerReference{})...)
	w.kube.PrependReactor("list", "poddisruptionbudgets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}, "", errors.New("no"))
	})
	contains(t, w.allocatorPlan(t).Plan.Summary, "PodDisruptionBudget is not known")
}

func TestADeploymentTakesDownWhatItsStrategySays(t *testing.T) {
	for text, want := range map[string]int{
		"strategy: {type: Recreate}":                                      8,
		"strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}": 2,
		"strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}":     0,
		"strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 10%}}":   1, // rounded down to none, and then one
	} {
		live := liveFrom(t, "kind: Deployment\nspec: {replicas: 8, "+text+"}")
		if got, err := (&draft{live: live}).podsDown(); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestAStatefulSetSaysForWhichPodsItWaits(t *testing.T) {
	pod := func(name string, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	pods := []corev1.Pod{pod("x-0", corev1.ConditionTrue), pod("x-1", corev1.ConditionFalse)}
	for text, want := range map[string]string{"kind: StatefulSet\nspec: {podManagementPolicy: OrderedReady}": "waits for x-1 to be ready",
		"kind: StatefulSet\nspec: {podManagementPolicy: Parallel}": "", "kind: Deployment\nspec: {}": ""} {
		if got := (&draft{live: liveFrom(t, text), pods: pods}).rollWaits(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got := (&draft{live: liveFrom(t, "kind: StatefulSet\nspec: {}"), pods: pods[:1]}).rollWaits(); got != "" {
		t.Errorf("all are ready: %q", got)
	}
}
