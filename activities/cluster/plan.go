package cluster

import (
	"context"
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/steps"
)

// draft is a plan in the making: every reason why it cannot be is collected,
// so that a person sees all of them at once.
type draft struct {
	params   steps.PlanRemedyParams
	workload incident.Workload
	live     *unstructured.Unstructured
	// pods are those of the ranks, as they are now.
	pods []corev1.Pod
	// spares are nodes with room for a rank beyond what the plan needs.
	spares []string
	plan   incident.Plan
	whyNot []string
}

func (d *draft) refuse(format string, args ...any) {
	d.whyNot = append(d.whyNot, fmt.Sprintf(format, args...))
}

func (d *draft) result() steps.PlanRemedyResult {
	return steps.PlanRemedyResult{Possible: len(d.whyNot) == 0, WhyNot: strings.Join(d.whyNot, "; "), Plan: d.plan.Seal()}
}

// planner completes the draft of one remedy. Restart: the remedy always stops
// and starts all ranks.
type planner struct {
	complete func(context.Context, *draft) error
	restart  bool
}

// PlanRemedy makes a remedy concrete. It changes nothing: all writes are dry
// runs. A remedy that cannot be carried out is a result with WhyNot; an error
// is a cluster that could not be asked, or a remedy that is not known.
func (h *Hands) PlanRemedy(ctx context.Context, params steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
	how, known := map[string]planner{
		steps.AllowJobTraffic:     {complete: h.planJobTraffic, restart: true},
		steps.RestoreRDMAResource: {complete: h.planRDMA, restart: true},
		steps.IsolateNode:         {complete: h.planIsolation},
		steps.ReplaceRank:         {complete: h.planReplacement},
		steps.StopForTest:         {complete: h.planStop, restart: true},
	}[params.Remedy]
	if !known {
		fault := incident.Faultf(incident.Unsupported, nil, "planning remedy %q: it is not known", params.Remedy)
		fault.Next = "use " + strings.Join([]string{steps.AllowJobTraffic, steps.RestoreRDMAResource, steps.IsolateNode, steps.ReplaceRank}, ", ")
		return steps.PlanRemedyResult{}, fault
	}
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.PlanRemedyResult{}, err
	}
	d := &draft{params: params, workload: workload, plan: incident.Plan{Remedy: params.Remedy, Risk: params.Risk,
		Target: workload.Target, TargetUID: workload.UID, Restart: how.restart}}
	if ready, err := h.startDraft(ctx, d); err != nil || !ready {
		return d.result(), err
	}
	if err := how.complete(ctx, d); err != nil {
		return steps.PlanRemedyResult{}, err
	}
	return d.result(), nil
}

// startDraft reads the target and what the restart costs; false when there is
// nothing to plan for.
func (h *Hands) startDraft(ctx context.Context, d *draft) (bool, error) {
	if _, ok := suspendables[d.workload.Target.Kind]; !ok && d.plan.Restart {
		d.refuse("a %s cannot be suspended and resumed", d.workload.Target.Kind)
		return false, nil
	}
	live, err := h.liveTarget(ctx, d.workload.Target)
	if err != nil {
		return false, err
	}
	if why := replaced(d.workload.Target, live, d.workload.UID); why != "" {
		d.refuse("%s", why)
		return false, nil
	}
	d.live = live
	if d.plan.Restart {
		for _, why := range restartBlockers(d.workload.Target, live) {
			d.refuse("%s", why)
		}
	}
	if d.pods, err = h.rankPods(ctx, d.workload); err != nil {
		return false, err
	}
	d.plan.PodsRestarted, d.plan.GPUHoursLost = h.price(d.workload, d.pods)
	return true, nil
}

// price counts the ranks that a restart stops, and their GPUs multiplied by
// the hours since they started: checkpoints are not known here, so this is
// the most that can be lost.
func (h *Hands) price(workload incident.Workload, pods []corev1.Pod) (int, float64) {
	gpus := make(map[string]int, len(workload.Ranks))
	for _, rank := range workload.Ranks {
		gpus[rank.Pod] = rank.GPUs
	}
	count, hours := 0, 0.0
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		count++
		if pod.Status.StartTime != nil {
			hours += float64(gpus[pod.Name]) * max(0, h.Now().Sub(pod.Status.StartTime.Time).Hours())
		}
	}
	return count, math.Round(hours*100) / 100
}

// priceWords says the price for people.
func (d *draft) priceWords() string {
	return fmt.Sprintf("then restart %d ranks; when their last checkpoint was is not known, so up to %.2f GPU-hours since they started may be lost",
		d.plan.PodsRestarted, d.plan.GPUHoursLost)
}

// wantedTransport is "IB" when the ranks will have RDMA: their pods request a
// device that every one of their nodes offers. Else any transport counts.
func wantedTransport(requested []string, nodes []incident.Node) string {
	for _, name := range requested {
		if strings.HasSuffix(name, "/efa") {
			continue // EFA is no InfiniBand transport to NCCL
		}
		if len(nodes) > 0 && offeredBy(name, nodes) == len(nodes) {
			return "IB"
		}
	}
	return ""
}

func offeredBy(resource string, nodes []incident.Node) int {
	count := 0
	for _, node := range nodes {
		if node.RDMA[resource] > 0 {
			count++
		}
	}
	return count
}
