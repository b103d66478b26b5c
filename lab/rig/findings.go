package rig

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/scenarios"
)

// checkFindings wants the answers that the scenario promises to be among those of
// the record.
func checkFindings(record incident.Record, want scenarios.Expect) []string {
	var wrong []string
	for _, id := range slices.Sorted(maps.Keys(want.Findings)) {
		pattern, err := regexp.Compile("^(?:" + want.Findings[id] + ")$")
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("finding %s: %v", id, err))
			continue
		}
		var told []string
		for _, finding := range record.Findings {
			if finding.ID == id {
				told = append(told, strings.TrimSpace(string(finding.State)+" "+finding.Value))
			}
		}
		if !slices.ContainsFunc(told, pattern.MatchString) {
			wrong = append(wrong, fmt.Sprintf("finding %s is %q, must be %s", id, told, want.Findings[id]))
		}
	}
	return wrong
}

// checkProbes wants no pod of a probe of storage to be left. The cluster removes
// them a moment after their Job.
func (r *Rig) checkProbes(ctx context.Context) []string {
	for try := 0; ; try++ {
		pods, err := r.Admin.CoreV1().Pods(scenarios.Namespace).List(ctx, metav1.ListOptions{LabelSelector: faults.ProbeLabel + "=true"})
		if err != nil {
			return []string{fmt.Sprintf("looking for pods of probes: %v", err)}
		}
		if len(pods.Items) == 0 {
			return nil
		}
		if try > 100 || !pause(ctx, pollEvery) {
			return []string{"pod " + pods.Items[0].Name + " of a probe of storage was left behind"}
		}
	}
}
