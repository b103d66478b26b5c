package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"

	"gpumedic/report/bundle"
)

// Export writes what a person takes home: report.html, report.json, the
// evidence bundle, and the recorded histories for gpumedic replay.
func (r *Rig) Export(ctx context.Context, e *Ending, out string) error {
	if err := os.RemoveAll(filepath.Join(out, "bundle")); err != nil {
		return fmt.Errorf("emptying %s: %w", out, err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", out, err)
	}
	store, err := bundle.Open(ctx, "file://"+filepath.Join(r.opts.Dir, "evidence"))
	if err != nil {
		return err
	}
	defer store.Close()
	report := e.View.Report
	html, err := store.Read(ctx, report.HTML)
	if err != nil {
		return err
	}
	data, err := store.Read(ctx, report.JSON)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"report.html": html, "report.json": data} {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	if err := store.Export(ctx, report.Manifest, filepath.Join(out, "bundle")); err != nil {
		return err
	}
	return r.exportHistories(ctx, e.Incident, out)
}

// exportHistories writes the incident's own history and those of its
// communication tests beside it.
func (r *Rig) exportHistories(ctx context.Context, id, out string) error {
	if err := r.exportHistory(ctx, id, filepath.Join(out, "history.json")); err != nil {
		return err
	}
	for _, purpose := range []string{"diagnose", "verify"} {
		path := filepath.Join(out, "history-"+purpose+".json")
		if err := r.exportHistory(ctx, id+"/comm-test/"+purpose, path); err != nil && !strings.Contains(err.Error(), "not found") {
			return err
		}
	}
	return nil
}

func (r *Rig) exportHistory(ctx context.Context, id, path string) error {
	events := &historypb.History{}
	pages := r.Client.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for pages.HasNext() {
		event, err := pages.Next()
		if err != nil {
			return fmt.Errorf("reading the history of %s: %w", id, err)
		}
		events.Events = append(events.Events, event)
	}
	data, err := temporalproto.CustomJSONMarshalOptions{Indent: " "}.Marshal(events)
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", id, err)
	}
	return os.WriteFile(path, data, 0o644)
}
