package frontdoor_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.temporal.io/api/serviceerror"

	"gpumedic/incident"
	"gpumedic/starter/frontdoor"
	"gpumedic/steps"
	"gpumedic/workflows"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

const (
	hostile = `<script>alert("x")</script>`
	id      = "incident/lab/training/job/llama-70b"
)

// hostileView is an incident in which every text that comes from outside
// tries to be a script.
func hostileView(string) (workflows.View, error) {
	view := workflows.View{State: "asking", Asking: &incident.Plan{Hash: hostile, Summary: hostile, Diff: "+ " + hostile}}
	view.Record = incident.Record{
		IncidentID: id, Summary: hostile, RootCause: hostile, FailureCase: hostile, Simulated: []string{hostile},
		Target: incident.Target{Kind: "Job", Namespace: hostile, Name: hostile},
		Story:  []incident.Event{{At: noon, Kind: "alert", Text: hostile}},
	}
	view.Report.HTML = incident.EvidenceRef{Name: "report.html", SHA256: "aa"}
	return view, nil
}

func TestConsoleEscapes(t *testing.T) {
	d := &desk{
		list: func() ([]frontdoor.Entry, error) {
			return []frontdoor.Entry{{ID: `incident/lab/n/job/"><script>x`, Status: hostile, OpenedAt: noon}, {ID: id, Status: "open", OpenedAt: noon}}, nil
		},
		view: hostileView,
	}
	_, server, _ := open(t, d, nil)
	for _, path := range []string{"/", "/incidents/" + id} {
		status, body := get(t, server, path)
		if status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
		if strings.Contains(body, "<script") {
			t.Errorf("%s lets a script through:\n%s", path, body)
		}
		if !strings.Contains(body, "&lt;script&gt;") {
			t.Errorf("%s does not show the text at all", path)
		}
	}
	_, list := get(t, server, "/")
	if !strings.Contains(list, `href="/incidents/`+id+`"`) {
		t.Errorf("the list has no link to the incident:\n%s", list)
	}
	_, page := get(t, server, "/incidents/"+id)
	if !strings.Contains(page, `href="/reports/`+id+`"`) {
		t.Errorf("the incident has no link to its report:\n%s", page)
	}
}

func TestConsoleForbidsScripts(t *testing.T) {
	_, server, _ := open(t, &desk{list: func() ([]frontdoor.Entry, error) { return nil, nil }}, nil)
	answer, err := http.Get(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script-src") {
		t.Errorf("policy is %q", policy)
	}
}

// TestConsoleTellsWhatItCannotShow: an incident that is not there is another
// matter than a Temporal that is not there.
func TestConsoleTellsWhatItCannotShow(t *testing.T) {
	missing := func(string) (workflows.View, error) {
		return workflows.View{}, serviceerror.NewNotFound("no such incident")
	}
	away := func(string) (workflows.View, error) { return workflows.View{}, errors.New("connection refused") }
	running := func(string) (workflows.View, error) { return workflows.View{State: "testing"}, nil }
	for name, test := range map[string]struct {
		path   string
		view   func(string) (workflows.View, error)
		status int
		says   string
	}{
		"no such incident":        {"/incidents/x", missing, 404, "no such incident"},
		"Temporal away":           {"/incidents/x", away, 503, "connection refused"},
		"list without Temporal":   {"/", away, 503, "Temporal does not answer"},
		"report of no incident":   {"/reports/x", missing, 404, "no such incident"},
		"report without Temporal": {"/reports/x", away, 503, "connection refused"},
		"report not written yet":  {"/reports/x", running, 404, "no report of this incident yet"},
		"page that is not there":  {"/nothing", nil, 404, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{view: test.view, list: func() ([]frontdoor.Entry, error) { return nil, errors.New("connection refused") }}
			door, server, _ := open(t, d, nil)
			door.Report = func(context.Context, workflows.View) ([]byte, error) { return nil, errors.New("must not be called") }
			if status, body := get(t, server, test.path); status != test.status || !strings.Contains(body, test.says) {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

func TestConsoleShowsTheReport(t *testing.T) {
	written := func(string) (workflows.View, error) {
		return workflows.View{Report: steps.WriteReportResult{HTML: incident.EvidenceRef{Name: "report.html", SHA256: "aa"}}}, nil
	}
	door, server, _ := open(t, &desk{view: written}, nil)
	if status, _ := get(t, server, "/reports/"+id); status != http.StatusNotFound {
		t.Errorf("without a store: %d", status)
	}
	door.Report = func(_ context.Context, view workflows.View) ([]byte, error) {
		return []byte("<h1>" + view.Report.HTML.Name + "</h1>"), nil
	}
	if status, body := get(t, server, "/reports/"+id); status != http.StatusOK || body != "<h1>report.html</h1>" {
		t.Errorf("got %d %s", status, body)
	}
	door.Report = func(context.Context, workflows.View) ([]byte, error) { return nil, errors.New("the bucket is gone") }
	if status, body := get(t, server, "/reports/"+id); status != http.StatusInternalServerError || !strings.Contains(body, "the bucket is gone") {
		t.Errorf("got %d %s", status, body)
	}
}

// TestConsoleShowsTheTest: while a test runs, the page has its progress and a
// picture of its rounds, in which no name becomes an element.
func TestConsoleShowsTheTest(t *testing.T) {
	testing := func(string) (workflows.View, error) {
		group := incident.Group{ID: hostile, Nodes: []string{"gpu-00", hostile}}
		return workflows.View{
			State: "testing", Record: incident.Record{IncidentID: id},
			Testing: &incident.CommTest{History: []incident.Round{{Number: 1, Groups: []incident.Group{group}}}, Suspects: []incident.Suspect{{Kind: "node", ID: hostile, Probability: 0.5}}},
		}, nil
	}
	_, server, _ := open(t, &desk{view: testing}, nil)
	status, body := get(t, server, "/incidents/"+id)
	if status != http.StatusOK || !strings.Contains(body, "Round 1: 1 group over 2 nodes; still suspected: &lt;script&gt;") || !strings.Contains(body, `class="rounds"`) {
		t.Errorf("got %d %s", status, body)
	}
	if strings.Contains(body, "<script") {
		t.Errorf("a node's name became a script: %s", body)
	}
}
