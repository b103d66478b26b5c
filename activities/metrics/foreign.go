package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"gpumedic/incident"
)

const (
	// foreignLeast is what a GPU that no pod has may hold: the driver and a
	// context of a monitor stay far below.
	foreignLeast = gib
	// foreignTime is how long a GPU must have been seen without a pod: at the start
	// and end of a pod the exporter learns of it some scrapes late.
	foreignTime = 5 * time.Minute
)

// DCGM counts per GPU and not per process. What it does show is memory on the
// ranks' GPUs while no pod had them: the exporter's series without a pod.
const (
	ownedQuery  = `max by ($of, gpu, UUID) (max_over_time(DCGM_FI_DEV_FB_USED{GPU_I_ID="",$sel}[$window]))`
	orphanQuery = `max by (UUID) (quantile_over_time(0.5, DCGM_FI_DEV_FB_USED{$sel}[$window]))`
	orphanTime  = `max by (UUID) (count_over_time(DCGM_FI_DEV_FB_USED{$sel}[$window:1m]))`
)

// foreign answers yes where a rank's GPU held memory while it was no pod's, and
// is unknown else: what happens beside a running pod only a node agent sees.
func (c *gpuCheck) foreign(ctx context.Context) []incident.Finding {
	if len(c.found) == 0 {
		return []incident.Finding{c.unknown(incident.GPUForeignProcess, "DCGM counts the memory of a GPU, not of its processes; only a node agent could name them")}
	}
	owners := map[string]framebuffer{}
	for _, sample := range c.vector(ctx, c.fill(ownedQuery, c.way)) {
		owners[string(sample.Metric["UUID"])] = framebuffer{pod: string(sample.Metric[model.LabelName(c.way.label)]), gpu: gpuOf(sample.Metric)}
	}
	orphans := about{selector: c.selector("UUID=~"+anyOf(sortedKeys(owners), ""), c.way.label+"="+strconv.Quote(""))}
	held := byName(c.vector(ctx, c.fill(orphanQuery, orphans)), about{label: "UUID"})
	minutes := byName(c.vector(ctx, c.fill(orphanTime, orphans)), about{label: "UUID"})
	var findings []incident.Finding
	for _, uuid := range byValue(held) {
		if owner, ours := owners[uuid]; ours && held[uuid]*mib >= foreignLeast && minutes[uuid] >= foreignTime.Minutes() {
			findings = append(findings, c.orphan(uuid, owner, held[uuid]*mib, minutes[uuid]))
		}
	}
	if len(findings) > 0 {
		return bounded(findings)
	}
	return []incident.Finding{c.unseen()}
}

func (c *gpuCheck) orphan(uuid string, owner framebuffer, held, minutes float64) incident.Finding {
	finding := c.finding(incident.GPUForeignProcess, incident.Yes)
	finding.Subject, finding.Value, finding.Evidence = "pod/"+owner.pod, size(held), []string{gpuAsked}
	finding.Why = fmt.Sprintf("%s (%s) held %s for %.0f minutes of %s while no pod had it: a process outside of pods, or a context that "+
		"was left behind, has it; DCGM does not name its owner, nvidia-smi on the node does", owner, uuid, size(held), minutes, c.span())
	return finding
}

// unseen is the answer where nothing shows a foreign process, which is no proof.
func (c *gpuCheck) unseen() incident.Finding {
	most := slices.MaxFunc(c.found, func(a, b framebuffer) int { return cmp.Compare(a.used, b.used) })
	return c.unknown(incident.GPUForeignProcess, fmt.Sprintf("%s held at most %s in all; DCGM counts the memory of a GPU, not of its processes: "+
		"only a node agent could name them", most, size(most.used)))
}
