package diagnosis_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// eightNodes places two ranks on each of eight nodes; pods of node n have the
// addresses 10.0.n.1 and 10.0.n.2.
func eightNodes() []incident.Placed {
	var out []incident.Placed
	for n := range 8 {
		out = append(out, incident.Placed{Node: fmt.Sprintf("gpu-%02d", n), Ranks: fmt.Sprintf("%d-%d", 2*n, 2*n+1),
			PodIPs: []string{fmt.Sprintf("10.0.%d.1", n), fmt.Sprintf("10.0.%d.2", n)}})
	}
	return out
}

func TestPrior(t *testing.T) {
	ib := func(o incident.Observation) incident.Observation {
		o.FailureCase, o.Causes = "nccl-failure", []string{"ib-link-error"}
		if o.Role == "" {
			o.Role = diagnosis.RoleOrigin
		}
		return o
	}
	tests := map[string]struct {
		observed []incident.Observation
		findings []incident.Finding
		want     map[string]float64
	}{
		"nothing seen": {want: map[string]float64{}},
		"one rank reports its adapter's fault": {observed: []incident.Observation{
			ib(incident.Observation{Ranks: "5", RankCount: 1, FirstRank: 5, Weight: 0.8})},
			want: map[string]float64{"gpu-02": 0.6}},
		"a weak line of one rank": {observed: []incident.Observation{
			ib(incident.Observation{Ranks: "5", RankCount: 1, FirstRank: 5, Weight: 0.4})},
			want: map[string]float64{"gpu-02": 0.3}},
		"an Xid of one rank": {observed: []incident.Observation{
			{Role: diagnosis.RoleOrigin, FailureCase: "gpu-hardware", Causes: []string{"ecc-uncorrectable"}, Ranks: "14", RankCount: 1, FirstRank: 14, Weight: 0.9}},
			want: map[string]float64{"gpu-07": 0.6}},
		"an Xid that is the program's fault": {observed: []incident.Observation{
			{Role: diagnosis.RoleOrigin, FailureCase: "gpu-hardware", Causes: []string{"app-memory-fault-xid"}, Ranks: "14", RankCount: 1, Weight: 0.9}},
			want: map[string]float64{}},
		"a peer that does not answer": {observed: []incident.Observation{
			ib(incident.Observation{Ranks: "0-5,8-15", RankCount: 14, FirstRank: 0, Weight: 0.45, Captures: map[string]string{"peer": "10.0.3.1<38560>"}})},
			want: map[string]float64{"gpu-03": 0.4, "gpu-00": 0.1}},
		"a peer of one rank": {observed: []incident.Observation{
			ib(incident.Observation{Ranks: "9", RankCount: 1, FirstRank: 9, Weight: 0.45, Captures: map[string]string{"peer": "10.0.3.2<1>"}})},
			want: map[string]float64{"gpu-03": 0.4, "gpu-04": 0.1}},
		"all cannot reach rank 0 over TCP": {observed: []incident.Observation{
			{Role: diagnosis.RoleOrigin, FailureCase: "nccl-failure", Causes: []string{"network-unreachable-or-port-blocked"}, Ranks: "1-15", RankCount: 15, FirstRank: 1, Weight: 0.7, Captures: map[string]string{"peer": "10.0.0.1<56849>"}}},
			want: map[string]float64{}},
		"two cannot reach a peer over TCP": {observed: []incident.Observation{
			{Role: diagnosis.RoleOrigin, FailureCase: "nccl-failure", Causes: []string{"network-unreachable-or-port-blocked"}, Ranks: "1-2", RankCount: 2, FirstRank: 1, Weight: 0.7, Captures: map[string]string{"peer": "10.0.5.1<56849>"}}},
			want: map[string]float64{"gpu-05": 0.2}},
		"an echo": {observed: []incident.Observation{
			ib(incident.Observation{Role: diagnosis.RoleEcho, Ranks: "5", RankCount: 1, FirstRank: 5, Weight: 0.8, Captures: map[string]string{"peer": "10.0.3.1<1>"}})},
			want: map[string]float64{}},
		"a line that no test can see": {observed: []incident.Observation{
			{Role: diagnosis.RoleOrigin, FailureCase: "cuda-oom", Causes: []string{"batch-too-large"}, Ranks: "3", RankCount: 1, Weight: 0.9}},
			want: map[string]float64{}},
		"all but two ranks waited": {observed: []incident.Observation{
			{Signature: "torch-watchdog-timeout", Role: diagnosis.RoleOrigin, FailureCase: "nccl-failure", Causes: []string{"rank-straggler-timeout"}, Ranks: "0-7,10-15", RankCount: 14, Weight: 0.5}},
			want: map[string]float64{"gpu-04": 0.3}},
		"half of the ranks waited": {observed: []incident.Observation{
			{Signature: "torch-watchdog-timeout", Role: diagnosis.RoleOrigin, FailureCase: "nccl-failure", Causes: []string{"rank-straggler-timeout"}, Ranks: "0-7", RankCount: 8, Weight: 0.5}},
			want: map[string]float64{}},
		"silent ranks": {findings: []incident.Finding{{ID: incident.RanksSilent, State: incident.Yes, Subject: "rank/6,13"}},
			want: map[string]float64{"gpu-03": 0.3, "gpu-06": 0.3}},
		"most ranks are silent": {findings: []incident.Finding{{ID: incident.RanksSilent, State: incident.Yes, Subject: "rank/0,1,2,3,4,5,6,7,8"}},
			want: map[string]float64{}},
		"whether ranks are silent is not known": {findings: []incident.Finding{{ID: incident.RanksSilent, State: incident.Unknown, Subject: "rank/6"}},
			want: map[string]float64{}},
		"a node that is not ready": {findings: []incident.Finding{{ID: incident.NodeNotReady, State: incident.Yes, Subject: "node/gpu-01,gpu-99"}},
			want: map[string]float64{"gpu-01": 0.6}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := diagnosis.Prior(diagnosis.Input{Ranks: 16, Observations: test.observed, Findings: test.findings}, eightNodes())
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })); diff != "" {
				t.Errorf("prior differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPriorOfRealLines takes the lines of a transcript: the rank whose adapter
// reports a fault is found, and those who echo it are not.
func TestPriorOfRealLines(t *testing.T) {
	data, err := os.ReadFile("testdata/bad-node.txt")
	if err != nil {
		t.Fatal(err)
	}
	script, _, _ := strings.Cut(string(data), divider)
	var places []incident.Placed
	for n := range 8 {
		places = append(places, incident.Placed{Node: fmt.Sprintf("gpu-%02d", n), Ranks: fmt.Sprint(n), PodIPs: []string{fmt.Sprintf("10.0.0.%d", n+2)}})
	}
	got := diagnosis.Prior(play(t, builtin(t), script), places)
	want := map[string]float64{"gpu-05": 0.6, "gpu-00": 0.1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("prior differs (-want +got):\n%s", diff)
	}
}
