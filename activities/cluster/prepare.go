package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

const (
	// copyStart is how long a copy may wait for its volume and its node.
	copyStart = 15 * time.Minute
	// copyTime bounds a copy itself; what is larger is for a person to move.
	copyTime = 24 * time.Hour
	// lastWords is how many lines of a failed copy are told.
	lastWords = 3
)

// PrepareChange does what a plan needs before the ranks are stopped: it creates
// objects, once, under the plan's operation id, and waits until Jobs among them have
// ended well. A Job that failed, or did not start, is an error that no retry mends.
// The wait ends with ctx.
func (h *Hands) PrepareChange(ctx context.Context, params steps.ApplyChangeParams) (steps.ApplyChangeResult, error) {
	target, err := h.liveTarget(ctx, params.Plan.Target)
	if err != nil {
		return steps.ApplyChangeResult{}, err
	}
	if why := replaced(params.Plan.Target, target, params.Plan.TargetUID); why != "" {
		return steps.ApplyChangeResult{}, void(why, "preparing %s", params.Plan.Remedy)
	}
	return h.applyAll(ctx, params.OperationID, params.Plan.Prepare)
}

// run creates a Job, or finds the one that an earlier attempt created, and waits
// until it has ended well.
func (h *Hands) run(ctx context.Context, operation string, change incident.ObjectChange) (bool, error) {
	already, err := h.create(ctx, operation, change)
	if err != nil {
		return already, err
	}
	err = h.whenPodsChange(ctx, change.Namespace, 2*time.Second, func(ctx context.Context) (bool, error) {
		live, err := h.liveObject(ctx, change)
		if err != nil {
			return false, err
		}
		return h.ran(ctx, change, live)
	})
	if err != nil && ctx.Err() != nil {
		fault := incident.Faultf(incident.TimedOut, err, "waiting for %s to end", nameOf(change))
		fault.Next = "look at its pods"
		return already, fault
	}
	return already, err
}

// ran says whether a Job has ended well.
func (h *Hands) ran(ctx context.Context, change incident.ObjectChange, live *unstructured.Unstructured) (bool, error) {
	if live == nil {
		return false, incident.Faultf(incident.Missing, nil, "waiting for %s to end: somebody deleted it", nameOf(change))
	}
	if holds(live, string(batchv1.JobComplete)) {
		return true, nil
	}
	list, err := h.Kube.CoreV1().Pods(change.Namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + change.Name})
	if err != nil {
		return false, classify(err, "listing pods of %s", nameOf(change))
	}
	if holds(live, string(batchv1.JobFailed)) {
		return false, h.failed(ctx, change, list.Items)
	}
	h.progress(ctx, fmt.Sprintf("%s runs since %s", nameOf(change), live.GetCreationTimestamp().UTC().Format(time.RFC3339)))
	if waits := neverStarted(list.Items); waits != "" && h.Now().Sub(live.GetCreationTimestamp().Time) > copyStart {
		return false, cannotRun(change, fmt.Errorf("after %s %s", incident.Short(copyStart), waits))
	}
	return false, nil
}

// failed tells the last words of a Job that gave up.
func (h *Hands) failed(ctx context.Context, change incident.ObjectChange, pods []corev1.Pod) error {
	words := "it failed"
	if len(pods) > 0 {
		lines := int64(lastWords)
		said, err := h.Kube.CoreV1().Pods(change.Namespace).GetLogs(pods[len(pods)-1].Name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		if text := strings.TrimSpace(string(said)); err == nil && text != "" {
			words += ": " + redact.String(text)
		}
	}
	return cannotRun(change, fmt.Errorf("%s", words))
}

func cannotRun(change incident.ObjectChange, why error) error {
	fault := incident.Faultf(incident.Unsupported, why, "waiting for %s to end", nameOf(change))
	fault.Next = "the copy is removed again; copy the dataset by hand"
	return fault
}

// neverStarted says why no pod of a Job has run so far, "" when one has.
func neverStarted(pods []corev1.Pod) string {
	why := "it has no pod"
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodPending {
			return ""
		}
		why = fmt.Sprintf("pod %s has not started", pod.Name)
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue && condition.Message != "" {
				why += ": " + condition.Message
			}
		}
	}
	return why
}
