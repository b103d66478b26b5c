package cluster

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

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
	// nodes are those of the ranks, once a planner has asked for them.
	nodes map[string]corev1.Node
	// spares are nodes with room for a rank beyond what the plan needs.
	spares []string
	// checkpoint is the last one declared; zero when none is.
	checkpoint time.Time
	plan       incident.Plan
	whyNot     []string
}

func (d *draft) refuse(format string, args ...any) {
	d.whyNot = append(d.whyNot, fmt.Sprintf(format, args...))
}

func (d *draft) result() steps.PlanRemedyResult {
	return steps.PlanRemedyResult{Possible: len(d.whyNot) == 0, WhyNot: strings.Join(d.whyNot, "; "), Plan: d.plan.Seal()}
}

// planner completes the draft of one remedy. Restart: the remedy always stops
// and starts all ranks. Template: it changes the pod template, which restarts
// them too, unless the kind rolls its pods by itself.
type planner struct {
	complete          func(context.Context, *draft) error
	restart, template bool
}

// planners are the remedies that can be planned.
func (h *Hands) planners() map[string]planner {
	return map[string]planner{
		steps.AllowJobTraffic:     {complete: h.planJobTraffic, restart: true},
		steps.RestoreRDMAResource: {complete: h.planRDMA, restart: true},
		steps.IsolateNode:         {complete: h.planIsolation},
		steps.ReplaceRank:         {complete: h.planReplacement},
		steps.StopForTest:         {complete: h.planStop, restart: true},
		steps.SetAllocator:        {complete: h.planAllocator, template: true},
		steps.TurnKnobs:           {complete: h.planKnobs, template: true},
		steps.RaiseMemory:         {complete: h.planMemory, template: true},
		steps.RaiseShm:            {complete: h.planShm, template: true},
		steps.LargerGPU:           {complete: h.planLargerGPU, template: true},
		steps.CacheDataset:        {complete: h.planCache, template: true},
		steps.FasterStorage:       {complete: h.planStorage, template: true},
	}
}

// Remedies names everything that can be planned, in alphabetical order.
func (h *Hands) Remedies() []string { return slices.Sorted(maps.Keys(h.planners())) }

// PlanRemedy makes a remedy concrete. It changes nothing: all writes are dry
// runs. A remedy that cannot be carried out is a result with WhyNot; an error
// is a cluster that could not be asked, or a remedy that is not known.
func (h *Hands) PlanRemedy(ctx context.Context, params steps.PlanRemedyParams) (steps.PlanRemedyResult, error) {
	how, known := h.planners()[params.Remedy]
	if !known {
		fault := incident.Faultf(incident.Unsupported, nil, "planning remedy %q: it is not known", params.Remedy)
		fault.Next = "use one of " + strings.Join(h.Remedies(), ", ")
		return steps.PlanRemedyResult{}, fault
	}
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.PlanRemedyResult{}, err
	}
	d := &draft{params: params, workload: workload, plan: incident.Plan{Remedy: params.Remedy, Risk: params.Risk,
		Target: workload.Target, TargetUID: workload.UID, Restart: how.restart || how.template && !rolls[workload.Target.Kind]}}
	if ready, err := h.startDraft(ctx, d); err != nil || !ready {
		return d.result(), err
	}
	if err := how.complete(ctx, d); err != nil {
		return steps.PlanRemedyResult{}, err
	}
	if how.restart || how.template {
		h.noteBudgets(ctx, d)
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
	why, err := h.meant(ctx, d.workload.Target, live, d.workload.UID, d.params.Incident)
	if err != nil {
		return false, err
	}
	if why != "" {
		d.refuse("%s", why)
		return false, nil
	}
	d.live = live
	d.plan.TargetUID = string(live.GetUID()) // an earlier remedy of this incident may have replaced it
	if d.plan.Restart {
		for _, why := range restartBlockers(d.workload.Target, live) {
			d.refuse("%s", why)
		}
	}
	if d.pods, err = h.rankPods(ctx, d.workload); err != nil {
		return false, err
	}
	d.plan.PodsRestarted, d.plan.GPUHoursLost = h.price(d)
	return true, nil
}

// price counts the ranks that a restart stops, and their GPUs multiplied by
// the hours since their last checkpoint. Where none is declared it is the time
// since they started: the most that can be lost.
func (h *Hands) price(d *draft) (int, float64) {
	gpus := make(map[string]int, len(d.workload.Ranks))
	for _, rank := range d.workload.Ranks {
		gpus[rank.Pod] = rank.GPUs
	}
	d.checkpoint = checkpointOf(d.live, d.pods)
	count, hours := 0, 0.0
	for _, pod := range d.pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		count++
		if start := pod.Status.StartTime; start != nil {
			since := start.Time
			if d.checkpoint.After(since) {
				since = d.checkpoint
			}
			hours += float64(gpus[pod.Name]) * max(0, h.Now().Sub(since).Hours())
		}
	}
	return count, math.Round(hours*100) / 100
}

// checkpointOf is the latest checkpoint that the workload or its pods declare;
// zero when none does, or not as a time.
func checkpointOf(live *unstructured.Unstructured, pods []corev1.Pod) time.Time {
	latest, _ := time.Parse(time.RFC3339, live.GetAnnotations()[incident.CheckpointAnnotation])
	for _, pod := range pods {
		if at, err := time.Parse(time.RFC3339, pod.Annotations[incident.CheckpointAnnotation]); err == nil && at.After(latest) {
			latest = at
		}
	}
	return latest
}

// priceWords says the price for people.
func (d *draft) priceWords() string {
	return fmt.Sprintf("then restart %d ranks; %s", d.plan.PodsRestarted, d.lostWords())
}

// lostWords says what a restart loses.
func (d *draft) lostWords() string {
	if !d.checkpoint.IsZero() {
		return fmt.Sprintf("their last checkpoint is declared to be of %s, so about %.2f GPU-hours since then are lost",
			d.checkpoint.UTC().Format(time.RFC3339), d.plan.GPUHoursLost)
	}
	return fmt.Sprintf("when their last checkpoint was is not known, so up to %.2f GPU-hours since they started may be lost", d.plan.GPUHoursLost)
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
