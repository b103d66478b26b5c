package commtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

func ncclWanted() ncclWant {
	return ncclWant{
		Want: Want{
			Group: incident.Group{ID: "r1-g1", Nodes: []string{"gpu-04", "gpu-09"}}, Procs: 2, Backend: "nccl", Ops: ops(),
			Sizes: []int64{1 << 20, 4 << 20, 16 << 20}, ExpectedGBps: 230, SlowBelow: 0.5, Fabric: "infiniband",
		},
		nodeOf: map[string]string{"ct-1-worker-0": "gpu-04", "ct-1-worker-1": "gpu-09"},
	}
}

func ncclText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "nccl-tests", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readNCCLText(t *testing.T, text string, code int) ncclLog {
	t.Helper()
	log, err := readNCCL(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	log.Exit = &Exit{Code: code}
	return log
}

// TestNCCLVersions: the same run, as three versions print it.
func TestNCCLVersions(t *testing.T) {
	want := ncclWanted()
	for _, version := range []string{"v2.10.1", "v2.13.8", "v2.19.6"} {
		t.Run(version, func(t *testing.T) {
			got := judgeNCCL(readNCCLText(t, ncclText(t, version), 0), want)
			if diff := cmp.Diff(incident.Outcome{
				ID: "r1-g1", Nodes: want.Group.Nodes, Result: incident.TestPass, BusBWGBps: 231.4, ExpectedGBps: 230, Transport: "IB", Tool: ToolNCCL,
				Points: []incident.BusBWPoint{
					{Op: allReduce, Bytes: 1 << 20, BusBWGBps: 26.08}, {Op: allReduce, Bytes: 4 << 20, BusBWGBps: 90.5}, {Op: allReduce, Bytes: 16 << 20, BusBWGBps: 231.4},
					{Op: allGather, Bytes: 1 << 20, BusBWGBps: 13.1}, {Op: allGather, Bytes: 4 << 20, BusBWGBps: 46.2}, {Op: allGather, Bytes: 16 << 20, BusBWGBps: 118.8},
					{Op: sendRecv, Bytes: 1 << 20, BusBWGBps: 9.4}, {Op: sendRecv, Bytes: 4 << 20, BusBWGBps: 18.2}, {Op: sendRecv, Bytes: 16 << 20, BusBWGBps: 23.9},
				},
				Proved: "NCCL moved right data between 2 nodes over IB up to 16 MiB in every collective tried; other nodes, other paths of the fabric and long runs are not proved",
				Why:    "2 nodes reached 231.4 GB/s at 16 MiB over IB",
			}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNCCLJudgement(t *testing.T) {
	replaced := func(old, new string) func(string) string {
		return func(text string) string {
			if !strings.Contains(text, old) {
				t.Errorf("the log has no %q", old)
			}
			return strings.ReplaceAll(text, old, new)
		}
	}
	cutAt := func(mark string) func(string) string {
		return func(text string) string { return text[:strings.Index(text, mark)] }
	}
	for name, c := range map[string]struct {
		file   string
		change func(string) string
		code   int
		want   incident.TestResult
		why    string
		failed []string
	}{
		"wrong data":                {"failed-wrong", nil, 7, incident.TestFail, "3 wrong elements after all_reduce of 1 MiB", nil},
		"out of bounds, old column": {"v2.10.1", replaced("values : 0 OK", "values : 5 FAILED"), 7, incident.TestFail, "5 values out of bounds in all_reduce", nil},
		"one host has the fault":    {"failed-nccl", nil, 3, incident.TestFail, "ct-1-worker-1: NCCL failure in all_reduce_perf common.cu:1012 'unhandled system error", []string{"gpu-09"}},
		"memory is taken":           {"failed-memory", nil, 2, incident.TestError, "could not be run on ct-1-worker-1: CUDA failure", nil},
		"it hangs":                  {"failed-hang", nil, 110, incident.TestFail, "all_reduce_perf did not end in its time; 1 message sizes were measured", nil},
		"unknown flag":              {"failed-usage", nil, 6, incident.TestError, "does not know a flag: all_reduce_perf: invalid option", nil},
		"a worker is not reached":   {"failed-ssh", nil, 1, incident.TestFail, "mpirun could not reach ct-1-worker-1", []string{"gpu-09"}},
		"no such program":           {"failed-binary", nil, 134, incident.TestError, "all_reduce_perf did not start: exit code 134", nil},
		"all on one host":           {"failed-alone", nil, 0, incident.TestError, "not a network test: all_reduce_perf ran on one host only", nil},
		"NCCL saw one node":         {"v2.19.6", replaced("nNodes 2", "nNodes 1"), 0, incident.TestError, "NCCL saw 4 ranks on 1 nodes, want 4 on 2", nil},
		"a rank is missing":         {"v2.13.8", replaced("#  Rank  3 ", "#  rank "), 0, incident.TestError, "ran 3 ranks, want 4", nil},
		"no transport is told":      {"v2.13.8", replaced("NCCL INFO", "NCCL TRACE"), 0, incident.TestError, "NCCL told no transport", nil},
		"another transport": {"v2.13.8", func(text string) string {
			return strings.NewReplacer("NET/IB", "NET/Socket", "network IB", "network Socket").Replace(text)
		}, 0, incident.TestFail, "NCCL used Socket, not IB", nil},
		"slow":                      {"v2.13.8", replaced("231.40", "100.10"), 0, incident.TestFail, "slow: 100.1 GB/s at 16 MiB over IB, expected about 230 GB/s", nil},
		"the average is not judged": {"v2.13.8", replaced("bandwidth    : 63.2011", "bandwidth    : 0.1000"), 0, incident.TestPass, "231.4 GB/s", nil},
		"contents not checked":      {"v2.13.8", replaced("      0 ", "    N/A "), 0, incident.TestError, "were not checked", nil},
		"cut after the rows":        {"v2.19.6", cutAt("# gpumedic end sendrecv"), 0, incident.TestError, "sendrecv_perf had not ended", nil},
		"cut in the rows":           {"v2.19.6", cutAt("# Out of bounds"), 0, incident.TestError, "did not tell its values out of bounds", nil},
		"a collective is missing":   {"v2.13.8", cutAt("# gpumedic begin sendrecv"), 0, incident.TestError, "sendrecv_perf did not run", nil},
		"without its last line":     {"v2.13.8", cutAt("# gpumedic done"), 0, incident.TestError, "the launcher had not ended", nil},
		"a size is missing": {"v2.13.8", func(text string) string {
			lines := strings.Split(text, "\n")
			return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "4194304 ") }), "\n")
		}, 0, incident.TestError, "2 of 3 message sizes of all_reduce", nil},
		"a row is torn":      {"v2.13.8", replaced("231.40", ""), 0, incident.TestError, "printed a broken row", nil},
		"a row is no number": {"v2.13.8", replaced("231.40", "2x"), 0, incident.TestError, "column busbw", nil},
		"no header":          {"v2.13.8", replaced("#       size ", "#       bytes "), 0, incident.TestError, "no header line came before it", nil},
		"empty":              {"v2.13.8", func(string) string { return "" }, 127, incident.TestError, "did not start: exit code 127", nil},
	} {
		t.Run(name, func(t *testing.T) {
			text := ncclText(t, c.file)
			if c.change != nil {
				text = c.change(text)
			}
			got := judgeNCCL(readNCCLText(t, text, c.code), ncclWanted())
			if got.Result != c.want || !strings.Contains(got.Why, c.why) {
				t.Errorf("got %s: %s\nwant %s: ...%s...", got.Result, got.Why, c.want, c.why)
			}
			if diff := cmp.Diff(c.failed, got.FailedNodes); diff != "" {
				t.Errorf("failed nodes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNCCLOfOneNode: bandwidth inside a node is judged, its network is not;
// one GPU alone is no test of bandwidth.
func TestNCCLOfOneNode(t *testing.T) {
	want := ncclWanted()
	want.Group.Nodes, want.Procs, want.ExpectedGBps = []string{"gpu-04"}, 4, 450
	text := strings.ReplaceAll(ncclText(t, "v2.13.8"), "ct-1-worker-1", "ct-1-worker-0")
	got := judgeNCCL(readNCCLText(t, text, 0), want)
	if got.Result != incident.TestPass || got.Transport != "" {
		t.Errorf("got %s over %q: %s", got.Result, got.Transport, got.Why)
	}
	want.ExpectedGBps = 600
	if got = judgeNCCL(readNCCLText(t, text, 0), want); got.Result != incident.TestFail || !slices.Equal(got.SlowNodes, want.Group.Nodes) {
		t.Errorf("got %s, slow %v: %s", got.Result, got.SlowNodes, got.Why)
	}
}

// TestNCCLPrefixes: whatever a log breaks off at, it never passes.
func TestNCCLPrefixes(t *testing.T) {
	text := ncclText(t, "v2.19.6")
	for end := 0; end < len(text)-len("done\n"); end += 7 {
		if got := judgeNCCL(readNCCLText(t, text[:end], 0), ncclWanted()); got.Result != incident.TestError {
			t.Fatalf("after %d bytes: %s: %s", end, got.Result, got.Why)
		}
	}
}

func FuzzNCCL(f *testing.F) {
	for _, name := range []string{"v2.10.1", "v2.19.6", "failed-nccl"} {
		text, err := os.ReadFile(filepath.Join("testdata", "nccl-tests", name+".log"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		log, _ := readNCCL(strings.NewReader(text))
		log.Exit = &Exit{}
		if got := judgeNCCL(log, ncclWanted()); got.Result == incident.TestPass && !strings.Contains(text, "# gpumedic done") {
			t.Errorf("passed without an end: %s", got.Why)
		}
	})
}
