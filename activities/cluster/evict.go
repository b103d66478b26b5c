package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
)

const (
	// verbEvict asks a pod to go through the eviction API, which heeds
	// PodDisruptionBudgets. Nothing is ever deleted around them.
	verbEvict = "evict"
	// patienceWithBudgets is how long an eviction waits for a
	// PodDisruptionBudget to allow it.
	patienceWithBudgets = 3 * time.Minute
)

// evictChange is the change that lets a pod go, and no other of its name.
func evictChange(pod corev1.Pod) incident.ObjectChange {
	return incident.ObjectChange{Verb: verbEvict, APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Manifest: []byte(`{}`)}
}

// evict lets a pod go and waits until it is gone. One that is gone, or was
// replaced, is done already. A budget that does not allow it in time is a
// Conflict that names the budget.
func (h *Hands) evict(ctx context.Context, change incident.ObjectChange) (bool, error) {
	pod, err := h.podOf(ctx, change)
	if err != nil || pod == nil {
		return pod == nil, err
	}
	if pod.DeletionTimestamp == nil {
		if err := h.askToGo(ctx, change); err != nil {
			return false, err
		}
	}
	return false, h.awaitPodGone(ctx, change, pod.Spec.NodeName)
}

// podOf reads the pod that a change means; nil when it is gone.
func (h *Hands) podOf(ctx context.Context, change incident.ObjectChange) (*corev1.Pod, error) {
	pod, err := h.Kube.CoreV1().Pods(change.Namespace).Get(ctx, change.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && string(pod.UID) != change.UID {
		return nil, nil
	}
	if err != nil {
		return nil, classify(err, "reading %s", nameOf(change))
	}
	return pod, nil
}

// askToGo posts the eviction until it is accepted, the pod is gone or patience
// is spent.
func (h *Hands) askToGo(ctx context.Context, change incident.ObjectChange) error {
	patience := h.BudgetPatience
	if patience <= 0 {
		patience = patienceWithBudgets
	}
	for started := time.Now(); ; {
		err := h.postEviction(ctx, change, nil)
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err): // another pod of that name
			return nil
		case !apierrors.IsTooManyRequests(err):
			return err
		case time.Since(started) >= patience:
			fault := incident.Faultf(incident.Conflict, errors.New(budgetWords(err)), "evicting %s, for %s", nameOf(change), patience)
			fault.Next = "make room in the PodDisruptionBudget, then open the incident again; nothing is deleted around it"
			return fault
		}
		h.progress(ctx)
		if err := wait(ctx, min(patience/10+time.Millisecond, 5*time.Second)); err != nil {
			return classify(err, "waiting for the PodDisruptionBudget of %s", nameOf(change))
		}
	}
}

func (h *Hands) postEviction(ctx context.Context, change incident.ObjectChange, dryRun []string) error {
	uid := types.UID(change.UID)
	return h.Kube.PolicyV1().Evictions(change.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: change.Name, Namespace: change.Namespace},
		DeleteOptions: &metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &uid}},
	})
}

// budgetWords are what the API server says about the budget in the way: "The
// disruption budget x needs 4 healthy pods and has 4 currently".
func budgetWords(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			if cause.Type == policyv1.DisruptionBudgetCause && cause.Message != "" {
				return cause.Message
			}
		}
	}
	return err.Error()
}

// awaitPodGone waits until the pod's name is free or another's. A pod on a
// node whose kubelet is silent cannot go; it is left in Terminating.
func (h *Hands) awaitPodGone(ctx context.Context, change incident.ObjectChange, node string) error {
	err := h.whenPodsChange(ctx, change.Namespace, time.Second, func(ctx context.Context) (bool, error) {
		pod, err := h.podOf(ctx, change)
		if err != nil || pod == nil {
			return pod == nil, err
		}
		return h.unheard(ctx, node), nil
	})
	if err != nil && ctx.Err() != nil {
		return incident.Faultf(incident.TimedOut, err, "waiting for %s to go", nameOf(change))
	}
	return err
}

// unheard says whether a node's kubelet is known not to answer.
func (h *Hands) unheard(ctx context.Context, name string) bool {
	nodes, _, err := h.readNodes(ctx, []string{name})
	return err == nil && silent(nodes[name])
}

// silent says that nothing was heard of a node's kubelet for so long that the
// control plane gave it up.
func silent(node corev1.Node) bool {
	ready := nodeCondition(node, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionUnknown
}

// evictable asks the API server whether a pod could be evicted now; "" when it
// could.
func (h *Hands) evictable(ctx context.Context, change incident.ObjectChange) (string, error) {
	err := h.postEviction(ctx, change, []string{metav1.DryRunAll})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return "", nil
	case apierrors.IsTooManyRequests(err):
		return fmt.Sprintf("a PodDisruptionBudget does not let %s go: %s", nameOf(change), budgetWords(err)), nil
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the worker may not evict %s: %s", nameOf(change), orWord(missingRule(err), err.Error())), nil
	case apierrors.IsConflict(err):
		return nameOf(change) + " was replaced meanwhile", nil
	}
	return "", classify(err, "dry run of the eviction of %s", nameOf(change))
}
