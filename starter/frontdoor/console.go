package frontdoor

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"time"

	"go.temporal.io/api/serviceerror"

	"gpumedic/incident"
	"gpumedic/report"
	"gpumedic/workflows"
)

//go:embed console.html
var consoleFiles embed.FS

var pages = template.Must(template.New("console.html").Funcs(template.FuncMap{
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
}).ParseFS(consoleFiles, "console.html"))

// page is what the one template shows: a list, or one incident.
type page struct {
	Entries []Entry
	Record  *incident.Record
	View    workflows.View
	// Rounds is the picture of the communication test that runs, or ran last.
	Rounds  template.HTML
	Problem string
}

// list is GET /: the newest incidents.
func (d *Door) list(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	entries, err := d.desk.List(ctx, 100)
	if err != nil {
		d.render(w, http.StatusServiceUnavailable, page{Problem: "Temporal does not answer: " + err.Error()})
		return
	}
	d.render(w, http.StatusOK, page{Entries: entries})
}

// show is GET /incidents/ID.
func (d *Door) show(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	view, err := d.desk.View(ctx, r.PathValue("id"))
	if err != nil {
		d.render(w, lookupStatus(err), page{Problem: err.Error()})
		return
	}
	test := view.Testing
	if test == nil {
		test = view.Record.CommTest
	}
	p := page{Record: &view.Record, View: view}
	if test != nil {
		if p.Rounds, err = report.RoundsPicture(*test, view.Record.Workload.Nodes); err != nil {
			d.log.Error("no picture of the communication test", "incident", view.Record.IncidentID, "error", err)
		}
	}
	d.render(w, http.StatusOK, p)
}

// lookupStatus tells an incident that is not there from one that cannot be
// asked now.
func lookupStatus(err error) int {
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// showReport is GET /reports/ID: the page that was written at the end.
func (d *Door) showReport(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	view, err := d.desk.View(ctx, r.PathValue("id"))
	if err != nil {
		d.render(w, lookupStatus(err), page{Problem: err.Error()})
		return
	}
	if d.Report == nil || view.Report.HTML.SHA256 == "" {
		d.render(w, http.StatusNotFound, page{Problem: "There is no report of this incident yet."})
		return
	}
	html, err := d.Report(ctx, view)
	if err != nil {
		d.render(w, http.StatusInternalServerError, page{Problem: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if _, err := w.Write(html); err != nil {
		d.log.Debug("the reader went away", "error", err)
	}
}

func (d *Door) render(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(status)
	if err := pages.Execute(w, p); err != nil {
		d.log.Debug("the console page was not written whole", "error", err)
	}
}
