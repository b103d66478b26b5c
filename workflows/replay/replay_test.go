package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"

	"gpumedic/incident"
	"gpumedic/steps"
	"gpumedic/workflows/replay"
)

func TestPromise8RecordedHistoriesReplayTheSame(t *testing.T) {
	// testdata was recorded with played steps; histories are incidents of the
	// lab, exported by make demo.
	for folder, least := range map[string]int{"testdata": 3, "../testdata/histories": 3} {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil || len(files) < least {
			t.Fatalf("%d histories in %s, %v", len(files), folder, err)
		}
		for _, file := range files {
			if err := replay.File(t.Context(), os.DirFS(folder), filepath.Base(file)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// read gives a fresh copy of a recorded history.
func read(t *testing.T, name string) *historypb.History {
	t.Helper()
	return historyIn(t, filepath.Join("testdata", name+".json"))
}

// event finds the first event of a type whose text has a part.
func event(t *testing.T, history *historypb.History, kind enums.EventType, part string) *historypb.HistoryEvent {
	t.Helper()
	for _, e := range history.Events {
		if e.EventType == kind && strings.Contains(e.String(), part) {
			return e
		}
	}
	t.Fatalf("no %s with %s", kind, part)
	return nil
}

// edit rewrites the JSON of a payload.
func edit(t *testing.T, payloads *commonpb.Payloads, change func(map[string]any)) {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal(payloads.Payloads[0].Data, &value); err != nil {
		t.Fatal(err)
	}
	change(value)
	data, err := json.Marshal(value) // also puts the keys into another order
	if err != nil {
		t.Fatal(err)
	}
	payloads.Payloads[0].Data = data
}

// TestTampered changes one thing in a recorded history, which is the same as
// recording it with other code, and expects it to be named.
func TestTampered(t *testing.T) {
	const scheduled, completed = enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, enums.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
	for name, test := range map[string]struct {
		history string
		tamper  func(*testing.T, *historypb.History)
		says    string // "" = is the same
	}{
		"input of a step": {"gone", func(t *testing.T, h *historypb.History) {
			step := event(t, h, scheduled, steps.ResolveTarget).GetActivityTaskScheduledEventAttributes()
			edit(t, step.Input, func(v map[string]any) { v["hint"].(map[string]any)["name"] = "other" })
		}, `input of step resolve-target: hint.name was "other", is "gone"`},
		"new key in an input": {"gone", func(t *testing.T, h *historypb.History) {
			step := event(t, h, scheduled, steps.WriteReport).GetActivityTaskScheduledEventAttributes()
			edit(t, step.Input, func(v map[string]any) { delete(v["record"].(map[string]any), "outcome") })
		}, `record.outcome was not set, is "self-resolved"`},
		"a list that grew": {"gone", func(t *testing.T, h *historypb.History) {
			step := event(t, h, scheduled, steps.WriteReport).GetActivityTaskScheduledEventAttributes()
			edit(t, step.Input, func(v map[string]any) { v["record"].(map[string]any)["decisions"] = []any{} })
		}, "record.decisions had 0 entries, has 1"},
		"one argument more": {"gone", func(t *testing.T, h *historypb.History) {
			step := event(t, h, scheduled, steps.ResolveTarget).GetActivityTaskScheduledEventAttributes()
			step.Input.Payloads = append(step.Input.Payloads, step.Input.Payloads[0])
		}, "had 2 arguments, has 1"},
		"other order of keys": {"gone", func(t *testing.T, h *historypb.History) {
			step := event(t, h, scheduled, steps.ResolveTarget).GetActivityTaskScheduledEventAttributes()
			edit(t, step.Input, func(map[string]any) {})
		}, ""},
		"other step": {"gone", func(t *testing.T, h *historypb.History) {
			event(t, h, scheduled, steps.ResolveTarget).GetActivityTaskScheduledEventAttributes().ActivityType.Name = steps.CollectEvidence
		}, "TMPRL1100"},
		"answer of a step": {"job", func(t *testing.T, h *historypb.History) {
			first := event(t, h, enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, "").GetActivityTaskCompletedEventAttributes()
			edit(t, first.Result, func(v map[string]any) { v["found"] = false })
		}, "TMPRL1100"},
		"input of a child": {"joined", func(t *testing.T, h *historypb.History) {
			child := event(t, h, enums.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED, "").GetStartChildWorkflowExecutionInitiatedEventAttributes()
			edit(t, child.Input, func(v map[string]any) { v["settings"].(map[string]any)["build"] = "older" })
		}, `input of child workflow incident: settings.build was "older", is "test"`},
		"result of the workflow": {"gone", func(t *testing.T, h *historypb.History) {
			edit(t, event(t, h, completed, "").GetWorkflowExecutionCompletedEventAttributes().Result, func(v map[string]any) { v["outcome"] = "resolved" })
		}, `result of the workflow: outcome was "resolved", is "self-resolved"`},
		"workflow that this build lacks": {"gone", func(_ *testing.T, h *historypb.History) {
			h.Events[0].GetWorkflowExecutionStartedEventAttributes().WorkflowType.Name = "tomorrow"
		}, "tomorrow"},
		"history that is still running": {"job", func(_ *testing.T, h *historypb.History) {
			h.Events = h.Events[:len(h.Events)-1]
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			history := read(t, test.history)
			test.tamper(t, history)
			err := replay.History(t.Context(), history)
			if test.says == "" {
				if err != nil {
					t.Fatalf("is not the same: %v", err)
				}
				return
			}
			var different *replay.Different
			if !errors.As(err, &different) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v\nwant %s", err, test.says)
			}
			if want := history.Events[0].GetWorkflowExecutionStartedEventAttributes().WorkflowId; different.Workflow != want || want == "" {
				t.Errorf("names workflow %q, want %q", different.Workflow, want)
			}
		})
	}
}

func TestWhatIsNoHistory(t *testing.T) {
	half := read(t, "gone")
	half.Events = half.Events[1:]
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, test := range map[string]struct {
		err  error
		kind incident.Kind
	}{
		"no such file":        {replay.File(t.Context(), os.DirFS("testdata"), "none.json"), incident.Missing},
		"not JSON":            {replay.Read(t.Context(), strings.NewReader("history")), incident.Invalid},
		"other JSON":          {replay.Read(t.Context(), strings.NewReader(`{"alerts":[]}`)), incident.Invalid},
		"empty":               {replay.Read(t.Context(), strings.NewReader("")), incident.Invalid},
		"no events":           {replay.History(t.Context(), &historypb.History{}), incident.Invalid},
		"without its opening": {replay.History(t.Context(), half), incident.Invalid},
		"stopped":             {replay.History(stopped, read(t, "gone")), incident.Internal},
	} {
		var different *replay.Different
		if test.err == nil || errors.As(test.err, &different) || incident.KindOf(test.err) != test.kind {
			t.Errorf("%s: got %v of kind %s, want %s", name, test.err, incident.KindOf(test.err), test.kind)
		}
	}
}
