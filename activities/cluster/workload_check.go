package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

const (
	// recent is how long a death counts as part of the present trouble: as long
	// as the longest default time-out of a collective, so that ranks that hang
	// after a restart are still seen as failing.
	recent = 30 * time.Minute
	// manyNames is how many ranks a sentence names before it counts the rest.
	manyNames = 4
)

// CheckWorkload answers D1: which ranks fail or are missing, who died first,
// and whether the owner gave up.
func (h *Hands) CheckWorkload(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	now, found, err := h.reread(ctx, workload)
	if err != nil {
		return unanswered(ctx, steps.CheckWorkload, workload.Target, err,
			incident.RanksFailing, incident.RankDiedFirst, incident.RanksMissing, incident.WorkloadFailed)
	}
	if found.top == nil {
		gone := fmt.Errorf("%s is gone, or was created anew", workload.Target)
		return unanswered(ctx, steps.CheckWorkload, workload.Target, gone,
			incident.RanksFailing, incident.RankDiedFirst, incident.RanksMissing, incident.WorkloadFailed)
	}
	a := autopsy{now: now, found: found, deaths: deathsOf(now, found), at: h.Now()}
	return steps.CheckResult{Findings: []incident.Finding{a.failing(), a.diedFirst(), a.missing(), a.gaveUp()}}, nil
}

// unanswered is the answer to questions that could not be asked. A check that
// is being stopped has no answer at all.
func unanswered(ctx context.Context, check string, target incident.Target, why error, questions ...string) (steps.CheckResult, error) {
	if ctx.Err() != nil {
		return steps.CheckResult{}, classify(ctx.Err(), "carrying out %s for %s", check, target)
	}
	var result steps.CheckResult
	for _, id := range questions {
		result.Findings = append(result.Findings, incident.Finding{
			ID: id, Check: check, State: incident.Unknown, Subject: subjectOf(target), Why: why.Error()})
	}
	return result, nil
}

// autopsy is what D1 looks at.
type autopsy struct {
	now    incident.Workload
	found  kin
	deaths []death
	at     time.Time
}

func (a autopsy) finding(id string) incident.Finding {
	return incident.Finding{ID: id, Check: steps.CheckWorkload, State: incident.No, Subject: subjectOf(a.now.Target)}
}

// failing: ranks whose pod failed, whose container waits for a restart after
// an error, or was restarted a short while ago.
func (a autopsy) failing() incident.Finding {
	finding := a.finding(incident.RanksFailing)
	if len(a.found.pods) == 0 {
		finding.State, finding.Why = incident.Unknown, noPods(a.now)
		return finding
	}
	latest := latestDeaths(a.deaths)
	var words, files []string
	for _, d := range latest {
		if d.standing || a.at.Sub(d.at) < recent {
			words = append(words, fmt.Sprintf("%s (%s)", d.who(), d.value()))
			files = append(files, objectFile("Pod", d.rank.Pod))
		}
	}
	total := max(len(a.now.Ranks), a.now.WantedRanks)
	finding.Value = fmt.Sprintf("%d of %d", len(words), total)
	if len(words) == 0 {
		finding.Why = fmt.Sprintf("no rank failed or was restarted after an error in the last %s", incident.Short(recent))
		return finding
	}
	finding.State, finding.Evidence = incident.Yes, files[:min(manyNames, len(files))]
	finding.Why = fmt.Sprintf("%d of %d ranks failed or were restarted after an error in the last %s: %s", len(words), total, incident.Short(recent), incident.Some(words))
	return finding
}

// noPods says why there is nothing to look at.
func noPods(now incident.Workload) string {
	if now.Suspended {
		return fmt.Sprintf("%s is suspended and has no pods", now.Target)
	}
	return fmt.Sprintf("%s has no pods now, so how they ended cannot be seen", now.Target)
}

// missing: fewer pods than declared. A workload that is suspended or has ended
// wants none.
func (a autopsy) missing() incident.Finding {
	finding := a.finding(incident.RanksMissing)
	alive, pending := 0, []string{}
	for _, rank := range a.now.Ranks {
		alive++
		if rank.Phase == string(corev1.PodPending) {
			pending = append(pending, "rank "+place(rank))
		}
	}
	finding.Value = fmt.Sprintf("%d of %d", alive, a.now.WantedRanks)
	switch over := a.overWords(); {
	case a.now.WantedRanks == 0:
		finding.State, finding.Why = incident.Unknown, fmt.Sprintf("how many ranks %s wants is not declared", a.now.Target)
	case a.now.Suspended || over != "":
		finding.Why = fmt.Sprintf("%s wants no ranks now (%s)", a.now.Target, orWord(over, "suspended"))
	case alive < a.now.WantedRanks:
		finding.State = incident.Yes
		finding.Why = fmt.Sprintf("%d of %d ranks have no pod", a.now.WantedRanks-alive, a.now.WantedRanks)
	default:
		finding.Why = fmt.Sprintf("all %d ranks have a pod", a.now.WantedRanks)
	}
	if len(pending) > 0 {
		finding.Why += fmt.Sprintf("; %d are not running yet: %s", len(pending), incident.Some(pending))
	}
	return finding
}

// overWords says how the workload ended, "" while it has not.
func (a autopsy) overWords() string { return strings.Join(endedConditions(a.found.top), "; ") }

// gaveUp: a Failed condition on the target or on one of its Jobs.
func (a autopsy) gaveUp() incident.Finding {
	finding := a.finding(incident.WorkloadFailed)
	for _, job := range a.found.jobs {
		for _, condition := range job.Status.Conditions {
			if isFailure(string(condition.Type)) && condition.Status == corev1.ConditionTrue {
				return failed(finding, "Job", job.Name, condition.Reason, condition.Message)
			}
		}
	}
	conditions, _, _ := unstructured.NestedSlice(a.found.top.Object, "status", "conditions")
	for _, entry := range conditions {
		condition := &unstructured.Unstructured{Object: asMap(entry)}
		kind, _, _ := unstructured.NestedString(condition.Object, "type")
		status, _, _ := unstructured.NestedString(condition.Object, "status")
		if isFailure(kind) && status == "True" {
			reason, _, _ := unstructured.NestedString(condition.Object, "reason")
			message, _, _ := unstructured.NestedString(condition.Object, "message")
			return failed(finding, a.found.top.GetKind(), a.found.top.GetName(), reason, message)
		}
	}
	finding.Why = fmt.Sprintf("%s carries no condition of failure", a.now.Target)
	return finding
}

func isFailure(condition string) bool {
	return condition == string(batchv1.JobFailed) || condition == string(batchv1.JobFailureTarget)
}

func failed(finding incident.Finding, kind, name, reason, message string) incident.Finding {
	finding.State, finding.Value = incident.Yes, reason
	finding.Why = fmt.Sprintf("%s %s has failed: %s", strings.ToLower(kind), name, redact.String(strings.TrimSpace(reason+" "+message)))
	finding.Evidence = []string{objectFile(kind, name)}
	return finding
}

func asMap(value any) map[string]any {
	fields, _ := value.(map[string]any)
	return fields
}
