//go:build !slim

package embedded_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"gpumedic/embedded"
)

func echo(_ workflow.Context, text string) (string, error) { return text, nil }

func dial(t *testing.T, s *embedded.Server) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: s.Address(), Namespace: s.Namespace()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestFileSurvivesRestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "temporal.db")

	first, err := embedded.Start(ctx, embedded.Options{File: file, UI: true})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, first)
	w := worker.New(c, "q", worker.Options{})
	w.RegisterWorkflow(echo)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "kept", TaskQueue: "q"}, echo, "hello")
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Get(ctx, nil); err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(first.UIURL())
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("UI: %v %v", answer, err)
	}
	answer.Body.Close()
	w.Stop()
	if _, err := embedded.Start(ctx, embedded.Options{File: file}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second server on the same file: %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second, err := embedded.Start(ctx, embedded.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	var got string
	if err := dial(t, second).GetWorkflow(ctx, "kept", "").Get(ctx, &got); err != nil || got != "hello" {
		t.Fatalf("after restart: %q, %v", got, err)
	}
}

func TestUnknownSchemaIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "temporal.db")
	for name, content := range map[string]string{file: "x", file + ".schema": "9.99\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := embedded.Start(context.Background(), embedded.Options{File: file})
	if err == nil || !strings.Contains(err.Error(), "9.99") {
		t.Fatalf("got %v", err)
	}
}
