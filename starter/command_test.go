package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// gpumedic runs the command line in this process.
func gpumedic(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command()
	var out, messages bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&messages)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	code = run(context.Background(), cmd)
	return out.String(), messages.String(), code
}

func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() != "help" && cmd.Name() != "completion" && !strings.Contains(cmd.Example, "gpumedic") {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			if cmd.Name() != "completion" {
				walk(sub)
			}
		}
	}
	walk(command())
}

func TestExitCodes(t *testing.T) {
	t.Setenv("TEMPORAL_ADDRESS", "127.0.0.1:1") // nobody there
	t.Setenv("TEMPORAL_TLS", "false")
	invalid := filepath.Join("..", "config", "testdata", "invalid", "many-problems.yaml")
	tests := map[string]struct {
		args []string
		code int
		says string
	}{
		"good configuration":  {[]string{"check"}, 0, ""},
		"bad configuration":   {[]string{"check", "--config", invalid}, 1, "many-problems.yaml:4: slack.mode must be"},
		"good manifest":       {[]string{"check", "--manifest", filepath.Join("testdata", "knobs-good.yaml")}, 0, "1 declarations of knobs in 1 manifests"},
		"bad manifest":        {[]string{"check", "--manifest", filepath.Join("testdata", "knobs-bad.yaml")}, 1, "knobs-bad.yaml:7: role \"speed\" is not known"},
		"no manifest":         {[]string{"check", "--manifest", "not-there.yaml"}, 1, "not-there.yaml"},
		"unknown command":     {[]string{"heal"}, 2, "heal"},
		"missing plan":        {[]string{"approve", "x"}, 2, "plan"},
		"serve with bad file": {[]string{"serve", "--config", invalid}, 2, "log.level"},
		"no Temporal":         {[]string{"list"}, 3, "connecting to Temporal"},
		"no such history":     {[]string{"replay", "not-there.json"}, 3, "not-there.json"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := gpumedic(t, "", test.args...)
			if code != test.code || !strings.Contains(stdout+stderr, test.says) {
				t.Errorf("exit code %d, want %d; said %q and %q", code, test.code, stdout, stderr)
			}
		})
	}
}

func TestPromise8ReplayNamesWhatDiffers(t *testing.T) {
	history := filepath.Join("..", "workflows", "testdata", "histories", "nccl-policy.json")
	if stdout, stderr, code := gpumedic(t, "", "replay", history); code != 0 {
		t.Errorf("the recorded history: exit code %d, %s%s", code, stdout, stderr)
	}
	data, err := os.ReadFile(history)
	if err != nil {
		t.Fatal(err)
	}
	// An incident that resolved something else first is not this code's.
	tampered := filepath.Join(t.TempDir(), "tampered.json")
	changed := bytes.Replace(data, []byte(`"collect-evidence"`), []byte(`"apply-change"`), 1)
	if bytes.Equal(changed, data) {
		t.Fatal("nothing to tamper with")
	}
	if err := os.WriteFile(tampered, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := gpumedic(t, "", "replay", tampered)
	if code != 1 || !strings.Contains(stdout+stderr, "tampered.json") {
		t.Errorf("the tampered history: exit code %d, %s%s", code, stdout, stderr)
	}
}

func TestDiagnoseLines(t *testing.T) {
	in := `{"id":"a","kind":"log","text":"trainer-3:41:41 [0] bootstrap.cc:45 NCCL WARN Bootstrap : no socket interface found"}` + "\n" +
		`{"id":"b","kind":"log","text":"epoch 1 done"}` + "\n"
	stdout, stderr, code := gpumedic(t, in, "diagnose", "--jsonl")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || len(lines) != 2 {
		t.Fatalf("exit code %d, %d lines, %s", code, len(lines), stderr)
	}
	for i, want := range []string{"wrong-socket-interface", ""} {
		var verdict struct {
			ID        string
			RootCause string `json:"root_cause"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &verdict); err != nil || verdict.RootCause != want || verdict.ID != string(rune('a'+i)) {
			t.Errorf("line %d: %s (%v)", i+1, lines[i], err)
		}
	}
}
