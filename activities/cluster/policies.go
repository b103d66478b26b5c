package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/activities/cluster/netpol"
	"gpumedic/incident"
	"gpumedic/steps"
)

// CheckPolicies answers D3: which traffic between the ranks, and from them to
// the cluster's DNS, the NetworkPolicies block. What could not be read makes
// the findings unknown; the error is for evidence that cannot be loaded.
func (h *Hands) CheckPolicies(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	seen, err := h.readTraffic(ctx, workload)
	if err != nil {
		return steps.CheckResult{Findings: policiesUnknown(workload.Target, err)}, nil
	}
	findings := []incident.Finding{ranksFinding(workload, seen), dnsFinding(workload, seen)}
	return steps.CheckResult{Findings: append(findings, h.foreignPolicies(ctx, workload.Target.Namespace)...)}, nil
}

// policiesUnknown is the answer when the question could not be asked.
func policiesUnknown(target incident.Target, err error) []incident.Finding {
	var findings []incident.Finding
	for _, id := range []string{incident.PolicyBlocksRanks, incident.PolicyBlocksDNS} {
		findings = append(findings, incident.Finding{ID: id, Check: steps.CheckPolicies, State: incident.Unknown,
			Subject: subjectOf(target), Why: err.Error()})
	}
	return findings
}

func subjectOf(target incident.Target) string {
	return strings.ToLower(target.Kind) + "/" + target.Name
}

func ranksFinding(workload incident.Workload, seen traffic) incident.Finding {
	survey := seen.betweenRanks()
	finding := incident.Finding{ID: incident.PolicyBlocksRanks, Check: steps.CheckPolicies, State: incident.No,
		Subject: subjectOf(workload.Target), Value: fmt.Sprintf("%d of %d directions", survey.Blocked, survey.Directions)}
	switch {
	case survey.Blocked > 0:
		names := blamed(survey)
		finding.State = incident.Yes
		finding.Subject = policySubject(names)
		finding.Why = seen.describe(survey)
		finding.Evidence = policyEvidence(names)
	case survey.Unknown > 0:
		finding.State = incident.Unknown
		finding.Why = fmt.Sprintf("for %d of %d directions the policies give no answer: %s", survey.Unknown, survey.Directions, survey.Groups[0].Reason.Unknown)
	case seen.hostNetwork():
		finding.Why = "the ranks use the host's network, to which NetworkPolicies do not apply, and none selects them"
	case survey.Directions == 0:
		finding.Why = "a single rank has nobody to talk to"
	default:
		finding.Why = fmt.Sprintf("the NetworkPolicies of namespace %s, if any, leave TCP %s open between all %d ranks",
			workload.Target.Namespace, netpol.Format(seen.ports), len(seen.ranks))
	}
	finding.Why += seen.notes()
	return finding
}

// blamed names every policy that takes part in blocking, sorted.
func blamed(survey netpol.Survey) []string {
	var names []string
	for _, group := range survey.Groups {
		if len(group.Blocked) > 0 {
			names = append(names, group.Reason.Egress...)
			names = append(names, group.Reason.Ingress...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// policySubject writes "networkpolicy/a,b": names without their namespace,
// which is that of the target.
func policySubject(names []string) string {
	return "networkpolicy/" + strings.Join(bare(names), ",")
}

func bare(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = name[strings.IndexByte(name, '/')+1:]
	}
	return out
}

func policyEvidence(names []string) []string {
	var files []string
	for _, name := range bare(names) {
		files = append(files, "objects/networkpolicy-"+name+".json")
	}
	return files
}

// describe tells who blocks what in one sentence, from the largest group.
func (t traffic) describe(survey netpol.Survey) string {
	var group netpol.Group
	for _, g := range survey.Groups {
		if len(g.Blocked) > 0 {
			group = g
			break
		}
	}
	text := fmt.Sprintf("%s: TCP %s from %s to %s is blocked", sides(group.Reason), netpol.Format(group.Blocked), group.From.Name, group.To.Name)
	if survey.Blocked > 1 {
		text += fmt.Sprintf(", as in %d of %d directions", survey.Blocked, survey.Directions)
	}
	return text + "; NCCL needs all ephemeral ports between all ranks"
}

// sides writes "deny isolates ingress and egress, web isolates egress".
func sides(reason netpol.Reason) string {
	directions := map[string][]string{}
	var names []string
	add := func(list []string, direction string) {
		for _, name := range bare(list) {
			if directions[name] == nil {
				names = append(names, name)
			}
			directions[name] = append(directions[name], direction)
		}
	}
	add(reason.Ingress, "ingress")
	add(reason.Egress, "egress")
	slices.Sort(names)
	for i, name := range names {
		names[i] = "networkpolicy " + name + " isolates " + strings.Join(directions[name], " and ")
	}
	return strings.Join(names, ", ")
}

func dnsFinding(workload incident.Workload, seen traffic) incident.Finding {
	finding := incident.Finding{ID: incident.PolicyBlocksDNS, Check: steps.CheckPolicies, State: incident.No, Subject: subjectOf(workload.Target)}
	blocked, unknown, reason := seen.toDNS(seen.set, seen.ranks)
	finding.Value = fmt.Sprintf("%d of %d ranks", blocked, len(seen.ranks))
	switch {
	case seen.dnsProblem != "" && blocked+unknown > 0:
		finding.State, finding.Why = incident.Unknown, seen.dnsProblem
	case blocked > 0:
		names := union(reason.Egress, reason.Ingress)
		finding.State, finding.Subject, finding.Evidence = incident.Yes, policySubject(names), policyEvidence(names)
		finding.Why = sides(reason) + ": UDP 53 to the pods k8s-app=kube-dns of kube-system is blocked, so the ranks cannot resolve each other's names"
	case unknown > 0:
		finding.State, finding.Why = incident.Unknown, reason.Unknown
	default:
		finding.Why = "the ranks may reach the cluster's DNS"
	}
	if seen.dnsAssumed && finding.State == incident.Yes {
		finding.Why += " (no such pod was seen; judged by these labels)"
	}
	return finding
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// toDNS counts the pods that some DNS pod cannot be reached from, and those
// of which it cannot be told, with the reason of the first.
func (t traffic) toDNS(set *netpol.Set, from []netpol.Pod) (blocked, unknown int, first netpol.Reason) {
	for _, pod := range from {
		bad, open := false, false
		for _, dns := range t.dns {
			ok, reason := set.Allowed(pod, dns, corev1.ProtocolUDP, dnsPort(dns))
			if ok {
				continue
			}
			if blocked+unknown == 0 {
				first = reason
			}
			bad, open = bad || reason.Unknown == "", open || reason.Unknown != ""
		}
		switch {
		case bad:
			blocked++
		case open:
			unknown++
		}
	}
	return blocked, unknown, first
}
