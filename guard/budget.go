package guard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gpumedic/incident"
)

// hour is over which MaxPerHour counts.
const hour = time.Hour

// Budget says why a lease cannot be given beside those that count now; none
// when it can. It says all reasons. A lease of the same incident is no reason:
// an incident makes one change at a time.
func Budget(counting []incident.Lease, want incident.Lease, settings incident.GovernorSettings, now time.Time) []string {
	others := slices.DeleteFunc(slices.Clone(counting), func(l incident.Lease) bool { return l.OperationID == want.OperationID })
	reasons := busy(others, want)
	if !want.Isolates() {
		return reasons
	}
	for _, domain := range want.Domains {
		if why := full(others, domain, settings); why != "" {
			reasons = append(reasons, why)
		}
	}
	if why := tooFast(others, want, settings.MaxPerHour, now); why != "" {
		reasons = append(reasons, why)
	}
	return reasons
}

// busy names changes that are under way on the same target or nodes.
func busy(others []incident.Lease, want incident.Lease) []string {
	var reasons []string
	for _, lease := range others {
		if lease.State != incident.LeaseHeld || lease.Incident == want.Incident {
			continue
		}
		if lease.Target == want.Target {
			reasons = append(reasons, fmt.Sprintf("%s is being changed by %s", want.Target, holder(lease)))
		}
		for _, node := range want.Nodes {
			if slices.Contains(lease.Nodes, node) {
				reasons = append(reasons, fmt.Sprintf("node %s is being worked on by %s", node, holder(lease)))
			}
		}
	}
	return reasons
}

// holder writes "incident/lab/... (isolate-node since 02:14)".
func holder(lease incident.Lease) string {
	return fmt.Sprintf("%s (%s since %s)", lease.Incident, lease.Remedy, clock(lease.Since))
}

func clock(at time.Time) string { return at.UTC().Format("15:04") }

// full says that a failure domain has no room for the domain's nodes; "" when
// it has. Nodes count by name, whoever says that they are isolated: a lease, or
// the taint that the plan saw on them.
func full(others []incident.Lease, domain incident.Domain, settings incident.GovernorSettings) string {
	var found []outOfDuty
	for _, lease := range others {
		for _, known := range lease.Domains {
			if lease.State == incident.LeaseEnded || known.Kind != domain.Kind || known.Name != domain.Name {
				continue
			}
			for _, node := range known.Nodes {
				found = append(found, outOfDuty{node, fmt.Sprintf("%s since %s, %s", node, clock(lease.Since), lease.Incident)})
			}
		}
	}
	for _, node := range domain.Isolated {
		found = append(found, outOfDuty{node, node + " (bears the taint)"})
	}
	found = slices.DeleteFunc(found, func(o outOfDuty) bool { return slices.Contains(domain.Nodes, o.node) })
	slices.SortStableFunc(found, func(a, b outOfDuty) int { return strings.Compare(a.node, b.node) })
	found = slices.CompactFunc(found, func(a, b outOfDuty) bool { return a.node == b.node })
	most := limit(domain, settings)
	if len(found)+len(domain.Nodes) <= most {
		return ""
	}
	return fmt.Sprintf("%s has %s, at most %d of its %d nodes may be isolated at a time, and the plan isolates %d: %s",
		name(domain), already(found), most, domain.Size, len(domain.Nodes), strings.Join(domain.Nodes, ", "))
}

// outOfDuty is an isolated node, and in words since when and by whom.
type outOfDuty struct{ node, words string }

// limit is how many nodes of a domain may be isolated at a time.
func limit(domain incident.Domain, settings incident.GovernorSettings) int {
	if settings.MaxPerDomain <= 0 {
		return 0
	}
	share := max(1, int(settings.MaxShare*float64(domain.Size)))
	if domain.Kind == "cluster" {
		return share
	}
	return min(settings.MaxPerDomain, share)
}

func name(domain incident.Domain) string {
	if domain.Kind == "cluster" {
		return "cluster " + domain.Name
	}
	return fmt.Sprintf("%s %s", domain.Kind, domain.Name)
}

// already lists isolated nodes, the first few by name.
func already(found []outOfDuty) string {
	const shown = 3
	var words []string
	for _, one := range found[:min(shown, len(found))] {
		words = append(words, one.words)
	}
	if len(found) > shown {
		words = append(words, "...")
	}
	switch len(found) {
	case 0:
		return "no isolated node"
	case 1:
		return "already 1 isolated node: " + words[0]
	}
	return fmt.Sprintf("already %d isolated nodes: %s", len(found), strings.Join(words, "; "))
}

// tooFast says that the cluster's nodes are isolated faster than is allowed.
func tooFast(others []incident.Lease, want incident.Lease, most int, now time.Time) string {
	count := 0
	for _, lease := range others {
		if lease.Isolates() && now.Sub(lease.Since) < hour {
			count += len(lease.Nodes)
		}
	}
	if count+len(want.Nodes) <= most {
		return ""
	}
	return fmt.Sprintf("%d nodes of the cluster were isolated within the last hour, at most %d may be, and the plan isolates %d more", count, most, len(want.Nodes))
}

// Settle is a lease after its change: what it still counts for, and until
// when; false when it can be forgotten. Applied says that the change may have
// been made, isolated that its nodes may still be out of service.
func Settle(lease incident.Lease, applied, isolated bool, now time.Time) (incident.Lease, bool) {
	switch {
	case !lease.Isolates() || !applied:
		return lease, false
	case isolated:
		lease.State, lease.Until = incident.LeaseIsolated, now.Add(lease.IsolatedFor)
	default:
		lease.State, lease.Until = incident.LeaseEnded, lease.Since.Add(hour)
	}
	return lease, lease.Until.After(now)
}
