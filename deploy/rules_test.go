package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"gpumedic/incident"
	"gpumedic/runbooks"
)

// ruleFile is what a file of Prometheus rules holds, as far as the test asks.
type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Alert, Record, Expr string
			Labels, Annotations map[string]string
		}
	}
}

// TestAlertsHaveRunbooks: an alert that names a failure case belongs to that runbook,
// by its name and by its label; the others say that a rule is blind and belong to none.
func TestAlertsHaveRunbooks(t *testing.T) {
	books, err := runbooks.Load("")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range ruleFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rules ruleFile
		if err := yaml.Unmarshal(data, &rules); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				if rule.Alert == "" {
					continue
				}
				seen++
				if rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
					t.Errorf("%s: alert %s has no summary or severity", file, rule.Alert)
				}
				book, _, _ := runbooks.Match(books, incident.Alert{Name: rule.Alert, Labels: map[string]string{"alertname": rule.Alert}})
				if book.Name != rule.Labels["failure_case"] {
					t.Errorf("%s: alert %s is labelled %q, its runbook is %q", file, rule.Alert, rule.Labels["failure_case"], book.Name)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d alerts were found", seen)
	}
}

func ruleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("prometheus/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules found: %v", err)
	}
	return files
}

// TestAlertRules lets Prometheus's own tool check the rules and play their tests: that
// they fire, that they do not, and what they do without their series.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("GPUMEDIC_REQUIRE_PROMTOOL") != "" {
			t.Fatalf("promtool is required and not installed (Debian: apt-get install prometheus): %v", err)
		}
		t.Skip("promtool is not installed (Debian: apt-get install prometheus); CI has it")
	}
	tests, err := filepath.Glob("prometheus/tests/*.yaml")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests of rules found: %v", err)
	}
	for _, args := range [][]string{
		append([]string{"check", "rules"}, ruleFiles(t)...),
		append([]string{"test", "rules"}, tests...),
	} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput() //nolint:gosec // our own files
		if err != nil {
			t.Errorf("promtool %v: %v\n%s", args[:2], err, out)
		}
	}
}
