package metrics

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/common/model"

	"gpumedic/incident"
)

// volumeFull is the share of bytes or inodes from which a volume counts as full:
// file systems keep some back, and grow slow when nearly full.
const volumeFull = 0.95

// Questions about claims. All are gauges of the kubelet, which has them only of
// mounted volumes whose driver has GET_VOLUME_STATS. A file system without a
// fixed number of inodes reports none, which "> 0" leaves out.
const (
	bytesQuery  = `max by ($of) (kubelet_volume_stats_used_bytes{$sel} / (kubelet_volume_stats_capacity_bytes{$sel} > 0))`
	inodesQuery = `max by ($of) (kubelet_volume_stats_inodes_used{$sel} / (kubelet_volume_stats_inodes{$sel} > 0))`
	// mountsQuery tells which claims pods mount, where no pod's object was kept.
	mountsQuery = `max by (persistentvolumeclaim) (kube_pod_spec_volumes_persistentvolumeclaims_info{$sel})`
)

// volumes answers whether the claims that the ranks mount are full.
func (c *dataCheck) volumes(ctx context.Context, index incident.EvidenceRef) []incident.Finding {
	claims, known, err := c.hands.claims(ctx, index, c.p.pods)
	switch {
	case err != nil:
		return []incident.Finding{c.unknown(incident.VolumeFull, err.Error())}
	case !known:
		claims = c.mounted(ctx)
		if len(claims) == 0 {
			return []incident.Finding{c.unknown(incident.VolumeFull, "which volumes the ranks mount is not known: no pod was kept as evidence, and Prometheus "+
				"has no kube_pod_spec_volumes_persistentvolumeclaims_info of them, which kube-state-metrics exports")}
		}
	case len(claims) == 0:
		finding := c.finding(incident.VolumeFull, incident.No)
		finding.Why = "the ranks mount no claim"
		return []incident.Finding{finding}
	}
	bytes, way := c.first(ctx, bytesQuery, c.claimsOf(claims))
	inodes, _ := c.first(ctx, inodesQuery, c.claimsOf(claims))
	return c.judgeVolumes(claims, byName(bytes, way), byName(inodes, about{label: claimLabel}))
}

// mounted asks kube-state-metrics for the claims of the pods.
func (c *dataCheck) mounted(ctx context.Context) []string {
	found, _ := c.first(ctx, mountsQuery, c.pods(c.p.pods))
	var claims []string
	for _, sample := range found {
		claims = append(claims, string(sample.Metric[model.LabelName(claimLabel)]))
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}

func (c *dataCheck) judgeVolumes(claims []string, bytes, inodes map[string]float64) []incident.Finding {
	var findings []incident.Finding
	for _, claim := range claims {
		switch {
		case bytes[claim] >= volumeFull:
			findings = append(findings, c.fullVolume(claim, bytes[claim], "bytes"))
		case inodes[claim] >= volumeFull:
			findings = append(findings, c.fullVolume(claim, inodes[claim], "inodes"))
		}
	}
	missing := without(claims, present(bytes))
	switch {
	case len(findings) > 0:
		return bounded(findings)
	case c.broken != nil || len(missing) > 0:
		return []incident.Finding{c.unknown(incident.VolumeFull, fmt.Sprintf("Prometheus has no kubelet_volume_stats_used_bytes of claim %s; "+
			"the kubelet exports it for mounted volumes whose driver reports statistics", incident.Some(missing)))}
	}
	worst := byValue(bytes)[0]
	finding := c.finding(incident.VolumeFull, incident.No)
	finding.Value = percent(bytes[worst]) + " of bytes"
	finding.Why = fmt.Sprintf("of the %d claims that the ranks mount the fullest, %s, is filled to %s%s", len(claims), worst, percent(bytes[worst]), inodeWords(inodes))
	return []incident.Finding{finding}
}

func (c *dataCheck) fullVolume(claim string, share float64, what string) incident.Finding {
	finding := c.finding(incident.VolumeFull, incident.Yes)
	finding.Subject, finding.Value = "pvc/"+claim, percent(share)+" of "+what
	finding.Why = fmt.Sprintf("the volume of claim %s has used %s of its %s, as its kubelet reports", claim, percent(share), what)
	return finding
}

// inodeWords tells the highest use of inodes, or that none is reported.
func inodeWords(inodes map[string]float64) string {
	if len(inodes) == 0 {
		return "; its file system reports no inodes"
	}
	return fmt.Sprintf("; of inodes at most %s are used", percent(inodes[byValue(inodes)[0]]))
}
