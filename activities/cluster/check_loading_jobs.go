package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// preparesLabel on a Job names the workload whose data it prepares.
const preparesLabel = "gpumedic.io/prepares"

// preparing answers P5: one finding for each job that prepares the data and
// fails, else one for all of them.
func (s scene) preparing(ctx context.Context) []incident.Finding {
	finding := s.finding(incident.PreprocessingFail)
	jobs, err := s.preparers(ctx)
	if err != nil {
		finding.Why = err.Error()
		return []incident.Finding{finding}
	}
	var failing []incident.Finding
	var words []string
	for _, job := range jobs {
		one := preparation(finding, job)
		words = append(words, fmt.Sprintf("%s (%s)", job.Name, one.Value))
		if one.State == incident.Yes {
			failing = append(failing, one)
		}
	}
	if failing != nil {
		return failing
	}
	finding.State = incident.No
	finding.Why = fmt.Sprintf("no job is known to prepare the data of %s: none carries the label %s=%s, and none has the same owner", s.now.Target, preparesLabel, s.now.Target.Name)
	if len(words) > 0 {
		finding.Why = "no job that prepares the data fails: " + incident.Some(words)
	}
	return []incident.Finding{finding}
}

// preparers are the jobs with the label, those beside the target under one
// owner, and those below the target that ask for no GPU while others do.
func (s scene) preparers(ctx context.Context) ([]batchv1.Job, error) {
	owner := siblingsOf(s.found)
	own := map[types.UID]bool{s.found.top.GetUID(): true}
	withGPUs := slices.ContainsFunc(s.found.jobs, func(job batchv1.Job) bool { return podGPUs(job.Spec.Template.Spec) > 0 })
	var jobs []batchv1.Job
	for _, job := range s.found.jobs {
		if !own[job.UID] && withGPUs && podGPUs(job.Spec.Template.Spec) == 0 {
			jobs = append(jobs, job)
		}
		own[job.UID] = true
	}
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := s.hands.Kube.BatchV1().Jobs(s.now.Target.Namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing jobs of namespace %s", s.now.Target.Namespace)
		}
		for _, job := range page.Items {
			ref := metav1.GetControllerOfNoCopy(&job)
			sibling := owner != "" && ref != nil && ref.UID == owner
			if !own[job.UID] && (job.Labels[preparesLabel] == s.now.Target.Name || sibling) {
				jobs = append(jobs, job)
			}
		}
		return page.Continue, nil
	})
	slices.SortFunc(jobs, func(a, b batchv1.Job) int { return strings.Compare(a.Name, b.Name) })
	return jobs, err
}

// siblingsOf is the owner whose other jobs belong to the target; "" where there
// is none. The other jobs of a CronJob are its earlier runs.
func siblingsOf(found kin) types.UID {
	if ref := metav1.GetControllerOfNoCopy(found.top); ref != nil && ref.Kind != "CronJob" {
		return ref.UID
	}
	return ""
}

// preparation answers for one job. Pods of it that failed count as long as it
// has not completed all the same.
func preparation(finding incident.Finding, job batchv1.Job) incident.Finding {
	status := job.Status
	finding.Subject, finding.State, finding.Evidence = "job/"+job.Name, incident.No, []string{objectFile("Job", job.Name)}
	finding.Value = fmt.Sprintf("failed %d, active %d, succeeded %d", status.Failed, status.Active, status.Succeeded)
	for _, condition := range status.Conditions {
		switch {
		case condition.Status != corev1.ConditionTrue:
		case isFailure(string(condition.Type)):
			finding.State = incident.Yes
			finding.Why = fmt.Sprintf("job %s, which prepares the data, has failed (%s): %s", job.Name, finding.Value,
				redact.String(strings.TrimSpace(condition.Reason+" "+condition.Message)))
			return finding
		case condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobSuccessCriteriaMet:
			return finding
		}
	}
	if status.Failed > 0 {
		finding.State = incident.Yes
		finding.Why = fmt.Sprintf("pods of job %s, which prepares the data, fail and it has not completed (%s)", job.Name, finding.Value)
	}
	return finding
}
