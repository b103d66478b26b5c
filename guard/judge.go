package guard

import (
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// Input is everything a verdict rests on.
type Input struct {
	Plan     incident.Plan
	Cause    incident.Cause
	Findings []incident.Finding
	Approval incident.ApprovalSettings
	// MinConfidence under which no remedy is tried; from the runbook.
	MinConfidence float64
	Workload      incident.WorkloadSummary
}

// protected namespaces belong to the cluster itself; no remedy touches them.
var protected = []string{"kube-system", "kube-public", "kube-node-lease"}

// Judge weighs a plan. Any reason to refuse refuses; else every plan asks,
// since no risk of today's remedies is low enough to go unasked.
func Judge(in Input) incident.Decision {
	decision := incident.Decision{What: in.Plan.Remedy, Verdict: incident.Refuse, Reasons: refusals(in)}
	if len(decision.Reasons) > 0 {
		return decision
	}
	decision.Verdict = incident.Ask
	decision.Reasons = []string{
		fmt.Sprintf("risk is %s, so %d approval(s) are needed", in.Plan.Risk, Quorum(in.Approval, in.Plan.Risk)),
		fmt.Sprintf("cause %s has confidence %.2f", in.Cause.RootCause, in.Cause.Confidence),
	}
	return decision
}

// refusals lists all reasons against a plan.
func refusals(in Input) []string {
	var reasons []string
	against := func(bad bool, format string, args ...any) {
		if bad {
			reasons = append(reasons, fmt.Sprintf(format, args...))
		}
	}
	against(in.Plan.Hash == "" || in.Plan.Seal().Hash != in.Plan.Hash, "the plan's hash does not match its content")
	against(len(in.Plan.Changes) == 0, "the plan changes nothing")
	against(!slices.Contains([]incident.Risk{incident.RiskLow, incident.RiskMedium, incident.RiskHigh}, in.Plan.Risk), "the risk %q is unknown", in.Plan.Risk)
	against(in.Cause.Confidence < in.MinConfidence, "confidence %.2f is under the runbook's minimum %.2f", in.Cause.Confidence, in.MinConfidence)
	against(in.Cause.RootCause == incident.UnknownCause || in.Cause.RootCause == "", "the cause is not known")
	against(in.Plan.TargetUID != in.Workload.UID, "the plan was made for another target (uid %s, now %s)", in.Plan.TargetUID, in.Workload.UID)
	against(len(in.Approval.Approvers) == 0, "nobody is configured who may approve")
	for _, change := range in.Plan.Changes {
		against(slices.Contains(protected, change.Namespace), "namespace %s is protected", change.Namespace)
	}
	return append(reasons, unknowns(in)...)
}

// unknowns refuses a remedy whose ground could not be looked at: unknown is
// never taken for what would suit us.
func unknowns(in Input) []string {
	var reasons []string
	for _, finding := range in.Findings {
		if finding.State == incident.Unknown && slices.Contains(grounds[in.Plan.Remedy], finding.ID) && !answered(in.Findings, finding.ID) {
			reasons = append(reasons, strings.TrimSpace(fmt.Sprintf("%s is unknown, and the remedy rests on it: %s", finding.ID, finding.Why)))
		}
	}
	return reasons
}

// answered says whether another finding answers the same question with yes.
func answered(findings []incident.Finding, id string) bool {
	return slices.ContainsFunc(findings, func(f incident.Finding) bool { return f.ID == id && f.State == incident.Yes })
}

// grounds are the questions a remedy rests on.
var grounds = map[string][]string{
	"allow-job-traffic":     {incident.PolicyBlocksRanks},
	"restore-rdma-resource": {incident.RDMANotRequested, incident.RDMAOffered},
}
