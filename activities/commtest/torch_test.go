package commtest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

var record = flag.Bool("record", false, "write what the script prints over the real torch to testdata/recorded")

// recordings are what the script does over a real torch with gloo, on one
// machine without GPUs; versions stand in the start events of the logs. They
// prove the script's order over torch.distributed and how torch words faults,
// and nothing about NCCL.
var recordings = map[string]struct {
	nodes, procs int
	// hit is done to a process of rank 1 in the middle of the sweep; 0 = nothing.
	hit    syscall.Signal
	env    []string
	want   incident.TestResult
	why    string
	failed []string
	slow   bool // run for new recordings only
}{
	"healthy":    {nodes: 3, procs: 2, want: incident.TestPass, why: "3 nodes reached"},
	"one-node":   {nodes: 1, procs: 2, want: incident.TestPass, why: "the 2 GPUs of gpu-00 work together", slow: true},
	"one-gpu":    {nodes: 1, procs: 1, want: incident.TestPass, why: "with one process this is no test of bandwidth", slow: true},
	"one-killed": {nodes: 3, procs: 1, hit: syscall.SIGKILL, want: incident.TestFail, why: "the process of GPU 0 was ended by signal 9", failed: []string{"gpu-01"}},
	"one-frozen": {nodes: 3, procs: 1, hit: syscall.SIGSTOP, want: incident.TestFail, why: "error in phase collective", failed: []string{"gpu-01"}, slow: true},
	"no-launcher": {nodes: 2, procs: 1, env: []string{"COMMTEST_LAUNCHER=torchrun", "PATH=/nowhere"}, want: incident.TestError,
		why: "could not be run: rank 0 on gpu-00: torchrun: "},
}

func wantRecorded(nodes, procs int) Want {
	want := Want{Procs: procs, Backend: "gloo", Ops: ops(), Sizes: []int64{1 << 20, 4 << 20}}
	want.Group.ID = "g"
	for rank := range nodes {
		want.Group.Nodes = append(want.Group.Nodes, fmt.Sprintf("gpu-%02d", rank))
	}
	return want
}

func TestRecorded(t *testing.T) {
	for name, c := range recordings {
		t.Run(name, func(t *testing.T) {
			var logs []RankLog
			for rank := range c.nodes {
				text, err := os.ReadFile(filepath.Join("testdata", "recorded", name, fmt.Sprintf("rank-%d.log", rank)))
				if err != nil {
					t.Fatal(err)
				}
				log := read(t, rank, string(text))
				log.Exit = exitRecorded(t, string(text))
				logs = append(logs, log)
			}
			judgeRecorded(t, name, logs)
		})
	}
}

// exitRecorded reads the last line of a recorded log, which we wrote.
func exitRecorded(t *testing.T, text string) *Exit {
	t.Helper()
	exit := &Exit{}
	if _, err := fmt.Sscanf(text[strings.LastIndex(text, "[exit "):], "[exit %d]", &exit.Code); err != nil {
		t.Fatal(err)
	}
	return exit
}

func judgeRecorded(t *testing.T, name string, logs []RankLog) {
	t.Helper()
	c := recordings[name]
	got := Parse(logs, wantRecorded(c.nodes, c.procs))
	if got.Result != c.want || !strings.Contains(got.Why, c.why) {
		t.Errorf("got %s: %s\nwant %s: ...%s...", got.Result, got.Why, c.want, c.why)
	}
	if diff := cmp.Diff(c.failed, got.FailedNodes); diff != "" {
		t.Errorf("failed nodes (-want +got):\n%s", diff)
	}
	points := 6
	if c.nodes*c.procs == 1 {
		points = 0
	}
	if got.Result == incident.TestPass && (len(got.Points) != points || !strings.Contains(got.Proved, "gloo")) {
		t.Errorf("%d points; proved: %s", len(got.Points), got.Proved)
	}
}

// torchPython finds an interpreter that has torch with gloo, or skips.
func torchPython(t *testing.T) string {
	t.Helper()
	for _, candidate := range []string{os.Getenv("GPUMEDIC_TORCH_PYTHON"), "python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(candidate)
		if err == nil && exec.Command(path, "-c", "import torch.distributed as d; assert d.is_available()").Run() == nil {
			return path
		}
	}
	t.Skip("no Python with torch on this machine; name one in GPUMEDIC_TORCH_PYTHON (Debian: apt install python3-torch)")
	return ""
}

// TestScriptOverTorch runs the script over the real torch as several pods on
// loopback, and lets processes die and freeze.
func TestScriptOverTorch(t *testing.T) {
	interpreter := torchPython(t)
	for name, c := range recordings {
		t.Run(name, func(t *testing.T) {
			if c.slow && !*record {
				t.Skip("takes long, and its recording is judged in TestRecorded; -record runs it")
			}
			seconds := 90
			if c.hit == syscall.SIGSTOP {
				seconds = 30
			}
			pods := startPods(t, interpreter, c.nodes, c.procs, append(c.env, fmt.Sprintf("COMMTEST_RUN_SECONDS=%d", seconds)))
			if c.hit != 0 {
				hit(t, pods, c.hit)
			}
			logs := make([]RankLog, len(pods))
			for rank, pod := range pods {
				text := pod.end(t)
				keepRecorded(t, name, rank, text, pod.cmd.ProcessState.ExitCode())
				logs[rank] = read(t, rank, text)
				logs[rank].Exit = &Exit{Code: pod.cmd.ProcessState.ExitCode()}
			}
			judgeRecorded(t, name, logs)
		})
	}
}

func keepRecorded(t *testing.T, name string, rank int, text string, code int) {
	t.Helper()
	if !*record {
		return
	}
	dir := filepath.Join("testdata", "recorded", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, fmt.Sprintf("rank-%d.log", rank))
	if err := os.WriteFile(file, fmt.Appendf(nil, "%s[exit %d]\n", text, code), 0o644); err != nil {
		t.Fatal(err)
	}
}

// podProcess is one pod of the script and what it has printed so far.
type podProcess struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *podProcess) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(data)
}

func (p *podProcess) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *podProcess) end(t *testing.T) string {
	t.Helper()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.said()
}

func startPods(t *testing.T, interpreter string, nodes, procs int, env []string) []*podProcess {
	t.Helper()
	port, pods := freePorts(t), make([]*podProcess, nodes)
	for rank := range pods {
		pod := &podProcess{cmd: exec.Command(interpreter, "-B", "-u", filepath.Join("script", scriptFile))}
		pod.cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1", "MASTER_ADDR=127.0.0.1", fmt.Sprintf("MASTER_PORT=%d", port),
			fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("NODE_NAME=gpu-%02d", rank), fmt.Sprintf("NNODES=%d", nodes),
			fmt.Sprintf("NPROC_PER_NODE=%d", procs), "COMMTEST_TOKEN=ct", "COMMTEST_SIZES=1048576,4194304", "COMMTEST_MEET_SECONDS=60")
		pod.cmd.Env = append(pod.cmd.Env, env...)
		pod.cmd.Stdout = pod
		if err := pod.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pod.cmd.Process.Kill() })
		pods[rank] = pod
	}
	return pods
}

// hit waits until the sweep is under way and signals the process that rank 1 started.
func hit(t *testing.T, pods []*podProcess, signal syscall.Signal) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(pods[0].said(), `"point"`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no point within a minute:\n%s", pods[0].said())
		}
	}
	keeper := pods[1].cmd.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", keeper, keeper))
	var child int
	if _, scanErr := fmt.Sscan(string(children), &child); err != nil || scanErr != nil {
		t.Fatalf("finding the process of rank 1: %v, %v", err, scanErr)
	}
	if err := syscall.Kill(child, signal); err != nil {
		t.Fatal(err)
	}
}
