package cluster

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	fielderrors "k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/version"
	discoveryfake "k8s.io/client-go/discovery/fake"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
)

// The tests of this half that need no real API server: server-side apply, dry
// runs and field managers are tested against one in lab/realapi.

func init() {
	customKinds = append(customKinds, schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"},
		schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayJob"})
}

// serverVersion makes the fake API server say its version.
func (w *world) serverVersion(text string) {
	w.kube.Discovery().(*discoveryfake.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: text}
}

// applyNeedsSuspension answers a server-side apply of a Job as the API server
// does while the Job runs (seen in lab/realapi); the fake has no such patch.
func (w *world) applyNeedsSuspension() {
	w.dynamic.PrependReactor("patch", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.PatchAction).GetPatchType() != types.ApplyPatchType {
			return false, nil, nil
		}
		return true, nil, apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "llama-70b",
			fielderrors.ErrorList{fielderrors.Invalid(fielderrors.NewPath("spec", "template"), "", "field is immutable")})
	})
}

// ranksEvidence resolves the target and returns its workload's reference.
func (w *world) ranksEvidence(t *testing.T, target incident.Target) incident.EvidenceRef {
	t.Helper()
	found, _ := w.resolved(t, target)
	if !found.Found {
		t.Fatalf("%s is not found: %s", target, found.Why)
	}
	return found.Workload
}

// networked adds the namespaces, whose labels policies ask for.
func networked(objects []runtime.Object, policies ...runtime.Object) []runtime.Object {
	return append(append(objects, namespaceNamed("training"), namespaceNamed("kube-system")), policies...)
}

func namespaceNamed(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}}
}

// denyAll isolates every pod of a namespace in both directions.
func denyAll(namespace string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny", Namespace: namespace},
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}}}
}
