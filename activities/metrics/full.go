package metrics

import (
	"fmt"

	"gpumedic/incident"
)

// fullShare of the framebuffer counts as full: what is left of 80 GiB then is
// less than one large activation and a workspace.
const fullShare = 0.95

// full names the pods whose GPUs were full, at most maxNamed of them.
func (c *gpuCheck) full() []incident.Finding {
	var findings []incident.Finding
	pods, open := map[string]bool{}, 0
	named := map[string]bool{}
	for _, gpu := range c.found {
		pods[gpu.pod] = true
		switch {
		case gpu.total <= 0:
			open++
		case gpu.share() >= fullShare && !named[gpu.pod]:
			named[gpu.pod] = true
			findings = append(findings, c.fullOne(gpu))
		}
	}
	if len(findings) > 0 {
		return bounded(findings)
	}
	missing := without(c.p.pods, pods)
	switch {
	case c.broken != nil:
		return []incident.Finding{c.unknown(incident.GPUMemoryFull, c.broken.Error())}
	case open > 0:
		return []incident.Finding{c.unknown(incident.GPUMemoryFull, fmt.Sprintf(
			"the size of the framebuffer is not known for %d of %d GPUs: DCGM_FI_DEV_FB_FREE is missing, which dcgm-exporter exports", open, len(c.found)))}
	case len(missing) > 0:
		return []incident.Finding{c.unknown(incident.GPUMemoryFull, fmt.Sprintf(
			"%d of %d pods have no series DCGM_FI_DEV_FB_USED: %s; the others are not full", len(missing), len(c.p.pods), incident.Some(missing)))}
	}
	most := c.found[0]
	finding := c.finding(incident.GPUMemoryFull, incident.No)
	finding.Value = percent(most.share())
	finding.Why = fmt.Sprintf("of %d GPUs the fullest, %s, used at most %s of its %s within %s", len(c.found), most, size(most.used), size(most.total), c.span())
	finding.Evidence = []string{incident.GPUMemoryFile}
	return []incident.Finding{finding}
}

func (c *gpuCheck) fullOne(gpu framebuffer) incident.Finding {
	finding := c.finding(incident.GPUMemoryFull, incident.Yes)
	finding.Subject, finding.Value, finding.Evidence = "pod/"+gpu.pod, percent(gpu.share()), []string{incident.GPUMemoryFile}
	finding.Why = fmt.Sprintf("%s used up to %s of its %s (used + free + reserved) within %s; that alone is no fault: "+
		"caching allocators and servers keep what they once took", gpu, size(gpu.used), size(gpu.total), c.span())
	return finding
}

// maxNamed bounds the findings that name one pod each.
const maxNamed = 8

// bounded keeps the first findings and counts the rest.
func bounded(findings []incident.Finding) []incident.Finding {
	if extra := len(findings) - maxNamed; extra > 0 {
		findings = findings[:maxNamed]
		findings[maxNamed-1].Why += fmt.Sprintf("; the same is true of %d further ones", extra)
	}
	return findings
}

// without lists the names that are not in a set.
func without(names []string, there map[string]bool) []string {
	var missing []string
	for _, name := range names {
		if !there[name] {
			missing = append(missing, name)
		}
	}
	return missing
}
