package runbooks

import (
	"testing"

	"gpumedic/incident"
)

func TestMatch(t *testing.T) {
	books := []Runbook{
		{Name: "cuda-oom", Matches: []Matching{{Matchers: []string{`alertname="HighGPUMemoryUsage"`, `team!="lab"`}}}},
		{Name: "nccl-failure", Matches: []Matching{
			{Matchers: []string{`alertname="DistributedTrainingFailure"`}},
			{Matchers: []string{`alertname=~"NCCL.*"`}},
			{Matchers: []string{`severity=""`, `job_name!~"test-.*"`}},
		}},
		{Name: "empty", Matches: []Matching{{}}},
		{Name: "broken", Matches: []Matching{{Matchers: []string{`alertname=~"("`}}}},
	}
	cases := []struct {
		name, alert   string
		labels        map[string]string
		book, matcher string
	}{
		{"exact", "DistributedTrainingFailure", map[string]string{"severity": "critical"}, "nccl-failure", `alertname="DistributedTrainingFailure"`},
		{"expression is anchored", "MyNCCLAlert", map[string]string{"severity": "critical"}, "", ""},
		{"expression", "NCCLTimeout", map[string]string{"severity": "critical"}, "nccl-failure", `alertname=~"NCCL.*"`},
		{"all matchers of an entry must hold", "HighGPUMemoryUsage", map[string]string{"team": "lab", "severity": "critical"}, "", ""},
		{"first runbook wins", "HighGPUMemoryUsage", nil, "cuda-oom", `alertname="HighGPUMemoryUsage", team!="lab"`},
		{"missing label is empty", "Other", map[string]string{"job_name": "llama"}, "nccl-failure", `severity="", job_name!~"test-.*"`},
		{"the label wins over the name", "NCCLTimeout", map[string]string{"alertname": "Other", "severity": "critical"}, "", ""},
		{"nothing matches", "Other", map[string]string{"severity": "critical"}, "", ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			book, matcher, ok := Match(books, incident.Alert{Name: tc.alert, Labels: tc.labels})
			if book.Name != tc.book || matcher != tc.matcher || ok != (tc.book != "") {
				t.Errorf("got %q by %q, %v; want %q by %q", book.Name, matcher, ok, tc.book, tc.matcher)
			}
		})
	}
}
