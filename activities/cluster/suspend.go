package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// suspendedBy marks a workload that we suspended with the incident's id, so
// that nobody else's suspension is ever ended by us.
const suspendedBy = "gpumedic.io/suspended-by"

// SuspendWorkload stops the ranks through what owns them and waits until
// their pods are gone, but for those that end on nodes which are unheard. It
// may be repeated. A workload that somebody else has
// suspended is a Conflict. The wait ends with ctx.
func (h *Hands) SuspendWorkload(ctx context.Context, params steps.WorkloadParams) (steps.WorkloadResult, error) {
	already, err := h.switchTo(ctx, params, true)
	if err != nil {
		return steps.WorkloadResult{}, err
	}
	if err := h.awaitGone(ctx, params); err != nil {
		return steps.WorkloadResult{}, err
	}
	return steps.WorkloadResult{At: h.Now().UTC(), Already: already}, nil
}

// ResumeWorkload lets the owner start the ranks again, if it was this
// incident that stopped them. It may be repeated and does not wait for them.
func (h *Hands) ResumeWorkload(ctx context.Context, params steps.WorkloadParams) (steps.WorkloadResult, error) {
	already, err := h.switchTo(ctx, params, false)
	if err != nil {
		return steps.WorkloadResult{}, err
	}
	return steps.WorkloadResult{At: h.Now().UTC(), Already: already}, nil
}

// switchTo suspends or resumes, true when that was so already.
func (h *Hands) switchTo(ctx context.Context, params steps.WorkloadParams, suspend bool) (already bool, err error) {
	for range writeTries {
		if already, err = h.switchOnce(ctx, params, suspend); !raced(err) {
			break
		}
	}
	verb := "resuming"
	if suspend {
		verb = "suspending"
	}
	return already, faultOf(err, "%s %s", verb, params.Target)
}

func (h *Hands) switchOnce(ctx context.Context, params steps.WorkloadParams, suspend bool) (bool, error) {
	client, how, err := h.targetClient(params.Target)
	if err != nil {
		return false, err
	}
	live, err := h.liveTarget(ctx, params.Target)
	if err != nil {
		return false, err
	}
	if live == nil {
		return false, incident.Faultf(incident.Missing, nil, "%s is gone", params.Target)
	}
	why, err := h.meant(ctx, params.Target, live, params.TargetUID, params.Incident)
	if err != nil {
		return false, err
	}
	if why != "" {
		return false, void(why, "reading %s", params.Target)
	}
	suspended, _ := how.field.get(live.Object)
	mark := live.GetAnnotations()[suspendedBy]
	if suspended == true && mark != params.Incident {
		fault := incident.Faultf(incident.Conflict, nil, "%s was suspended by somebody else", params.Target)
		fault.Next = "ask who suspended it; gpumedic resumes only what it suspended itself"
		return false, fault
	}
	if (suspended == true) == suspend && (mark != "") == suspend {
		return true, nil
	}
	patch, err := suspendPatch(live, how, params.Incident, suspend)
	if err != nil {
		return false, incident.Faultf(incident.Internal, err, "encoding the suspension of %s", params.Target)
	}
	_, err = client.Patch(ctx, params.Target.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: steps.FieldManager})
	return false, err
}

// suspendPatch sets the field and our mark in one write, fenced by the object
// that was read. Resuming leaves an explicit false where the field was unset.
func suspendPatch(live *unstructured.Unstructured, how suspendable, by string, suspend bool) ([]byte, error) {
	var mark any
	if suspend {
		mark = by
	}
	patch := map[string]any{"metadata": map[string]any{
		"uid": live.GetUID(), "resourceVersion": live.GetResourceVersion(), "annotations": map[string]any{suspendedBy: mark}}}
	if err := how.field.set(patch, suspend); err != nil {
		return nil, err
	}
	return json.Marshal(patch)
}

// awaitGone waits until no pod of the target is left that runs or ends, and
// its controller has taken note.
func (h *Hands) awaitGone(ctx context.Context, params steps.WorkloadParams) error {
	left, err := h.awaitPodsGone(ctx, params)
	if err == nil {
		err = h.awaitNoted(ctx, params.Target)
	}
	if err != nil && ctx.Err() != nil {
		fault := incident.Faultf(incident.TimedOut, err, "waiting for %d pods of %s to go", left, params.Target)
		fault.Next = "look for pods that hang in Terminating"
		return fault
	}
	return err
}

func (h *Hands) awaitPodsGone(ctx context.Context, params steps.WorkloadParams) (left int, err error) {
	live, err := h.liveTarget(ctx, params.Target)
	if err != nil {
		return 0, err
	}
	uid := params.TargetUID
	if live != nil {
		uid = string(live.GetUID()) // a replaced target's; switchOnce has proved that it is meant
	}
	err = h.whenPodsChange(ctx, params.Target.Namespace, 2*time.Second, func(ctx context.Context) (bool, error) {
		pods, err := h.podsOf(ctx, params.Target, uid)
		if err != nil {
			return false, err
		}
		left = 0
		for _, pod := range pods {
			unseen := pod.DeletionTimestamp != nil && slices.Contains(params.Unheard, pod.Spec.NodeName)
			if !ended(pod) && !unseen {
				left++
			}
		}
		return left == 0, nil
	})
	return left, err
}

// awaitNoted waits for the Job controller's own word: the API server lets the
// template of a Job change only once its status says that it is suspended,
// which comes a moment after the last pod went. Other kinds have no such rule.
func (h *Hands) awaitNoted(ctx context.Context, target incident.Target) error {
	for target.Kind == "Job" {
		live, err := h.liveTarget(ctx, target)
		if err != nil || live == nil {
			return err
		}
		active, _, _ := unstructured.NestedInt64(live.Object, "status", "active")
		if active == 0 && holds(live, string(batchv1.JobSuspended)) {
			return nil
		}
		h.progress(ctx)
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether a condition of an object is true.
func holds(object *unstructured.Unstructured, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		if condition, _ := entry.(map[string]any); condition["type"] == kind && condition["status"] == "True" {
			return true
		}
	}
	return false
}

// ended says that a pod holds no GPU any more.
func ended(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed)
}
