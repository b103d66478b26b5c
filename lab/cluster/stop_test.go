package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gpumedic/lab/cluster"
)

// Folders in which processes of a control plane run are in their flags.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file) // it may have ended meanwhile
		if words := strings.Split(string(line), "\x00"); err == nil && len(words) > 1 && strings.Contains(string(line), dir+"/") {
			found = append(found, words[1])
		}
	}
	return found
}

func TestStopLeavesNothingAndAnotherStartWorks(t *testing.T) {
	dir := t.TempDir()
	for n := range 2 {
		c, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Binary: binary()})
		if err != nil {
			t.Fatalf("start %d: %v", n+1, err)
		}
		if running := processesOf(t, dir); len(running) != 4 {
			t.Errorf("start %d: %v run, want four", n+1, running)
		}
		if _, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Binary: binary()}); err == nil || !strings.Contains(err.Error(), "another lab runs in it") {
			t.Errorf("a second lab in the same folder: %v", err)
		}
		began := time.Now()
		c.Stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %v", took)
		}
		c.Stop() // may be repeated
		if left := processesOf(t, dir); len(left) != 0 {
			t.Errorf("start %d left %v", n+1, left)
		}
	}
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Binary: binary(), Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) || c != nil {
		t.Fatalf("got %v, %v", c, err)
	}
	if left := processesOf(t, dir); len(left) != 0 {
		t.Errorf("%v still run", left)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Setenv("GPUMEDIC_CONTROLPLANE", "")
	for _, file := range []string{"", filepath.Join(t.TempDir(), "none")} {
		_, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: file})
		if err == nil || !strings.Contains(err.Error(), "`make controlplane`") {
			t.Errorf("binary %q: %v", file, err)
		}
	}
	// A component that dies at once is reported with its own words.
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho no such flag: $2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: broken})
	if err == nil || !strings.Contains(err.Error(), "etcd ended") || !strings.Contains(err.Error(), "no such flag: --data-dir") {
		t.Errorf("a broken binary: %v", err)
	}
}

// Between the look for free ports and their use somebody may take one.
func TestTakenPortsAreTriedAgain(t *testing.T) {
	unlucky := filepath.Join(t.TempDir(), "unlucky")
	if err := os.WriteFile(unlucky, []byte("#!/bin/sh\necho listen tcp 127.0.0.1:1: bind: address already in use\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	again := 0
	_, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: unlucky, Progress: func(text string) {
		if strings.Contains(text, "trying others") {
			again++
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "a port that was free is taken") || again != 2 {
		t.Errorf("tried again %d times, then %v", again, err)
	}
}

// orphanFolder makes the test binary a parent that can be killed.
const orphanFolder = "LAB_TEST_ORPHAN_FOLDER"

func orphan(dir string) int {
	if _, err := cluster.Start(context.Background(), cluster.Options{Dir: dir, Binary: binary()}); err != nil {
		return complain(err)
	}
	fmt.Println("up")
	select {} // until it is killed
}

func TestTheControlPlaneDiesWithItsParent(t *testing.T) {
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), orphanFolder+"="+dir)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if lines := bufio.NewScanner(out); !lines.Scan() || lines.Text() != "up" {
		t.Fatalf("the parent said %q", lines.Text())
	}
	if running := processesOf(t, dir); len(running) != 4 {
		t.Errorf("%v run, want four", running)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // says that it was killed
	eventually(t, "its children are gone", func() bool { return len(processesOf(t, dir)) == 0 })
}
