package report_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
	"gpumedic/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/NAME, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (write it anew with -update):\n%s", path, diff)
	}
}

// records are the stories that every form of the report must be able to tell.
func records() map[string]incident.Record {
	open := resolved()
	open.Outcome, open.ClosedAt, open.Summary, open.Changes, open.Approvals, open.Verification = "", at(0).AddDate(-3000, 0, 0), "", nil, nil, nil
	open.ClosedAt = incident.Record{}.ClosedAt
	undone, yes := resolved(), true
	undone.Outcome = incident.RolledBack
	undone.Changes[0].Verified, undone.Changes[0].Undone, undone.Changes[0].UndoComplete = false, true, &yes
	return map[string]incident.Record{"resolved": resolved(), "failed": everythingFailed(), "open": open, "undone": undone, "empty": {}}
}

func TestTextIsForATerminalAtNight(t *testing.T) {
	for name, rec := range records() {
		t.Run(name, func(t *testing.T) {
			got := report.Text(rec)
			golden(t, name+".txt", []byte(got))
			for i, line := range strings.Split(got, "\n") {
				if n := utf8.RuneCountInString(line); n > 100 {
					t.Errorf("line %d has %d columns: %s", i+1, n, line)
				}
				if strings.ContainsAny(line, "\x1b\r\t\x00") {
					t.Errorf("line %d steers the terminal: %q", i+1, line)
				}
			}
		})
	}
}

func TestPromise9NoSecretLeavesInAnyForm(t *testing.T) {
	rec := everythingFailed()
	rec.Alerts[0].Annotations = map[string]string{"db_password": "hunter22hunter", "runbook": "https://bob:hunter22hunter@wiki/x"}
	rec.Observed = []incident.Observation{{Line: "export HF_TOKEN=hunter22hunter", Captures: map[string]string{"api_key": "hunter22hunter"}}}
	rec.Plan = &incident.Plan{Diff: "+  MY_SECRET=hunter22hunter", Changes: []incident.ObjectChange{{Manifest: []byte(`{"env":[{"name":"DB_PASSWORD","value":"hunter22hunter"}]}`)}}}
	rec.Approvals = []incident.Vote{{By: "bob", Verdict: "deny", Reason: "my password: hunter22hunter"}}
	page, err := report.HTML(rec, incident.Workload{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := report.JSON(rec)
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string]string{"text": report.Text(rec), "json": string(data), "html": string(page)} {
		for _, secret := range []string{"hunter22hunter", "abcdefghijklmnop1234567890", "0123456789abcdef0123456789abcdef01234567"} {
			if strings.Contains(text, secret) {
				at := strings.Index(text, secret)
				t.Errorf("%s tells %s: ...%s", form, secret, text[max(0, at-60):at+len(secret)])
			}
		}
		if !strings.Contains(text, "[redacted:") {
			t.Errorf("%s does not show that something was taken out", form)
		}
	}
	if rec.Approvals[0].Reason != "my password: hunter22hunter" {
		t.Error("the caller's record was altered")
	}
}
