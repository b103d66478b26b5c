package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gpumedic/lab/rig"
	"gpumedic/lab/scenarios"
)

// bin is where make puts the programs.
func bin(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gpumedic", "gpumedic-worker", "gpumedic-controlplane"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("%v; build it with: make lab", err)
		}
	}
	return dir
}

// house is a lab of a test's own.
type house struct {
	*rig.Rig
	t   *testing.T
	dir string
	bin string
}

// open starts a lab of the default topology.
func open(t *testing.T) *house {
	t.Helper()
	return openFor(t, scenarios.Scenario{})
}

// openFor starts a lab of the scenario's topology.
func openFor(t *testing.T, s scenarios.Scenario) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), bin: bin(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if h.Rig, err = rig.Start(ctx, rig.Options{Dir: h.dir, Bin: h.bin, Topology: s.Topology}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Stop()
		if t.Failed() {
			h.lastWords("gpumedic-worker.log")
			h.lastWords("gpumedic.log")
		}
	})
	return h
}

func (h *house) lastWords(name string) {
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Log(err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	h.t.Logf("%s ends with:\n%s", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
}

func scene(t *testing.T, name string) scenarios.Scenario {
	t.Helper()
	s, err := scenarios.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play plays a scenario and checks its ending.
func (h *house) play(s scenarios.Scenario, hear rig.Listener) *rig.Ending {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute+time.Duration(s.Ranks)*4*time.Second)
	defer cancel()
	ending, err := h.Play(ctx, s, hear)
	if err != nil {
		h.t.Fatal(err)
	}
	return ending
}

func (h *house) mustEndAsTold(ending *rig.Ending, tolerated ...string) {
	h.t.Helper()
next:
	for _, wrong := range h.Check(h.t.Context(), ending) {
		for _, part := range tolerated {
			if strings.Contains(wrong, part) {
				continue next
			}
		}
		h.t.Error(wrong)
	}
}

// command runs gpumedic's command line.
func (h *house) command(args ...string) (output string, code int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "gpumedic"), args...)
	cmd.Env = append(os.Environ(), "TEMPORAL_TLS=false", "GPUMEDIC_CONFIG="+h.ConfigFile)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // the code tells
	return out.String(), cmd.ProcessState.ExitCode()
}

// eventually asks until ok or the time is over.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
