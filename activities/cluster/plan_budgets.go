package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Only evictions ask PodDisruptionBudgets (evict.go). A controller that suspends
// its workload, or rolls it, deletes pods without asking; so a plan says which
// budget it would go past.

// noteBudgets adds to the summary what the plan would do to PodDisruptionBudgets.
func (h *Hands) noteBudgets(ctx context.Context, d *draft) {
	down, err := d.podsDown()
	if err != nil || down == 0 || d.plan.Summary == "" {
		return // nothing is planned, or its strategy cannot be read and the API server says so
	}
	budgets, err := h.budgets(ctx, d.workload.Target.Namespace)
	words := ""
	if err != nil {
		words = fmt.Sprintf("whether that goes past a PodDisruptionBudget is not known: %v", err)
	} else if broken := pastBudgets(budgets, d.pods, down); len(broken) > 0 {
		words = "that goes past " + strings.Join(broken, ", ") + ", which only evictions ask"
	}
	if words != "" {
		d.plan.Summary = strings.TrimSuffix(d.plan.Summary, ".") + "; " + words + "."
	}
}

// podsDown is how many pods are gone at one time.
func (d *draft) podsDown() (int, error) {
	if d.plan.Restart {
		return len(d.pods), nil
	}
	switch d.live.GetKind() {
	case "StatefulSet":
		return 1, nil // more only with maxUnavailable, which says so to nobody else either
	case "Deployment":
		return d.deploymentDown()
	}
	return 0, nil
}

// deploymentDown reads the strategy as the controller does: rounded down, and where
// neither a pod more nor one less were allowed, one less is (Kubernetes v1.37.2,
// ResolveFenceposts of pkg/controller/deployment/util).
func (d *draft) deploymentDown() (int, error) {
	var live appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.live.Object, &live); err != nil {
		return 0, err
	}
	replicas := 1
	if live.Spec.Replicas != nil {
		replicas = int(*live.Spec.Replicas)
	}
	rolling := live.Spec.Strategy.RollingUpdate
	if live.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return replicas, nil
	}
	if rolling == nil {
		return 0, nil // the API server fills it in
	}
	surge, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxSurge, intstr.FromInt32(0)), replicas, true)
	if err != nil {
		return 0, err
	}
	down, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(rolling.MaxUnavailable, intstr.FromInt32(0)), replicas, false)
	if surge == 0 && down == 0 {
		down = 1
	}
	return min(down, replicas), err
}

func (h *Hands) budgets(ctx context.Context, namespace string) ([]policyv1.PodDisruptionBudget, error) {
	var list []policyv1.PodDisruptionBudget
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing the PodDisruptionBudgets of namespace %s", namespace)
		}
		list = append(list, page.Items...)
		return page.Continue, nil
	})
	return list, err
}

// pastBudgets says of each budget how many of its pods would be down and how many
// it allows; none for those that allow it.
func pastBudgets(budgets []policyv1.PodDisruptionBudget, pods []corev1.Pod, down int) []string {
	var words []string
	for _, budget := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
		if err != nil {
			continue // the API server admits none such
		}
		covered := 0
		for _, pod := range pods {
			if !ended(pod) && pod.DeletionTimestamp == nil && selector.Matches(labels.Set(pod.Labels)) {
				covered++
			}
		}
		if gone := min(down, covered); gone > int(budget.Status.DisruptionsAllowed) {
			words = append(words, fmt.Sprintf("PodDisruptionBudget %s (%d of its pods at a time, it allows %d now)", budget.Name, gone, budget.Status.DisruptionsAllowed))
		}
	}
	slices.Sort(words)
	return words
}
