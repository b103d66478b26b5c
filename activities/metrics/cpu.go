package metrics

import (
	"context"
	"fmt"
	"strings"

	"gpumedic/incident"
)

// Questions about the CPU of pods. cAdvisor also exports the sum of a pod, under
// no container's name. Limits are told by kube-state-metrics, else by cAdvisor's
// own reading of the quota, which is missing where there is no limit.
const (
	cpuQuery      = `sum by ($of) (rate(container_cpu_usage_seconds_total{container!="",container!="POD",$sel}[` + rateWindow + `]))`
	throttleQuery = `sum by ($of) (rate(container_cpu_cfs_throttled_periods_total{container!="",$sel}[` + rateWindow + `]))` +
		` / sum by ($of) (rate(container_cpu_cfs_periods_total{container!="",$sel}[` + rateWindow + `]))`
	receiveQuery = `sum by ($of) (rate(container_network_receive_bytes_total{$sel}[` + rateWindow + `]))`
	// throttledShare of the periods with the whole quota used up says the same as
	// a usage near the limit, also where the load comes in bursts.
	throttledShare = 0.25
)

var limitQueries = []string{
	`sum by ($of) (kube_pod_container_resource_limits{resource="cpu",$sel})`,
	`sum by ($of) (container_spec_cpu_quota{container!="",$sel} / container_spec_cpu_period{container!="",$sel})`,
}

// saturated answers whether the ranks use all the CPU they may.
func (c *dataCheck) saturated(ctx context.Context) incident.Finding {
	if len(c.p.running) == 0 {
		return c.unknown(incident.CPUSaturated, "no rank was running")
	}
	used := c.ofPods(ctx, cpuQuery)
	if len(used) == 0 {
		return c.unknown(incident.CPUSaturated, "Prometheus has no container_cpu_usage_seconds_total of the running ranks, which the kubelet (cAdvisor) exports")
	}
	limits := c.limits(ctx)
	throttled := c.ofPods(ctx, throttleQuery)
	received := c.ofPods(ctx, receiveQuery)
	shares := map[string]float64{}
	for pod, cpus := range used {
		if limits[pod] > 0 {
			shares[pod] = cpus / limits[pod]
		}
	}
	return c.judgeCPU(used, limits, shares, throttled, received)
}

// ofPods asks about the running ranks, by the first labels that fit.
func (c *dataCheck) ofPods(ctx context.Context, template string) map[string]float64 {
	found, way := c.first(ctx, template, c.pods(c.p.running))
	return byName(found, way)
}

func (c *dataCheck) limits(ctx context.Context) map[string]float64 {
	for _, query := range limitQueries {
		if limits := c.ofPods(ctx, query); len(limits) > 0 {
			return limits
		}
	}
	return nil
}

func (c *dataCheck) judgeCPU(used, limits, shares, throttled, received map[string]float64) incident.Finding {
	finding := c.finding(incident.CPUSaturated, incident.No)
	worst, most := byValue(used)[0], 0.0
	if len(shares) > 0 {
		worst = byValue(shares)[0]
	}
	for pod, share := range throttled {
		if share > most && (share >= throttledShare || len(shares) == 0) {
			worst, most = pod, share
		}
	}
	finding.Why = c.cpuWords(worst, used, limits, throttled) + receivedWords(received)
	if limits[worst] > 0 {
		finding.Value = fmt.Sprintf("%s of %.4g CPUs", percent(shares[worst]), limits[worst])
	}
	missing := without(c.p.running, present(shares))
	switch {
	case c.broken != nil:
		return c.unknown(incident.CPUSaturated, "")
	case shares[worst] >= busyShare || throttled[worst] >= throttledShare:
		finding.State, finding.Subject = incident.Yes, "pod/"+worst
	case len(missing) > 0:
		finding.State = incident.Unknown
		finding.Why += fmt.Sprintf("; of %d of %d running ranks the use of CPU or its limit is not known (kube_pod_container_resource_limits of kube-state-metrics, "+
			"container_spec_cpu_quota of cAdvisor): %s", len(missing), len(c.p.running), incident.Some(missing))
	}
	return finding
}

func (c *dataCheck) cpuWords(pod string, used, limits, throttled map[string]float64) string {
	words := []string{fmt.Sprintf("over %s pod %s used %.1f CPUs", rateWindow, pod, used[pod])}
	if limits[pod] > 0 {
		words[0] += fmt.Sprintf(" of its limit of %.4g", limits[pod])
	}
	if share, there := throttled[pod]; there {
		words = append(words, fmt.Sprintf("and was throttled in %s of the periods", percent(share)))
	}
	return strings.Join(words, " ")
}

// receivedWords tells what the ranks received, which says whether data comes in
// over the network at all.
func receivedWords(received map[string]float64) string {
	if len(received) == 0 {
		return ""
	}
	sum := 0.0
	for _, bytes := range received {
		sum += bytes
	}
	return fmt.Sprintf("; %d running ranks received %.1f MB/s over the pod network in all", len(received), sum/1e6)
}
