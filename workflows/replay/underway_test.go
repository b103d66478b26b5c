package replay_test

import (
	"os"
	"path/filepath"
	"testing"

	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"

	"gpumedic/workflows/replay"
)

// TestPromise8RunsUnderWayGoOnAsTheyBegan cuts every recorded history where the
// workflow waited: a run that this build meets half way is still the same run.
func TestPromise8RunsUnderWayGoOnAsTheyBegan(t *testing.T) {
	files, err := filepath.Glob("../testdata/histories/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			whole := historyIn(t, name)
			cuts := 0
			for i, event := range whole.Events {
				if event.EventType != enums.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED || i < 4 {
					continue
				}
				cuts++
				if err := replay.History(t.Context(), &historypb.History{Events: whole.Events[:i]}); err != nil {
					t.Errorf("up to event %d: %v", i, err)
				}
			}
			if cuts < 3 {
				t.Errorf("cut in %d places only", cuts)
			}
		})
	}
}

func historyIn(t *testing.T, name string) *historypb.History {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return history
}
