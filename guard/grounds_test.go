package guard

import (
	"testing"

	"gpumedic/incident"
)

// TestRemediesOfMemoryAndDataRestOnWhatWasSeen: each is refused without its ground,
// whether that was answered with no, is unknown or was never asked.
func TestRemediesOfMemoryAndDataRestOnWhatWasSeen(t *testing.T) {
	rests := map[string]string{
		"turn-knobs": incident.KnobsDeclared, "raise-memory-limit": incident.HostMemoryKilled, "raise-shm": incident.ShmSmall,
		"move-to-larger-gpu": incident.LargerGPUFree, "cache-dataset": incident.CacheCold, "faster-storage": incident.VolumeClassSlow,
	}
	for remedy, ground := range rests {
		for _, state := range []incident.State{incident.Yes, incident.No, incident.Unknown, ""} {
			in := Input{Plan: incident.Plan{Remedy: remedy}, Cause: incident.Cause{RootCause: "true-capacity-oom"}}
			if state != "" {
				in.Findings = []incident.Finding{{ID: ground, State: state}}
			}
			if refused := len(groundless(in)) > 0; refused == (state == incident.Yes) {
				t.Errorf("%s with %s %q: refused %v", remedy, ground, state, refused)
			}
		}
	}
	for cause, refused := range map[string]bool{"memory-fragmentation": false, "true-capacity-oom": true, incident.UnknownCause: true} {
		in := Input{Plan: incident.Plan{Remedy: "set-allocator"}, Cause: incident.Cause{RootCause: cause}}
		if got := len(groundless(in)) > 0; got != refused {
			t.Errorf("set-allocator for %s: refused %v", cause, got)
		}
	}
}
