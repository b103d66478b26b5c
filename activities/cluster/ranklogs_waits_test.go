package cluster

import (
	"slices"
	"testing"
	"time"

	"gpumedic/incident"
)

// waits logs steps of four seconds, of which so many went into waiting for data.
func (s *script) waits(seconds float64) *script {
	for i := range 6 {
		s.wait(4*time.Second).say("step %d/100000 loss 2.1034 time: 4.000 data_time: %.3f", i, seconds)
	}
	return s
}

// TestWhoWaitsLongest: the logs that are named as evidence are those of the longest
// waits, the longest first; one that tells of none is not among them.
func TestWhoWaitsLongest(t *testing.T) {
	w := newWorld(t, gang(4)...)
	result := w.checkedLogs(t, map[string]*script{
		"rank-000": logged(time.Minute).waits(2), "rank-001": logged(time.Minute).waits(3.5), "rank-002": logged(time.Minute).train(6, time.Second),
		"rank-003": logged(time.Minute).waits(1),
	})
	at := slices.IndexFunc(result.Findings, func(f incident.Finding) bool { return f.ID == incident.InputWaits })
	if at < 0 {
		t.Fatalf("findings %+v", result.Findings)
	}
	want := []string{"logs/rank-001.log", "logs/rank-000.log", "logs/rank-003.log"}
	if f := result.Findings[at]; f.State != incident.Yes || !slices.Equal(f.Evidence, want) {
		t.Errorf("%s %s, evidence %v, want %v", f.State, f.Value, f.Evidence, want)
	}
}
