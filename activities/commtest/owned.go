package commtest

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// maxWorkload bounds the workload that is read back from evidence, in bytes.
const maxWorkload = 64 << 20

// workload reads what ResolveTarget kept.
func (h *Hands) workload(ctx context.Context, ref incident.EvidenceRef) (incident.Workload, error) {
	var workload incident.Workload
	err := incident.ReadJSON(ctx, h.Store, ref, maxWorkload, &workload)
	return workload, err
}

// owned tells the workload's own pods.
type owned struct {
	namespace string
	uids      map[string]bool
	jobs      []string
}

// targetPods reads the workload; without one, no pod is the target's.
func (h *Hands) targetPods(ctx context.Context, p steps.CheckTestRoomParams) (owned, error) {
	own := owned{namespace: p.Namespace, uids: map[string]bool{}}
	if p.Workload.Name == "" {
		return own, incident.Faultf(incident.Missing, errors.New("the workload was not kept"), "telling the workload's own pods")
	}
	workload, err := h.workload(ctx, p.Workload)
	if err != nil {
		return own, err
	}
	own.jobs = workload.JobNames
	for _, rank := range slices.Concat(workload.Ranks, workload.Earlier) {
		own.uids[rank.UID] = true
	}
	return own, nil
}

// has knows the pods that were seen, and those that the same Jobs made since.
func (o owned) has(pod *corev1.Pod) bool {
	if o.uids[string(pod.UID)] {
		return true
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "Job" && pod.Namespace == o.namespace && slices.Contains(o.jobs, owner.Name)
}
