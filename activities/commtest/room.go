package commtest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	resourcehelper "k8s.io/component-helpers/resource"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// roomPage is how many pods are read at once.
	roomPage = 500
	// maxShort bounds the listed nodes; Why counts all of them.
	maxShort = 128
)

// CheckTestRoom asks whether every node can take a test pod now: it is there,
// its taints let the pod in, and what its pods do not request leaves what the
// test wants. It changes nothing. What could not be asked is unknown. The
// answer may be old a moment later; the start deadline of the test is for that.
// Devices that pods claim through ResourceClaims are not counted.
func (h *Hands) CheckTestRoom(ctx context.Context, p steps.CheckTestRoomParams) (steps.CheckTestRoomResult, error) {
	p.Settings = settled(p.Settings)
	target, trouble := h.targetPods(ctx, p)
	if trouble != nil && incident.KindOf(trouble).Retryable() {
		return steps.CheckTestRoomResult{}, trouble
	}
	rooms := make([]room, len(p.Nodes))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(readAtOnce)
	for i, node := range p.Nodes {
		group.Go(func() (err error) {
			rooms[i], err = h.roomOn(inner, node, p, target)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return steps.CheckTestRoomResult{}, err
	}
	return sumUp(rooms, trouble), nil
}

// room is one node's answer.
type room struct {
	steps.NodeRoom
	// lacks says what is missing now, missing what would still be missing if
	// the workload's own pods were gone, unread why it is not known; "" = nothing.
	lacks, missing, unread string
	// holders are pods of others that hold GPUs, "namespace/name (4)".
	holders []string
}

// roomOn reads one node and its pods. An error is worth another attempt of
// the step; a node that cannot be read is an answer.
func (h *Hands) roomOn(ctx context.Context, name string, p steps.CheckTestRoomParams, target owned) (room, error) {
	r := room{NodeRoom: steps.NodeRoom{Node: name, Wanted: p.Settings.GPUsPerNode}}
	node, err := h.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		r.lacks, r.missing = "it is not in the cluster", "it is not in the cluster"
		return r, nil
	}
	if err != nil {
		return r.cannotTell(testpods.Fault(err, "reading node %s", name))
	}
	if why := keptOut(node, p.Settings); why != "" {
		r.lacks, r.missing = why, why
	}
	used, err := h.usedOn(ctx, name, target, &r)
	if err != nil {
		return r.cannotTell(err)
	}
	r.weigh(node, wantedOf(p.Settings), used)
	return r, nil
}

func (r room) cannotTell(err error) (room, error) {
	if incident.KindOf(err).Retryable() {
		return r, err
	}
	r.unread = err.Error()
	return r, nil
}

// use is what the pods of a node request: all of them, and those that would
// stay if the workload's own went away.
type use struct{ all, others corev1.ResourceList }

// usedOn adds up what the pods on a node hold, page by page.
func (h *Hands) usedOn(ctx context.Context, node string, target owned, r *room) (use, error) {
	used := use{corev1.ResourceList{}, corev1.ResourceList{}}
	options := metav1.ListOptions{Limit: roomPage, FieldSelector: fields.AndSelectors(
		fields.OneTermEqualSelector("spec.nodeName", node),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	).String()}
	for {
		page, err := h.Kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return used, testpods.Fault(err, "listing the pods on node %s", node)
		}
		for i := range page.Items {
			used.add(&page.Items[i], target, r)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return used, nil
		}
	}
}

func (u use) add(pod *corev1.Pod, target owned, r *room) {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	requests[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	quantity := requests[gpuName]
	gpus := int(quantity.Value())
	plus(u.all, requests)
	if target.has(pod) {
		r.ByTarget += gpus
		return
	}
	plus(u.others, requests)
	r.ByOthers += gpus
	if gpus > 0 {
		r.holders = append(r.holders, fmt.Sprintf("%s/%s (%d)", pod.Namespace, pod.Name, gpus))
	}
}

func plus(sum, more corev1.ResourceList) {
	for name, quantity := range more {
		total := sum[name]
		total.Add(quantity)
		sum[name] = total
	}
}

// wantedOf is what the scheduler must find for a test pod.
func wantedOf(s incident.CommTestSettings) corev1.ResourceList {
	wanted := requirements(s).Requests
	wanted[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	return wanted
}

// weigh compares what is wanted with what is free now and would be without
// the workload.
func (r *room) weigh(node *corev1.Node, wanted corev1.ResourceList, used use) {
	r.Free = int(left(node, used.all, gpuName))
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		quantity := wanted[name]
		want := quantity.Value()
		if free := left(node, used.all, name); free < want && r.lacks == "" {
			r.lacks = fmt.Sprintf("%d of %d %s are free", max(0, free), want, name)
		}
		if free := left(node, used.others, name); free < want && r.missing == "" {
			r.missing = fmt.Sprintf("%d of %d %s", max(0, free), want, name)
		}
	}
}

func left(node *corev1.Node, used corev1.ResourceList, name corev1.ResourceName) int64 {
	allocatable, taken := node.Status.Allocatable[name], used[name]
	return allocatable.Value() - taken.Value()
}
