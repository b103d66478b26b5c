package guard

import (
	"encoding/json"
	"fmt"
	"math"
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
	// CommTest is the test that looked for who is to blame; nil when none ran.
	CommTest *incident.CommTest
	// Budget are the governor's reasons against the plan.
	Budget []string
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
	decision.Reasons = append([]string{
		"risk is " + string(in.Plan.Risk) + ", so " + needed(Quorum(in.Approval, in.Plan.Risk)),
		fmt.Sprintf("cause %s has confidence %.2f", in.Cause.RootCause, in.Cause.Confidence),
	}, proofs(in)...)
	return decision
}

func needed(people int) string {
	if people == 1 {
		return "one person must approve"
	}
	return fmt.Sprintf("%d people must approve", people)
}

// refusals lists all reasons against a plan.
func refusals(in Input) []string {
	var reasons []string
	against := func(bad bool, format string, args ...any) {
		if bad {
			reasons = append(reasons, fmt.Sprintf(format, args...))
		}
	}
	against(!sealed(in.Plan), "the plan's hash does not match its content")
	against(len(in.Plan.Changes) == 0, "the plan changes nothing")
	against(!slices.Contains([]incident.Risk{incident.RiskLow, incident.RiskMedium, incident.RiskHigh}, in.Plan.Risk), "the risk %q is unknown", in.Plan.Risk)
	against(math.IsNaN(in.Cause.Confidence) || in.Cause.Confidence < in.MinConfidence, "confidence %.2f is under the runbook's minimum %.2f", in.Cause.Confidence, in.MinConfidence)
	against(in.Cause.RootCause == incident.UnknownCause || in.Cause.RootCause == "", "the cause is not known")
	against(in.Plan.TargetUID == "", "the plan does not say which target it was made for")
	against(in.Plan.TargetUID != in.Workload.UID, "the plan was made for another target (uid %s, now %s)", in.Plan.TargetUID, in.Workload.UID)
	against(slices.Contains(protected, in.Plan.Target.Namespace), "the target is in namespace %s, which is protected", in.Plan.Target.Namespace)
	people, quorum := len(in.Approval.Approvers), Quorum(in.Approval, in.Plan.Risk)
	against(people == 0, "nobody is configured who may approve")
	against(people > 0 && people < quorum, "%d people must approve, and only %d may", quorum, people)
	return slices.Concat(reasons, outOfBounds(in.Plan), outOfService(in), groundless(in), in.Budget)
}

// outOfBounds refuses to touch what belongs to the cluster itself, and what is
// not in the target's namespace. Nodes are for outOfService to judge.
func outOfBounds(plan incident.Plan) []string {
	var reasons []string
	for i, change := range plan.All() {
		object := fmt.Sprintf("%s %s/%s", strings.ToLower(change.Kind), change.Namespace, change.Name)
		switch {
		case i < len(plan.Prepare) && !mayPrepare(plan, change):
			reasons = append(reasons, fmt.Sprintf("the plan prepares %s (%s), which is not for the remedy %s to do", object, change.Verb, plan.Remedy))
		case isNode(change) && plan.Remedy == isolateNode:
		case change.Verb == verbEvict && plan.Remedy != isolateNode && plan.Remedy != replaceRank:
			reasons = append(reasons, fmt.Sprintf("the plan evicts %s, which is not for the remedy %s to do", object, plan.Remedy))
		case slices.Contains(protected, change.Namespace):
			reasons = append(reasons, fmt.Sprintf("the plan touches %s, and namespace %s is protected", object, change.Namespace))
		case change.Namespace != plan.Target.Namespace:
			reasons = append(reasons, fmt.Sprintf("the plan touches %s, outside of the target's namespace %q", object, plan.Target.Namespace))
		}
	}
	return reasons
}

// mayPrepare: while the ranks run, only a claim is made and a job that copies to it.
func mayPrepare(plan incident.Plan, change incident.ObjectChange) bool {
	claim := change.Kind == "PersistentVolumeClaim" && change.Verb == "create"
	return plan.Remedy == "faster-storage" && (claim || change.Kind == "Job" && change.Verb == "run")
}

// groundless refuses a remedy whose grounds were not seen. A ground that could
// not be looked at, or that nobody asked about, is never taken for what would
// suit us.
func groundless(in Input) []string {
	switch in.Plan.Remedy {
	case isolateNode:
		return notProved(in)
	case replaceRank:
		return nobodyBlamed(in)
	}
	if causes := causesOf[in.Plan.Remedy]; len(causes) > 0 {
		return otherCause(in, causes)
	}
	rests, known := grounds[in.Plan.Remedy]
	if !known {
		return []string{fmt.Sprintf("it is not known what the remedy %q rests on", in.Plan.Remedy)}
	}
	var reasons []string
	for _, ground := range rests {
		if why := unseen(in.Findings, ground); why != "" {
			reasons = append(reasons, why)
		}
	}
	return reasons
}

// otherCause refuses a remedy that is not for the cause found.
func otherCause(in Input, causes []string) []string {
	if slices.Contains(causes, in.Cause.RootCause) {
		return nil
	}
	return []string{fmt.Sprintf("%s is for %s, and the cause found is %s", in.Plan.Remedy, strings.Join(causes, " or "), in.Cause.RootCause)}
}

// unseen says why a ground does not hold, "" when any of its questions was
// answered with yes. An unknown weighs more than a no: it might have been a yes.
func unseen(findings []incident.Finding, ground []string) string {
	why := "nobody asked " + strings.Join(ground, " or ") + ", and the remedy rests on it"
	unknown := false
	for _, finding := range findings {
		switch {
		case !slices.Contains(ground, finding.ID):
		case finding.State == incident.Yes:
			return ""
		case finding.State == incident.No && !unknown:
			why = strings.TrimSuffix(fmt.Sprintf("the answer to %s is no, and the remedy rests on a yes: %s", finding.ID, finding.Why), ": ")
		case finding.State != incident.No && !unknown:
			unknown = true
			why = strings.TrimSuffix(fmt.Sprintf("%s is unknown, and the remedy rests on it: %s", finding.ID, finding.Why), ": ")
		}
	}
	return why
}

// grounds are what each remedy rests on: every ground must hold, and it holds
// when any of its questions was answered with yes.
var grounds = map[string][][]string{
	"allow-job-traffic":     {{incident.PolicyBlocksRanks, incident.PolicyBlocksDNS}},
	"restore-rdma-resource": {{incident.RDMANotRequested}, {incident.RDMAOffered}},
	"stop-for-test":         {{incident.RanksHoldGPUs}},
	"turn-knobs":            {{incident.KnobsDeclared}},
	"raise-memory-limit":    {{incident.HostMemoryKilled}},
	"raise-shm":             {{incident.ShmSmall}},
	"move-to-larger-gpu":    {{incident.LargerGPUFree}},
	"cache-dataset":         {{incident.CacheCold, incident.CacheMissing, incident.StorageSlow, incident.SmallFilesSlow}},
	"faster-storage":        {{incident.StorageSlow, incident.SmallFilesSlow, incident.VolumeClassSlow}},
}

// causesOf are the only causes that a remedy may be for, where it rests on what the
// logs said and on no finding: the figures of the message that memory ran out.
var causesOf = map[string][]string{
	"set-allocator": {"memory-fragmentation"},
}

// sealed says whether a plan is the one that its hash stands for.
func sealed(plan incident.Plan) bool {
	for _, change := range plan.All() {
		for _, raw := range []json.RawMessage{change.Before, change.Manifest} {
			if raw != nil && !json.Valid(raw) {
				return false // no hash can be made of it
			}
		}
	}
	return plan.Hash != "" && plan.Seal().Hash == plan.Hash
}
