package evidence

import (
	"bytes"
	"context"
	"path"
	"time"

	"github.com/hashicorp/go-hclog"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/report"
	"gpumedic/report/bundle"
	"gpumedic/steps"
)

// maxRead bounds what is read back from evidence, in bytes: far more than the
// workload or the index of any number of ranks needs.
const maxRead = 64 << 20

// Hands writes reports into one evidence store. All fields but Place are
// needed.
type Hands struct {
	Store incident.EvidenceStore
	Log   hclog.Logger
	Now   func() time.Time
	// Place puts the manifest where people find it by the incident's name; nil
	// where nobody looks into the store by hand.
	Place func(ctx context.Context, name string, data []byte) error
}

// New returns hands with the real clock and, when log is nil, a silent logger.
func New(store *bundle.Store, log hclog.Logger) *Hands {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Hands{Store: store, Log: log.Named("evidence"), Now: time.Now, Place: store.Place}
}

// WriteReport renders the record as JSON, text and HTML, keeps them, and lists
// everything that belongs to the incident in a manifest. It may be repeated.
// What it cannot read (the workload, the index) is named in the report and in
// the manifest; an error means that the report could not be stored.
func (h *Hands) WriteReport(ctx context.Context, params steps.WriteReportParams) (steps.WriteReportResult, error) {
	w := &writing{hands: h, record: params.Record}
	w.record.Errors = append([]string(nil), params.Record.Errors...) // the caller's stays as it is
	workload := w.workload(ctx, params.Workload)
	w.list(ctx, params)
	var result steps.WriteReportResult
	if err := w.render(ctx, workload, &result); err != nil {
		return steps.WriteReportResult{}, err
	}
	if err := w.seal(ctx, &result); err != nil {
		return steps.WriteReportResult{}, err
	}
	result.At = h.Now().UTC()
	h.Log.Info("the report is written", "incident", w.record.IncidentID, "outcome", w.record.Outcome, "files", len(w.files), "gaps", len(w.gaps))
	return result, nil
}

// writing is one report on its way.
type writing struct {
	hands  *Hands
	record incident.Record
	files  []incident.EvidenceRef
	gaps   []string
}

// missing notes what could not be read, for the report and the manifest.
func (w *writing) missing(what string, err error) {
	text := redact.String("reading " + what + " for the report: " + err.Error())
	w.record.Errors = append(w.record.Errors, text)
	w.gaps = append(w.gaps, text)
	w.hands.Log.Warn("the report goes without a part", "incident", w.record.IncidentID, "part", what, "error", text)
}

// workload reads the ranks for the picture; without them there is none.
func (w *writing) workload(ctx context.Context, ref incident.EvidenceRef) incident.Workload {
	var workload incident.Workload
	if ref.SHA256 == "" { // the target was never found
		return workload
	}
	if err := incident.ReadJSON(ctx, w.hands.Store, ref, maxRead, &workload); err != nil {
		w.missing(ref.Name, err)
		return incident.Workload{}
	}
	return workload
}

// list gathers all files: those the record names, and those of every index.
func (w *writing) list(ctx context.Context, params steps.WriteReportParams) {
	known := append([]incident.EvidenceRef{params.Workload, params.Index}, params.Record.Evidence...)
	read := map[string]bool{}
	for _, ref := range known {
		if ref.SHA256 == "" {
			continue
		}
		w.files = append(w.files, ref)
		if isIndex := path.Base(ref.Name) == "index.json"; isIndex && !read[ref.SHA256] {
			read[ref.SHA256] = true
			w.indexed(ctx, ref)
		}
	}
}

func (w *writing) indexed(ctx context.Context, ref incident.EvidenceRef) {
	var entries []incident.IndexEntry
	if err := incident.ReadJSON(ctx, w.hands.Store, ref, maxRead, &entries); err != nil {
		w.missing(ref.Name, err)
		return
	}
	for _, entry := range entries {
		w.files = append(w.files, entry.EvidenceRef)
	}
}

// memory reads the curves of GPU memory that checks kept, in their order.
func (w *writing) memory(ctx context.Context) []incident.Curves {
	var out []incident.Curves
	for _, ref := range w.record.Evidence {
		if ref.Name != incident.GPUMemoryFile {
			continue
		}
		var measured incident.Curves
		if err := incident.ReadJSON(ctx, w.hands.Store, ref, maxRead, &measured); err != nil {
			w.missing(ref.Name, err)
			continue
		}
		out = append(out, measured)
	}
	return out
}

// render makes and keeps the three forms of the report.
func (w *writing) render(ctx context.Context, workload incident.Workload, result *steps.WriteReportResult) error {
	data, err := report.JSON(w.record)
	if err != nil {
		return err
	}
	page, err := report.HTML(w.record, workload, w.memory(ctx)...)
	if err != nil {
		return err
	}
	for _, form := range []struct {
		name string
		data []byte
		ref  *incident.EvidenceRef
	}{
		{"report.json", data, &result.JSON},
		{"report.html", page, &result.HTML},
		{"report.txt", []byte(report.Text(w.record)), &result.Text},
	} {
		if *form.ref, err = w.hands.Store.Put(ctx, form.name, bytes.NewReader(form.data)); err != nil {
			return err
		}
		w.files = append(w.files, *form.ref)
	}
	return nil
}

// seal writes the manifest, by content and where people find it.
func (w *writing) seal(ctx context.Context, result *steps.WriteReportResult) error {
	manifest := bundle.Manifest{
		IncidentID: w.record.IncidentID, OpenedAt: w.record.OpenedAt, ClosedAt: w.record.ClosedAt,
		Outcome: w.record.Outcome, Build: w.record.Build, Files: w.files, Gaps: w.gaps,
	}
	data, err := manifest.Encode()
	if err != nil {
		return err
	}
	if result.Manifest, err = w.hands.Store.Put(ctx, bundle.ManifestName, bytes.NewReader(data)); err != nil {
		return err
	}
	if w.hands.Place == nil {
		return nil
	}
	folder := bundle.Folder(w.record.IncidentID, w.record.OpenedAt)
	return w.hands.Place(ctx, folder+"/"+bundle.ManifestName, data)
}
