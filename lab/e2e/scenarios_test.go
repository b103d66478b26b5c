package e2e_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"gpumedic/lab/rig"
	"gpumedic/lab/scenarios"
)

// Of the scenarios with more than so many ranks only those of large are played,
// and the others when the environment names everything.
const (
	most       = 16
	everything = "GPUMEDIC_LAB_ALL"
)

var large = []string{"nccl-bad-node-64", "nccl-leaf-uplink-64"}

// TestScenarios plays every incident the lab knows, each in a lab of its own,
// and takes home what a person would.
func TestScenarios(t *testing.T) {
	all, err := scenarios.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			if left := s.Ranks > most && !slices.Contains(large, s.Name); left && os.Getenv(everything) == "" {
				t.Skip("takes about two minutes; set " + everything + "=1, or play it with make demo")
			}
			h := openFor(t, s)
			ending := h.play(s, rig.Listener{})
			h.mustEndAsTold(ending)
			out := t.TempDir()
			if err := h.Export(t.Context(), ending, out); err != nil {
				t.Fatal(err)
			}
			checkReport(t, out)
			checkHistory(t, filepath.Join(out, "history.json"), s.Ranks)
			if text, code := h.command("replay", filepath.Join(out, "history.json")); code != 0 {
				t.Errorf("replay ended with %d: %s", code, text)
			}
			checkNoSecret(t, h, out)
			if !ending.AskedAt.IsZero() {
				t.Logf("alert to approval message %s", ending.AskedAt.Sub(ending.AlertAt))
			}
		})
	}
}

// promised are the fields that others rely on in report.json.
var promised = []string{
	"incident_id", "target", "alerts", "failure_case", "root_cause", "confidence", "blamed", "findings", "decisions", "approvals", "changes",
	"outcome", "stages", "human_wait_seconds", "gpu_hours_lost", "evidence", "runbook", "build",
}

var outside = regexp.MustCompile(`(?i)(?:src|href|url)\s*[=(]\s*["']?https?:`)

func checkReport(t *testing.T, out string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report map[string]json.RawMessage
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	for _, field := range promised {
		if value, ok := report[field]; !ok || string(value) == "null" {
			t.Errorf("report.json has no %s", field)
		}
	}
	html, err := os.ReadFile(filepath.Join(out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	if found := outside.Find(html); found != nil {
		t.Errorf("report.html needs the network: %s", found)
	}
	if !bytes.Contains(html, []byte("Simulated")) {
		t.Error("report.html does not say that it was simulated")
	}
}

// checkHistory holds the bounds of docs/BENCHMARKS.md. Plan, record and test name
// every rank's node, so a large job may take twice as much.
func checkHistory(t *testing.T, path string, ranks int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events, %d bytes", len(history.Events), history.Size())
	kib := 256
	if ranks > most {
		kib *= 2
	}
	if len(history.Events) >= 500 || history.Size() >= kib<<10 {
		t.Errorf("the incident took %d events and %d bytes; the bounds are 500 and %d KiB", len(history.Events), history.Size(), kib)
	}
}

// checkNoSecret looks for the lab's tokens in everything that was kept.
func checkNoSecret(t *testing.T, h *house, out string) {
	t.Helper()
	slack := h.Slack.Options()
	err := filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range []string{slack.BotToken, slack.AppToken, slack.SigningSecret, h.Token} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds a secret", strings.TrimPrefix(path, out))
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
