package cluster_test

import (
	"strings"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func evict(t *testing.T, pod string) error {
	t.Helper()
	return admin.PolicyV1().Evictions("default").Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "default"}})
}

func clientOf(t *testing.T, user string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	path, err := lab.KubeconfigFor(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(config)
}

func TestAStrangerMayNothing(t *testing.T) {
	_, err := clientOf(t, "stranger").CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want forbidden", err)
	}
}

// A service account with a small role may what the role says and no more.
func TestASmallRole(t *testing.T) {
	err := lab.Apply(t.Context(), []byte(`
apiVersion: v1
kind: Namespace
metadata: {name: small}
---
# A comment alone is no object.
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: small}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: small}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: worker, namespace: small}]
`))
	if err != nil {
		t.Fatal(err)
	}
	worker := clientOf(t, "system:serviceaccount:small:worker", "system:serviceaccounts", "system:serviceaccounts:small")
	if _, err := worker.CoreV1().Pods("small").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("what the role allows: %v", err)
	}
	if _, err := worker.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v, want forbidden", err)
	}
	if err := worker.CoreV1().Pods("small").Delete(t.Context(), "x", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another verb: %v, want forbidden", err)
	}
	if err := lab.DeleteNamespace(t.Context(), "small"); err != nil {
		t.Error(err)
	}
	if _, err := admin.CoreV1().Namespaces().Get(t.Context(), "small", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace afterwards: %v, want not found", err)
	}
}

func TestApplyNamesWhatItCannotApply(t *testing.T) {
	for name, c := range map[string]struct{ stream, want string }{
		"no YAML":        {"{", "object 1"},
		"unknown kind":   {"apiVersion: v1\nkind: Gadget\nmetadata: {name: x}\n", "applying Gadget x"},
		"refused object": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER, namespace: default}\n", "applying ConfigMap UPPER"},
		"no name":        {"apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-public}\n---\napiVersion: v1\nkind: ConfigMap\n", "object 2"},
	} {
		if err := lab.Apply(t.Context(), []byte(c.stream)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
