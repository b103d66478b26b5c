package commtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"gpumedic/incident"
)

// python returns the interpreter, or skips: the script runs in the test's
// image, so this machine need not have one. Nothing here needs torch.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on this machine")
	}
	return path
}

func TestScriptCompiles(t *testing.T) {
	for _, name := range scriptFiles() {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(script(name)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(python(t), "-m", "py_compile", file).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestScriptIsWhole: what is mounted is all that is there.
func TestScriptIsWhole(t *testing.T) {
	entries, err := scripts.ReadDir("script")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(scriptFiles(), entry.Name()) {
			t.Errorf("%s is not in the config map", entry.Name())
		}
	}
	if len(entries) != len(scriptFiles()) {
		t.Errorf("%d files, %d in the config map", len(entries), len(scriptFiles()))
	}
}

// program is all of the script's text.
func program() string {
	var text strings.Builder
	for _, name := range scriptFiles() {
		text.WriteString(script(name))
	}
	return text.String()
}

// TestScriptMeets runs testdata/meet_test.py: real processes that meet over
// loopback, some of which do not come.
func TestScriptMeets(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(python(t), "-B", filepath.Join("testdata", "meet_test.py"))
	cmd.Env = append(os.Environ(), "PYTHONPATH="+mustAbs(t, "script")+string(os.PathListSeparator)+mustAbs(t, "testdata"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestScriptAndHandsAgree: both sides of the contract name the same things.
func TestScriptAndHandsAgree(t *testing.T) {
	p := params()
	for _, v := range environment(p) {
		own := strings.HasPrefix(v.Name, "COMMTEST_") || strings.HasPrefix(v.Name, "MASTER_") || v.Name == "RANK" ||
			v.Name == "NNODES" || v.Name == "NPROC_PER_NODE" || v.Name == "NODE_NAME"
		if own && !strings.Contains(program(), `"`+v.Name+`"`) {
			t.Errorf("the script does not read %s", v.Name)
		}
	}
	for _, phase := range []string{phaseLaunch, phaseMemory, phaseMeet, phaseInit, phaseCollect, phaseCheck, phaseDied} {
		if !strings.Contains(program(), `"`+phase+`"`) {
			t.Errorf("the script knows no phase %q", phase)
		}
	}
}

// TestScriptRuns plays two pods of two processes over loopback, from the
// check-in to the verdict. Torch is a stand-in (testdata/torch): the script's
// own order, arithmetic and events are real, the collective is not.
func TestScriptRuns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env    []string
		want   incident.TestResult
		why    string
		failed []string
	}{
		"healthy":        {nil, incident.TestPass, "2 nodes reached", nil},
		"wrong sums":     {[]string{"FAKE_WRONG=3"}, incident.TestFail, "error in phase check: 1 wrong elements here", []string{"gpu-01"}},
		"wrong gathered": {[]string{"FAKE_WRONG=3", "FAKE_OP=all_gather"}, incident.TestFail, "1 wrong elements here, 1 in all, after all_gather of 1024 bytes", []string{"gpu-01"}},
		"wrong received": {[]string{"FAKE_WRONG=1", "FAKE_OP=sendrecv"}, incident.TestFail, "1 wrong elements here, 1 in all, after sendrecv of 1024 bytes", []string{"gpu-00"}},
		"one hangs":      {[]string{"FAKE_HANG=2", "COMMTEST_RUN_SECONDS=12"}, incident.TestFail, "error in phase init", []string{"gpu-00", "gpu-01"}},
		"lonely rank":    {[]string{"NNODES=3"}, incident.TestFail, "did not reach rank 2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := Want{
				Group: incident.Group{ID: "g", Nodes: []string{"gpu-00", "gpu-01"}}, Procs: 2, Backend: "gloo", Ops: ops(), Sizes: []int64{1 << 10, 4 << 10},
			}
			if name == "lonely rank" {
				want.Group.Nodes = append(want.Group.Nodes, "gpu-02")
			}
			logs := playPods(t, c.env)
			got := Parse(logs, want)
			if got.Result == incident.TestPass && (len(got.Points) != 6 || !strings.Contains(got.Proved, "nothing is proved of them")) {
				t.Errorf("a pass over gloo proves %q with %d points", got.Proved, len(got.Points))
			}
			if got.Result != c.want || !strings.Contains(got.Why, c.why) {
				t.Errorf("got %s: %s\nwant %s: ...%s...\n%+v", got.Result, got.Why, c.want, c.why, logs)
			}
			if diff := cmp.Diff(c.failed, got.FailedNodes); diff != "" {
				t.Errorf("failed nodes (-want +got):\n%s\n%+v", diff, logs)
			}
		})
	}
}

// playPods runs the script as two pods would and reads what they print.
func playPods(t *testing.T, extra []string) []RankLog {
	t.Helper()
	interpreter, port := python(t), freePorts(t)
	logs := make([]RankLog, 2)
	var group errgroup.Group
	for rank := range logs {
		cmd := exec.Command(interpreter, "-B", "-u", filepath.Join("script", scriptFile))
		cmd.Env = append(os.Environ(), "PYTHONPATH="+mustAbs(t, "testdata"), "MASTER_ADDR=127.0.0.1", fmt.Sprintf("MASTER_PORT=%d", port),
			fmt.Sprintf("RANK=%d", rank), fmt.Sprintf("NODE_NAME=gpu-%02d", rank), "NNODES=2", "NPROC_PER_NODE=2", "COMMTEST_TOKEN=ct",
			"COMMTEST_SIZES=1024,4096", "COMMTEST_MEET_SECONDS=3", "COMMTEST_RUN_SECONDS=30")
		cmd.Env = append(cmd.Env, extra...)
		group.Go(func() error {
			out, err := cmd.Output()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return err
			}
			log, err := Read(bytes.NewReader(out))
			log.Rank, log.Node, log.Exit = rank, fmt.Sprintf("gpu-%02d", rank), &Exit{Code: cmd.ProcessState.ExitCode()}
			logs[rank] = log
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return logs
}

// freePorts finds a port that is free together with its successor.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 50 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		first.Close()
		if err == nil {
			second.Close()
			return port
		}
	}
	t.Fatal("no two free ports in a row")
	return 0
}
