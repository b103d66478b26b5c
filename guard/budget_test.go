package guard_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gpumedic/guard"
	"gpumedic/incident"
)

var (
	night  = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	budget = incident.GovernorSettings{MaxPerDomain: 1, MaxShare: 0.1, MaxPerHour: 2, IsolatedFor: 24 * time.Hour}
)

// isolation asks for one node under a leaf switch of eight in a cluster of 80.
func isolation(number int, leaf string, alter ...func(*incident.Lease)) incident.Lease {
	node := fmt.Sprintf("gpu-%02d", number)
	lease := incident.Lease{
		OperationID: "op-" + node, Incident: "incident/" + node, Remedy: "isolate-node", Nodes: []string{node},
		Target: incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "job-" + node},
		Domains: []incident.Domain{
			{Kind: "leaf", Name: leaf, Size: 8, Nodes: []string{node}},
			{Kind: "cluster", Name: "lab", Size: 80, Nodes: []string{node}},
		},
		State: incident.LeaseHeld, Since: night,
	}
	for _, change := range alter {
		change(&lease)
	}
	return lease
}

func since(ago time.Duration) func(*incident.Lease) {
	return func(l *incident.Lease) { l.Since = night.Add(-ago) }
}

func in(state incident.LeaseState) func(*incident.Lease) {
	return func(l *incident.Lease) { l.State = state }
}

// TestPromise7IsolationStaysWithinTheBudget asks for leases beside others.
func TestPromise7IsolationStaysWithinTheBudget(t *testing.T) {
	twoLeft := budget
	twoLeft.MaxPerDomain, twoLeft.MaxPerHour = 2, 9
	for name, test := range map[string]struct {
		counting []incident.Lease
		want     incident.Lease
		settings incident.GovernorSettings
		reason   string // "" = granted
	}{
		"the first":                {nil, isolation(1, "leaf-a"), budget, ""},
		"other leaf":               {[]incident.Lease{isolation(1, "leaf-a")}, isolation(9, "leaf-b"), budget, ""},
		"same leaf":                {[]incident.Lease{isolation(3, "leaf-a", since(46*time.Minute))}, isolation(4, "leaf-a"), budget, "leaf leaf-a has already 1 isolated node: gpu-03 since 02:14, incident/gpu-03, at most 1 of its 8 nodes"},
		"still isolated":           {[]incident.Lease{isolation(3, "leaf-a", since(20*time.Hour), in(incident.LeaseIsolated))}, isolation(4, "leaf-a"), budget, "leaf leaf-a has already 1"},
		"taken back":               {[]incident.Lease{isolation(3, "leaf-a", in(incident.LeaseEnded))}, isolation(4, "leaf-a"), budget, ""},
		"third within the hour":    {[]incident.Lease{isolation(1, "leaf-a", in(incident.LeaseEnded)), isolation(9, "leaf-b")}, isolation(17, "leaf-c"), budget, "2 nodes of the cluster were isolated within the last hour, at most 2 may be"},
		"after the hour":           {[]incident.Lease{isolation(1, "leaf-a", since(time.Hour)), isolation(9, "leaf-b")}, isolation(17, "leaf-c"), budget, ""},
		"a share caps the number":  {[]incident.Lease{isolation(1, "leaf-a")}, isolation(2, "leaf-a"), twoLeft, "at most 1 of its 8 nodes"},
		"no node at all":           {nil, isolation(1, "leaf-a"), incident.GovernorSettings{}, "at most 0 of its 8 nodes"},
		"share of the cluster":     {[]incident.Lease{isolation(1, "leaf-a")}, isolation(9, "leaf-b", func(l *incident.Lease) { l.Domains[1].Size = 12 }), budget, "cluster lab has already 1 isolated node"},
		"taint without a lease":    {nil, isolation(1, "leaf-a", func(l *incident.Lease) { l.Domains[0].Isolated = []string{"gpu-05"} }), budget, "gpu-05 (bears the taint)"},
		"taint and lease are one":  {[]incident.Lease{isolation(1, "leaf-a")}, isolation(9, "leaf-b", func(l *incident.Lease) { l.Domains[1].Isolated = []string{"gpu-01"}; l.Domains[1].Size = 20 }), budget, ""},
		"same node":                {[]incident.Lease{isolation(1, "leaf-a", func(l *incident.Lease) { l.Domains = nil })}, isolation(1, "leaf-a", func(l *incident.Lease) { l.OperationID, l.Incident = "op", "incident/other" }), budget, "node gpu-01 is being worked on by incident/gpu-01 (isolate-node since 03:00)"},
		"same target":              {[]incident.Lease{isolation(1, "leaf-a")}, incident.Lease{OperationID: "op", Incident: "other", Target: isolation(1, "").Target}, budget, "is being changed by incident/gpu-01"},
		"its own earlier lease":    {[]incident.Lease{isolation(1, "leaf-a")}, incident.Lease{OperationID: "op", Incident: "incident/gpu-01", Target: isolation(1, "").Target}, budget, ""},
		"asked again":              {[]incident.Lease{isolation(1, "leaf-a")}, isolation(1, "leaf-a"), budget, ""},
		"no budget for the target": {[]incident.Lease{isolation(1, "leaf-a"), isolation(9, "leaf-b")}, incident.Lease{OperationID: "op", Incident: "other"}, incident.GovernorSettings{}, ""},
		"two nodes in one plan": {nil, isolation(1, "leaf-a", func(l *incident.Lease) {
			l.Nodes, l.Domains[0].Nodes = []string{"gpu-01", "gpu-02"}, []string{"gpu-01", "gpu-02"}
		}), budget, "the plan isolates 2: gpu-01, gpu-02"},
	} {
		t.Run(name, func(t *testing.T) {
			reasons := strings.Join(guard.Budget(test.counting, test.want, test.settings, night), "\n")
			if (reasons == "") != (test.reason == "") || !strings.Contains(reasons, test.reason) {
				t.Errorf("reasons %q, want %q", reasons, test.reason)
			}
		})
	}
}

// TestPromise7ManyAtOnce is the night on which one crash makes 77 healthy
// nodes look bad, each to an incident of its own.
func TestPromise7ManyAtOnce(t *testing.T) {
	var counting []incident.Lease
	for number := range 77 {
		want := isolation(number, fmt.Sprintf("leaf-%d", number/8))
		if len(guard.Budget(counting, want, budget, night)) == 0 {
			counting = append(counting, want)
		}
	}
	if len(counting) != 2 {
		t.Errorf("%d nodes were isolated, the budget is 2 an hour", len(counting))
	}
}

func TestWhatALeaseCountsForAfterwards(t *testing.T) {
	for name, test := range map[string]struct {
		lease             incident.Lease
		applied, isolated bool
		keep              bool
		state             incident.LeaseState
		until             time.Time
	}{
		"of the target only": {incident.Lease{}, true, true, false, "", time.Time{}},
		"never applied":      {isolation(1, "leaf-a"), false, false, false, incident.LeaseHeld, time.Time{}},
		"isolated":           {isolation(1, "leaf-a", func(l *incident.Lease) { l.IsolatedFor = 24 * time.Hour }), true, true, true, incident.LeaseIsolated, night.Add(24 * time.Hour)},
		"taken back":         {isolation(1, "leaf-a", since(10*time.Minute)), true, false, true, incident.LeaseEnded, night.Add(50 * time.Minute)},
		"taken back late":    {isolation(1, "leaf-a", since(2*time.Hour)), true, false, false, incident.LeaseEnded, night.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			got, keep := guard.Settle(test.lease, test.applied, test.isolated, night)
			if keep != test.keep || got.State != test.state || !got.Until.Equal(test.until) {
				t.Errorf("keep %t, state %q until %s; want %t, %q, %s", keep, got.State, got.Until, test.keep, test.state, test.until)
			}
		})
	}
}
