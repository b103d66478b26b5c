package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// floor is the cluster as the scheduler sees it: its nodes, and what is asked
// of each by pods that have not ended.
type floor struct {
	nodes []corev1.Node
	asked map[string]corev1.ResourceList
	// pods are those of each node that asks may be taken off again.
	pods map[string][]corev1.Pod
}

// readFloor reads all nodes and pods, page by page.
func (h *Hands) readFloor(ctx context.Context) (floor, error) {
	f := floor{asked: map[string]corev1.ResourceList{}, pods: map[string][]corev1.Pod{}}
	if err := h.listNodes(ctx, func(node corev1.Node) { f.nodes = append(f.nodes, node) }); err != nil {
		return f, err
	}
	slices.SortFunc(f.nodes, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.CoreV1().Pods("").List(ctx, options)
		if err != nil {
			return "", classify(err, "listing the pods of all namespaces")
		}
		for _, pod := range page.Items {
			if pod.Spec.NodeName != "" && !ended(pod) {
				f.pods[pod.Spec.NodeName] = append(f.pods[pod.Spec.NodeName], pod)
			}
		}
		h.progress(ctx)
		return page.Continue, nil
	})
	return f, err
}

// without takes pods off their nodes, as if they had gone.
func (f floor) without(gone []corev1.Pod) {
	names := map[string]bool{}
	for _, pod := range gone {
		names[pod.Namespace+"/"+pod.Name] = true
	}
	for node, pods := range f.pods {
		f.pods[node] = slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return names[pod.Namespace+"/"+pod.Name] })
	}
	for node, pods := range f.pods {
		total := corev1.ResourceList{}
		for i := range pods {
			add(total, wants(&pods[i]))
		}
		f.asked[node] = total
	}
}

// wants is what a pod asks of its node, one place for a pod included.
func wants(pod *corev1.Pod) corev1.ResourceList {
	total := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	total[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	return total
}

func add(to, more corev1.ResourceList) {
	for name, amount := range more {
		sum := to[name]
		sum.Add(amount)
		to[name] = sum
	}
}

// seating is where ranks would go.
type seating struct {
	// taken counts the ranks on each node, by name.
	taken map[string]int
	left  int
}

// seat finds places for pods on the candidates, in their order, at most most
// on one node; what finds no place in the first round may sit closer in the
// second when the pods allow it.
func (f floor) seat(pods []corev1.Pod, candidates []corev1.Node, most int, strict bool) seating {
	s := seating{taken: map[string]int{}}
	waiting := slices.Clone(pods)
	for round := 0; round < 2 && len(waiting) > 0; round++ {
		bound := most
		if round == 1 {
			if strict {
				break
			}
			bound = len(pods)
		}
		waiting = f.seatRound(waiting, candidates, bound, &s)
	}
	s.left = len(waiting)
	return s
}

func (f floor) seatRound(waiting []corev1.Pod, candidates []corev1.Node, most int, s *seating) []corev1.Pod {
	var left []corev1.Pod
	for i := range waiting {
		at := slices.IndexFunc(candidates, func(node corev1.Node) bool {
			return s.taken[node.Name] < most && f.fits(&waiting[i], node)
		})
		if at < 0 {
			left = append(left, waiting[i])
			continue
		}
		name := candidates[at].Name
		s.taken[name]++
		if f.asked[name] == nil {
			f.asked[name] = corev1.ResourceList{}
		}
		add(f.asked[name], wants(&waiting[i]))
	}
	return left
}

// fits says whether a node has what a pod wants left.
func (f floor) fits(pod *corev1.Pod, node corev1.Node) bool {
	for name, amount := range wants(pod) {
		have, asked := node.Status.Allocatable[name], f.asked[node.Name][name]
		have.Sub(asked)
		if !amount.IsZero() && have.Cmp(amount) < 0 {
			return false
		}
	}
	return true
}

// mayTake says whether the scheduler would consider a node for a pod, whatever
// is free there: Ready, not cordoned, selected, its taints tolerated.
func mayTake(pod *corev1.Pod, node *corev1.Node) bool {
	ready := nodeCondition(*node, corev1.NodeReady)
	if ready == nil || ready.Status != corev1.ConditionTrue || node.Spec.Unschedulable || node.DeletionTimestamp != nil {
		return false
	}
	if selected, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !selected {
		return false
	}
	return !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod, taint)
	})
}

func tolerates(pod *corev1.Pod, taint corev1.Taint) bool {
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return t.ToleratesTaint(logr.Discard(), &taint, true)
	})
}

// apart says whether a pod must not share a node with its like.
func apart(pod *corev1.Pod) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return false
	}
	return slices.ContainsFunc(pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, func(term corev1.PodAffinityTerm) bool {
		selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		return err == nil && term.TopologyKey == corev1.LabelHostname && selector.Matches(labels.Set(pod.Labels))
	})
}

// lackWords says what a pod wants, for people: "8 nvidia.com/gpu, 1 rdma/hca".
func lackWords(pod *corev1.Pod) string {
	var words []string
	for name, amount := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if !amount.IsZero() {
			words = append(words, fmt.Sprintf("%s %s", amount.String(), name))
		}
	}
	slices.Sort(words)
	if len(words) == 0 {
		return "nothing in particular"
	}
	return strings.Join(words, ", ")
}
