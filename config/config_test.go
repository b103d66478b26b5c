package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/config"
)

func TestSampleIsTheDefaults(t *testing.T) {
	got, err := config.Load("sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	// Empty collections of the sample stand for "none".
	got.Incident.Approval.Approvers, got.Incident.CommTest.Resources, got.Incident.CommTest.Env = nil, nil, nil
	got.Incident.CommTest.Networks, got.Prometheus.Matchers, got.Incident.Storage.Prices = nil, nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sample.yaml differs from Default() (-default +sample):\n%s", diff)
	}
}

// TestInvalid loads files that are each wrong in the way their name says and
// expects exactly the problems in the .txt beside them.
func TestInvalid(t *testing.T) {
	t.Chdir("testdata/invalid")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			want, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Load(file)
			if err == nil {
				t.Fatal("was accepted")
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoSecretIsEchoed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	os.WriteFile(file, []byte("slack:\n  bot_token: xoxb-1234567890-secret\n"), 0o600)
	_, err := config.Load(file)
	if err == nil || strings.Contains(err.Error(), "1234567890") {
		t.Errorf("got %v", err)
	}
}

func TestSecret(t *testing.T) {
	t.Setenv("GPUMEDIC_TEST_TOKEN", " value\n")
	t.Setenv("GPUMEDIC_TEST_EMPTY", "")
	file := filepath.Join(t.TempDir(), "token")
	os.WriteFile(file, []byte("from-file\n"), 0o600)
	for name, test := range map[string]struct {
		secret config.Secret
		want   string
		err    string
	}{
		"none":           {config.Secret{}, "", ""},
		"environment":    {config.Secret{Env: "GPUMEDIC_TEST_TOKEN"}, "value", ""},
		"empty variable": {config.Secret{Env: "GPUMEDIC_TEST_EMPTY"}, "", "is empty"},
		"file":           {config.Secret{File: file}, "from-file", ""},
		"no such file":   {config.Secret{File: file + "x"}, "", "reading a secret"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.secret.Read()
			if got != test.want || (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
