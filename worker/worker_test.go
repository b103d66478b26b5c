package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go.temporal.io/sdk/client"
	"gpumedic/embedded"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/temporal"

	"gpumedic/activities/chat"
	"gpumedic/activities/cluster"
	"gpumedic/activities/commtest"
	"gpumedic/activities/evidence"
	"gpumedic/activities/governor"
	"gpumedic/activities/metrics"
	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/steps"
)

// TestEveryStepHasAHand compares the vocabulary with what is registered.
func TestEveryStepHasAHand(t *testing.T) {
	h := &hands{cluster: &cluster.Hands{}, commtest: &commtest.Hands{}, chat: &chat.Hands{}, evidence: &evidence.Hands{}, governor: &governor.Hands{}, metrics: &metrics.Hands{}}
	registered := h.byStep()
	for _, step := range steps.All() {
		if registered[step.Name] == nil {
			t.Errorf("step %s has no hand", step.Name)
		}
		delete(registered, step.Name)
		if undo := step.Undo; undo != "" {
			if _, ok := steps.ByName(undo); !ok {
				t.Errorf("step %s is undone by %s, which is no step", step.Name, undo)
			}
		}
	}
	for name := range registered {
		t.Errorf("%s is registered, but is no step of the vocabulary", name)
	}
}

// TestErrorsAreClassified lets steps fail in every kind: what time can mend is
// retried, everything else is not, and no secret stays in the text.
func TestErrorsAreClassified(t *testing.T) {
	kinds := []incident.Kind{
		incident.Unreachable, incident.TimedOut, incident.Forbidden, incident.Missing,
		incident.Conflict, incident.Invalid, incident.Unsupported, incident.Internal,
	}
	for _, kind := range kinds {
		err := classified(context.Background(), incident.Faultf(kind, errors.New("Bearer abcdef0123456789abcdef"), "asking"))
		var application *temporal.ApplicationError
		if !errors.As(err, &application) || application.Type() != string(kind) || application.NonRetryable() == kind.Retryable() {
			t.Errorf("%s became %v", kind, err)
		}
		if application.Message() != "asking: Bearer [redacted:credentials]" {
			t.Errorf("message %q", application.Message())
		}
	}
}

func TestABadWayToTheClusterIsTold(t *testing.T) {
	cfg := config.Default()
	cfg.Evidence.URL = (&url.URL{Scheme: "file", Path: t.TempDir()}).String()
	cfg.Kubernetes.Kubeconfig = filepath.Join(t.TempDir(), "not-there")
	_, err := newHands(t.Context(), cfg, hclog.NewNullLogger())
	if err == nil || exitCode(err) != 2 {
		t.Errorf("got %v", err)
	}
}

func TestABadWayToPrometheusIsTold(t *testing.T) {
	t.Setenv("GPUMEDIC_TEST_EMPTY", "")
	for name, cfg := range map[string]config.Prometheus{
		"token":     {URL: "https://prometheus.example", Token: config.Secret{Env: "GPUMEDIC_TEST_EMPTY"}},
		"authority": {URL: "https://prometheus.example", CAFile: filepath.Join(t.TempDir(), "not-there")},
	} {
		_, err := newMetrics(cfg, nil, hclog.NewNullLogger())
		if err == nil || exitCode(err) != 2 || !strings.Contains(err.Error(), "Prometheus") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestTheWorkerWaitsForTemporal starts Temporal after the worker has begun to
// look for it: it says so once, waits, and goes on.
func TestTheWorkerWaitsForTemporal(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	t.Setenv("TEMPORAL_TLS", "false")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var said bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Warn})
	type answer struct {
		client client.Client
		err    error
	}
	connected := make(chan answer, 1)
	go func() {
		c, err := connect(ctx, config.Temporal{Address: fmt.Sprintf("127.0.0.1:%d", port), Namespace: "gpumedic"}, log)
		connected <- answer{c, err}
	}()
	select {
	case got := <-connected:
		t.Fatalf("connected to nothing: %v", got.err)
	case <-time.After(2 * time.Second):
	}
	server, err := embedded.Start(ctx, embedded.Options{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	got := <-connected
	if got.err != nil {
		t.Fatal(got.err)
	}
	got.client.Close()
	if n := strings.Count(said.String(), "waiting for it"); n != 1 {
		t.Errorf("it said %d times that it waits: %s", n, said.String())
	}
}
