package cluster

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// planStop plans to stop the ranks for a communication test that needs their
// GPUs. The change is the one that suspend-workload makes, told by a dry run;
// what it costs is that the ranks start from their last checkpoint.
func (h *Hands) planStop(ctx context.Context, d *draft) error {
	d.plan.Summary = fmt.Sprintf("Stop the %d ranks of %s for a communication test between their nodes, then start them again; "+
		"%s.", d.plan.PodsRestarted, d.workload.Target, d.lostWords())
	var err error
	for range writeTries {
		if err = h.planSuspension(ctx, d); !raced(err) {
			break
		}
		live, err := h.liveTarget(ctx, d.workload.Target) // its status moves on while the ranks run
		if err != nil || live == nil {
			return err
		}
		d.live = live
	}
	return faultOf(err, "dry run of the suspension of %s", d.workload.Target)
}

// planSuspension plans against the target as it was read.
func (h *Hands) planSuspension(ctx context.Context, d *draft) error {
	client, how, err := h.targetClient(d.workload.Target)
	if err != nil {
		return err
	}
	field := how.field.String()
	change, err := applyOf(d.live, fieldValues{field: true}, []string{field})
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding the suspension of %s", d.workload.Target)
	}
	d.plan.Changes = []incident.ObjectChange{change}
	patch, err := suspendPatch(d.live, how, d.params.Incident, true)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding the suspension of %s", d.workload.Target)
	}
	planned, err := client.Patch(ctx, d.workload.Target.Name, types.MergePatchType, patch,
		metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
	switch {
	case err == nil:
		return d.show(planned)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		d.refuse("the API server would refuse it: %v", err)
		return nil
	}
	return err
}

// show puts the difference between the live target and the planned one into
// the plan.
func (d *draft) show(planned *unstructured.Unstructured) (err error) {
	name := strings.ToLower(d.workload.Target.Kind) + " " + d.workload.Target.Namespace + "/" + d.workload.Target.Name
	if d.plan.Diff, err = unifiedDiff(name, d.live.Object, planned.Object); err != nil {
		return incident.Faultf(incident.Internal, err, "showing the change of %s", d.workload.Target)
	}
	return nil
}
