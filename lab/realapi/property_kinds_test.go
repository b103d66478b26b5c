package realapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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

// ofKind is an object of another kind on its way there and back.
type ofKind struct {
	*trial
	client dynamic.ResourceInterface
	target incident.Target
}

// TestPropertyOtherKinds: applied twice is once, undone is as before, killed at
// any write and tried again ends the same, and what somebody else wrote in between
// stays: for every kind and every remedy that changes its pod template.
func TestPropertyOtherKinds(t *testing.T) {
	installKinds(t)
	for resource, text := range otherKinds {
		t.Run(resource.Resource, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			t.Cleanup(cancel)
			w.ctx = ctx
			w.storage()
			for remedy, how := range kindCases {
				k := &ofKind{trial: &trial{world: w, propertyCase: propertyCase{remedy: remedy}}, client: w.dynamic.Resource(resource).Namespace(w.namespace)}
				k.create(resource, text)
				k.tried(how)
				background := metav1.DeletePropagationBackground
				w.must(k.client.Delete(w.ctx, k.target.Name, metav1.DeleteOptions{PropagationPolicy: &background}))
			}
		})
	}
}

// tried is everything that is tried of one remedy on one object.
func (k *ofKind) tried(how kindCase) {
	k.Helper()
	before := k.object()
	if why := how.whyNot[k.target.Kind]; why != "" {
		result := k.asked()
		if result.Possible || !strings.Contains(result.WhyNot, why) {
			k.Errorf("%s of a %s: possible %t, why not %q, want %q", k.remedy, k.target.Kind, result.Possible, result.WhyNot, why)
		}
		k.same(before, k.object(), true, "refused")
		return
	}
	after := k.thereAndBack(before, nil, 0, false)
	k.killed(before, after)
	k.overwritten(how)
}

// killed kills the hand at each write, its answer lost and not, for one remedy, and
// at one write for each of the others: their writes are the same ones.
func (k *ofKind) killed(before, after map[string]any) {
	k.Helper()
	if k.remedy != steps.SetAllocator {
		n := 1 + slices.Index(slices.Sorted(maps.Keys(kindCases)), k.remedy)
		k.thereAndBack(before, after, n, n%2 == 0)
		return
	}
	for n, died := 1, true; died; n++ {
		died = false
		for _, lost := range []bool{false, true} {
			k.thereAndBack(before, after, n, lost)
			died = died || k.name == "died"
		}
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
		for _, remove := range []bool{true, false} { // each takes some seconds to go, so all at once
			for resource := range otherKinds {
				if resource.Group == "apps" {
					continue
				}
				if err := gone(ctx, definitions, resource.GroupResource().String(), remove); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// gone deletes a definition, or waits until it is gone.
func gone(ctx context.Context, definitions dynamic.ResourceInterface, name string, remove bool) error {
	if remove {
		return definitions.Delete(ctx, name, metav1.DeleteOptions{})
	}
	for {
		_, err := definitions.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("removing the definition %s: %w", name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func kindOf(t *testing.T, text string) string {
	t.Helper()
	var object unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object.GetKind()
}

func (k *ofKind) create(resource schema.GroupVersionResource, text string) {
	k.Helper()
	var object unstructured.Unstructured
	k.must(yaml.Unmarshal([]byte(text), &object.Object))
	object.SetAPIVersion(resource.GroupVersion().String())
	object.SetName(k.remedy)
	object.SetAnnotations(map[string]string{incident.KnobAnnotation: declaredKnobs + declaredCache})
	k.target = incident.Target{Cluster: "lab", Namespace: k.namespace, Kind: object.GetKind(), Name: k.remedy}
	_, err := k.client.Create(k.ctx, &object, metav1.CreateOptions{FieldManager: "kubectl-create", FieldValidation: metav1.FieldValidationStrict})
	k.must(err)
}

// object is the object without what the server sets, and the marks that every
// change leaves: an explicit false where suspension was not told.
func (k *ofKind) object() map[string]any {
	k.Helper()
	live, err := k.client.Get(k.ctx, k.target.Name, metav1.GetOptions{})
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

// asked plans the remedy by hands that are dead at the first write that is no dry
// run.
func (k *ofKind) asked() steps.PlanRemedyResult {
	k.Helper()
	found, err := k.hands.ResolveTarget(k.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: k.target, Fabric: fabric})
	k.must(err)
	hands, knife := k.handsWithKnife(k.ctx, 1, false, func() {})
	result, err := hands.PlanRemedy(k.ctx, steps.PlanRemedyParams{Incident: incidentID, Remedy: k.remedy, Risk: incident.RiskMedium, Workload: found.Workload, Fabric: fabric,
		Findings: []incident.Finding{{ID: incident.LargerGPUFree, State: incident.Yes, Value: "NVIDIA-H200"}}})
	k.must(err)
	if knife.dead() {
		k.Errorf("planning %s of a %s wrote something", k.remedy, k.target.Kind)
	}
	return result
}

// planned plans, and finds everything as it was.
func (k *ofKind) planned(before map[string]any) {
	k.Helper()
	result := k.asked()
	if !result.Possible || result.Plan.Diff == "" || k.store.leaks(secret) {
		k.Fatalf("plan of %s %t (%s), a secret leaks %t, diff:\n%s", k.remedy, result.Possible, result.WhyNot, k.store.leaks(secret), result.Plan.Diff)
	}
	if verb := kindCases[k.remedy].verbOf(k.target.Kind); result.Plan.Changes[0].Verb != verb {
		k.Errorf("%s of a %s: verb %s, want %s", k.remedy, k.target.Kind, result.Plan.Changes[0].Verb, verb)
	}
	if strings.Contains(result.Plan.Summary, "PodDisruptionBudget") { // there is none, and the worker may ask
		k.Errorf("%s of a %s: %s", k.remedy, k.target.Kind, result.Plan.Summary)
	}
	k.plan = result.Plan
	k.same(before, k.object(), true, "planned")
	k.snapshot, k.stops, k.prepares = k.world.snapshot(k.plan), k.plan.Restart, len(k.plan.Prepare) > 0
}

// thereAndBack plans, changes and undoes, by hands that die at the n-th write of
// both; 0 is never. It returns the changed object.
func (k *ofKind) thereAndBack(before, want map[string]any, n int, lost bool) map[string]any {
	k.Helper()
	k.operation, k.name = fmt.Sprintf("%s@%d%t/%s", incidentID, n, lost, k.remedy), "lived"
	k.planned(before)
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

// overwritten: what somebody else wrote over ours is left as it is and told.
func (k *ofKind) overwritten(how kindCase) {
	k.Helper()
	k.operation = incidentID + "@theirs/" + k.remedy
	k.planned(k.object())
	k.stop()
	k.must(k.perform(k.hands, steps.ApplyChange))
	k.meddled(how)
	theirs := k.object()
	if err := k.perform(k.hands, steps.UndoChange); err == nil || !strings.Contains(err.Error(), "left as it is") {
		k.Errorf("%s of a %s: undone over somebody else's edit: %v", k.remedy, k.target.Kind, err)
	}
	k.same(theirs, k.object(), true, "undone over somebody else's edit")
	wantKind(k.T, k.perform(k.hands, steps.ApplyChange), incident.Conflict, "edited by somebody else since")
	k.same(theirs, k.object(), true, "applied over somebody else's edit")
}

// meddled writes somebody else's value over ours.
func (k *ofKind) meddled(how kindCase) {
	k.Helper()
	for range 20 { // controllers write its status meanwhile
		live, err := k.client.Get(k.ctx, k.target.Name, metav1.GetOptions{})
		k.must(err)
		live.SetManagedFields(nil)
		text, err := json.Marshal(live.Object)
		k.must(err)
		if !strings.Contains(string(text), how.ours) {
			k.Fatalf("%s of a %s wrote no %s", k.remedy, k.target.Kind, how.ours)
		}
		k.must(json.Unmarshal([]byte(strings.ReplaceAll(string(text), how.ours, how.theirs)), &live.Object))
		if _, err = k.client.Update(k.ctx, live, metav1.UpdateOptions{FieldManager: "somebody"}); !apierrors.IsConflict(err) {
			k.must(err)
			return
		}
	}
	k.Fatal("somebody else could not write")
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
