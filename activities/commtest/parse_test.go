package commtest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

// run is a whole test's logs, healthy until a case breaks something.
type run struct {
	want Want
	logs []RankLog
}

// offset tells the figures of the collectives apart.
var offset = map[string]int{allReduce: 0, allGather: 1, sendRecv: 2}

const stamp = "2026-11-24T00:00:00.000000000Z "

// healthy writes the logs of a group that works, as text, and reads them.
func healthy(t *testing.T, nodes int) *run {
	t.Helper()
	r := &run{want: Want{Procs: 4, Backend: "nccl", Ops: ops(), Sizes: []int64{1 << 20, 4 << 20, 16 << 20}, ExpectedGBps: 370, SlowBelow: 0.5}}
	r.want.Group.ID = "r1-g1"
	for i := range nodes {
		r.want.Group.Nodes = append(r.want.Group.Nodes, fmt.Sprintf("gpu-%02d", i))
	}
	for i := range nodes {
		r.logs = append(r.logs, read(t, i, r.text(i)))
	}
	return r
}

func read(t *testing.T, rank int, text string) RankLog {
	t.Helper()
	log, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	log.Rank, log.Node, log.Exit = rank, fmt.Sprintf("gpu-%02d", rank), &Exit{}
	return log
}

func (r *run) text(rank int) string {
	world := len(r.want.Group.Nodes)
	lines := []string{
		fmt.Sprintf(`{"event":"start","rank":%d,"world":%d,"procs":4,"host":"gpu-%02d","backend":"nccl","torch":"2.6.0","nccl":"2.23.4","device":"H100"}`, rank, world, rank),
		"gpu-00:41:99 [0] NCCL INFO Using network IB",
	}
	if world > 1 {
		lines = append(lines, "gpu-00:41:99 [0] NCCL INFO Channel 00/0 : 0[0] -> 4[0] [send] via NET/IB/0/GDRDMA")
	}
	if rank == 0 {
		for _, op := range r.want.Ops {
			for i, size := range r.want.Sizes {
				lines = append(lines, fmt.Sprintf(`{"event":"point","op":"%s","bytes":%d,"time_ms":1.5,"busbw_gbps":%d,"wrong":0}`, op, size, 100*(i+1)+offset[op]))
			}
		}
	}
	lines = append(lines, fmt.Sprintf(`{"event":"rank","rank":%d,"local":0,"host":"x","seconds":0.01}`, rank))
	if rank == 0 {
		lines = append(lines, fmt.Sprintf(`{"event":"end","rank":0,"ok":true,"world":%d}`, world))
	}
	return stamp + strings.Join(lines, "\n"+stamp) + "\n"
}

// replace reads one rank's log again, with a text replaced.
func (r *run) replace(t *testing.T, rank int, old, new string) {
	t.Helper()
	text := r.text(rank)
	if !strings.Contains(text, old) {
		t.Fatalf("rank %d's log does not contain %q", rank, old)
	}
	r.logs[rank] = read(t, rank, strings.ReplaceAll(text, old, new))
}

func (r *run) trouble(rank int, phase string, missing ...int) {
	r.logs[rank].errors = append(r.logs[rank].errors, event{Rank: rank, Phase: phase, Missing: missing, Detail: "timed out"})
	r.logs[rank].Exit = &Exit{Code: 1, Reason: "Error"}
	r.logs[rank].ends = nil
}

// waited lets a rank give up with so many collectives begun.
func (r *run) waited(rank int, phase string, entered int) {
	r.trouble(rank, phase)
	r.logs[rank].errors[0].TimedOut, r.logs[rank].errors[0].Entered = true, &entered
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  int
		change func(t *testing.T, r *run)
		want   incident.TestResult
		why    string
		failed []string
	}{
		"healthy": {3, func(*testing.T, *run) {}, incident.TestPass, "3 nodes reached 300.0 GB/s at 16 MiB over IB", nil},
		"healthy without expectation": {2, func(_ *testing.T, r *run) {
			r.want.ExpectedGBps = 0
			r.replace(t, 0, `"busbw_gbps":300`, `"busbw_gbps":3`)
		},
			incident.TestPass, "3.0 GB/s", nil},
		"slow": {3, func(t *testing.T, r *run) { r.replace(t, 0, `"busbw_gbps":300`, `"busbw_gbps":30`) },
			incident.TestFail, "slow: 30.0 GB/s at 16 MiB over IB, expected about 370 GB/s", nil},
		"slow, and one rank is slow by itself": {3, func(t *testing.T, r *run) {
			r.replace(t, 0, `"busbw_gbps":300`, `"busbw_gbps":30`)
			r.replace(t, 2, `"seconds":0.01`, `"seconds":0.5`)
		}, incident.TestFail, "node gpu-02 took 0.5 s", nil},
		"just fast enough": {3, func(t *testing.T, r *run) { r.replace(t, 0, `"busbw_gbps":300`, `"busbw_gbps":185`) }, incident.TestPass, "185.0", nil},

		"one node is no network test": {1, func(*testing.T, *run) {},
			incident.TestPass, "the 4 GPUs of gpu-00 work together at 300.0 GB/s at 16 MiB; a test of one node says nothing about the network", nil},
		"one node, slow inside": {1, func(t *testing.T, r *run) { r.replace(t, 0, `"busbw_gbps":300`, `"busbw_gbps":10`) },
			incident.TestFail, "slow: 10.0 GB/s at 16 MiB inside node gpu-00, expected about 370 GB/s", nil},
		"one node, one slow GPU": {1, func(t *testing.T, r *run) {
			r.logs[0].times = nil
			for i := range 4 {
				r.logs[0].times = append(r.logs[0].times, event{Local: i, Compute: 0.006, Copy: 0.002})
			}
			r.logs[0].times[2].Copy = 0.005
		}, incident.TestFail, "slow: GPU 2 of gpu-00 took 0.005 s for copying by itself where the median of its siblings is 0.002 s", nil},
		"one node, one process": {1, func(t *testing.T, r *run) {
			r.want.Procs = 1
			r.replace(t, 0, `"procs":4`, `"procs":1`)
			r.logs[0].points = nil
		}, incident.TestPass, "one GPU of gpu-00 does its own work; with one process this is no test of bandwidth", nil},
		"one node, wrong sums": {1, func(t *testing.T, r *run) {
			r.replace(t, 0, `"busbw_gbps":300,"wrong":0`, `"busbw_gbps":300,"wrong":7`)
		},
			incident.TestFail, "7 wrong elements", []string{"gpu-00"}},

		"worlds of their own": {3, func(t *testing.T, r *run) {
			for i := range r.logs {
				r.replace(t, i, `"world":3`, `"world":1`)
			}
		}, incident.TestError, "not a network test", nil},
		"a smaller world":    {3, func(t *testing.T, r *run) { r.replace(t, 1, `"world":3`, `"world":2`) }, incident.TestError, "world of 2 ranks, want 3", nil},
		"too few processes":  {3, func(t *testing.T, r *run) { r.replace(t, 1, `"procs":4`, `"procs":1`) }, incident.TestError, "ran 1 processes, want 4", nil},
		"no GPU was visible": {3, func(t *testing.T, r *run) { r.replace(t, 1, `"backend":"nccl"`, `"backend":"gloo"`) }, incident.TestError, "are the GPUs visible", nil},
		"bandwidth zero":     {3, func(t *testing.T, r *run) { r.replace(t, 0, `"busbw_gbps":300`, `"busbw_gbps":0`) }, incident.TestError, "not a network test", nil},

		"rank 2 did not come": {4, func(t *testing.T, r *run) { r.trouble(0, phaseMeet, 2); r.trouble(2, phaseMeet, 0) },
			incident.TestFail, "rank 0 on gpu-00: error in phase rendezvous: did not reach rank 2", []string{"gpu-02"}},
		"nobody came": {4, func(t *testing.T, r *run) {
			r.trouble(0, phaseMeet, 1, 2, 3)
			r.trouble(1, phaseMeet, 0)
		}, incident.TestFail, "did not reach any other rank", []string{"gpu-00", "gpu-01", "gpu-02", "gpu-03"}},
		"one direction of one rank is blocked": {4, func(t *testing.T, r *run) {
			r.trouble(3, phaseInit, 0, 1, 2)
			for rank := range 3 {
				r.trouble(rank, phaseInit, 3)
			}
		}, incident.TestFail, "phase init", []string{"gpu-03"}},
		"no rank reaches any other": {4, func(t *testing.T, r *run) {
			for rank := range 4 {
				r.trouble(rank, phaseInit, slices.DeleteFunc([]int{0, 1, 2, 3}, func(other int) bool { return other == rank })...)
			}
		}, incident.TestFail, "any other rank", []string{"gpu-00", "gpu-01", "gpu-02", "gpu-03"}},
		"one path is blocked": {4, func(t *testing.T, r *run) { r.trouble(1, phaseInit, 2); r.trouble(2, phaseInit, 1) },
			incident.TestFail, "did not reach rank", []string{"gpu-01", "gpu-02"}},
		"an echo is not blamed": {3, func(t *testing.T, r *run) {
			r.trouble(2, "check")
			r.trouble(0, "check")
			r.logs[0].errors[0].Echo = true
		}, incident.TestFail, "rank 2 on gpu-02", []string{"gpu-02"}},
		"a crash after the start": {3, func(t *testing.T, r *run) {
			r.logs[1] = read(t, 1, strings.Split(r.text(1), "\n")[0]+"\nSegmentation fault\n")
			r.logs[1].Exit = &Exit{Code: 139}
		}, incident.TestFail, "died after its start: exit code 139: Segmentation fault", []string{"gpu-01"}},
		"wrong sums": {3, func(t *testing.T, r *run) {
			r.replace(t, 0, `"busbw_gbps":200,"wrong":0`, `"busbw_gbps":200,"wrong":3`)
		},
			incident.TestFail, "3 wrong elements after all_reduce of 4 MiB", nil},
		"a bad end": {3, func(t *testing.T, r *run) { r.replace(t, 0, `"ok":true`, `"ok":false`) }, incident.TestFail, "bad end", nil},

		"the image has no torch": {3, func(t *testing.T, r *run) {
			r.logs[1] = read(t, 1, stamp+"Traceback:\n"+stamp+"ModuleNotFoundError: No module named 'torch'\n")
			r.logs[1].Exit = &Exit{Code: 1}
			r.trouble(0, phaseMeet, 1)
		}, incident.TestError, "did not start on gpu-01: exit code 1: ModuleNotFoundError", nil},
		"evicted": {3, func(t *testing.T, r *run) {
			r.trouble(0, "collective")
			r.logs[1].Exit = &Exit{Code: 137, Disrupted: "Evicted by the kubelet"}
		}, incident.TestError, "taken away by the cluster", nil},
		"out of memory": {3, func(t *testing.T, r *run) {
			r.trouble(0, "collective")
			r.logs[1].Exit = &Exit{Code: 137, Reason: "OOMKilled"}
		}, incident.TestError, "memory", nil},
		"started too far apart": {3, func(t *testing.T, r *run) {
			r.trouble(0, phaseMeet, 1)
			r.want.Meet, r.want.StartSpread = time.Minute, 55*time.Second
		}, incident.TestError, "started 55s apart", nil},
		"far apart, but blocked later": {3, func(t *testing.T, r *run) {
			r.trouble(0, phaseInit, 1)
			r.want.Meet, r.want.StartSpread = time.Minute, 55*time.Second
		}, incident.TestFail, "phase init", []string{"gpu-01"}},

		"no end":                  {3, func(t *testing.T, r *run) { r.logs[0].ends = nil }, incident.TestError, "0 end lines", nil},
		"the sweep broke off":     {3, func(t *testing.T, r *run) { r.logs[0].points = r.logs[0].points[:2] }, incident.TestError, "2 of 3 message sizes of all_reduce", nil},
		"a collective is missing": {3, func(t *testing.T, r *run) { r.logs[0].points = r.logs[0].points[:6] }, incident.TestError, "0 of 3 message sizes of sendrecv", nil},
		"only all-reduce moved data": {3, func(t *testing.T, r *run) { r.replace(t, 0, `"busbw_gbps":302`, `"busbw_gbps":0`) },
			incident.TestError, "not a network test: bus bandwidth 0 of sendrecv at 16 MiB", nil},
		"the launcher is broken": {3, func(t *testing.T, r *run) {
			r.trouble(1, phaseLaunch)
			r.waited(0, phaseInit, 1)
		}, incident.TestError, "could not be run: rank 1 on gpu-01", nil},
		"a process ran out of memory": {3, func(t *testing.T, r *run) { r.trouble(1, phaseMemory) }, incident.TestError, "could not be run", nil},
		"one died, the others hear it": {3, func(t *testing.T, r *run) {
			r.trouble(1, phaseDied)
			r.trouble(0, phaseCollect)
			r.trouble(2, phaseCollect)
			r.logs[0].errors[0].Echo, r.logs[2].errors[0].Echo = true, true
		}, incident.TestFail, "rank 1 on gpu-01: error in phase died", []string{"gpu-01"}},
		"one is behind, the others wait": {4, func(t *testing.T, r *run) {
			for rank, entered := range []int{17, 17, 4, 17} {
				r.waited(rank, phaseCollect, entered)
			}
		}, incident.TestFail, "phase collective", []string{"gpu-02"}},
		"one is silent, the others wait": {4, func(t *testing.T, r *run) {
			for rank := range 4 {
				r.waited(rank, phaseCollect, 17)
			}
			r.logs[1].errors, r.logs[1].Exit = nil, nil
		}, incident.TestFail, "phase collective", []string{"gpu-01"}},
		"all wait in the same collective": {2, func(t *testing.T, r *run) { r.waited(0, phaseInit, 1); r.waited(1, phaseInit, 1) },
			incident.TestFail, "phase init", []string{"gpu-00", "gpu-01"}},
		"one gives up first, the others hear it": {2, func(t *testing.T, r *run) {
			r.waited(0, phaseInit, 1)
			r.waited(1, phaseInit, 1)
			r.logs[1].errors[0].TimedOut, r.logs[1].errors[0].Echo = false, true
		}, incident.TestFail, "rank 0 on gpu-00: error in phase init", []string{"gpu-00", "gpu-01"}},
		"one names the cause, the others wait": {3, func(t *testing.T, r *run) {
			r.waited(0, phaseCollect, 3)
			r.waited(1, phaseCollect, 3)
			r.trouble(2, phaseCollect)
		}, incident.TestFail, "rank 2 on gpu-02", []string{"gpu-02"}},
		"sizes out of order": {3, func(t *testing.T, r *run) { slices.Reverse(r.logs[0].points) }, incident.TestError, "message sizes", nil},
		"a log breaks off in an event": {3, func(t *testing.T, r *run) {
			r.logs[1] = read(t, 1, r.text(1)+stamp+`{"event":"ran`)
		}, incident.TestError, "broken line", nil},
		"a log is unreadable": {3, func(t *testing.T, r *run) {
			r.logs[2] = RankLog{Rank: 2, Node: "gpu-02", Unreadable: "kubelet is silent"}
		},
			incident.TestError, "kubelet is silent", nil},
		"unreadable, but others saw it fail": {3, func(t *testing.T, r *run) {
			r.logs[2] = RankLog{Rank: 2, Node: "gpu-02", Unreadable: "kubelet is silent"}
			r.trouble(0, phaseInit, 2)
		}, incident.TestFail, "did not reach rank 2", []string{"gpu-02"}},
		"a rank never started to speak": {3, func(t *testing.T, r *run) { r.logs[1] = read(t, 1, "") }, incident.TestError, "0 starts", nil},
		"still running": {3, func(t *testing.T, r *run) { r.logs[1].Exit = nil; r.want.TimedOut = true },
			incident.TestError, "still running at its deadline", nil},
		"a log is missing": {3, func(t *testing.T, r *run) { r.logs = r.logs[:2] }, incident.TestError, "no log of rank 2", nil},
		"no logs":          {3, func(t *testing.T, r *run) { r.logs = nil }, incident.TestError, "no rank left a log", nil},
		"wrong name":       {3, func(t *testing.T, r *run) { r.replace(t, 1, `"start","rank":1`, `"start","rank":2`) }, incident.TestError, "calls itself rank 2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := healthy(t, c.nodes)
			c.change(t, r)
			got := Parse(r.logs, r.want)
			if got.Result != c.want || !strings.Contains(got.Why, c.why) {
				t.Errorf("got %s: %s\nwant %s: ...%s...", got.Result, got.Why, c.want, c.why)
			}
			if diff := cmp.Diff(c.failed, got.FailedNodes); diff != "" {
				t.Errorf("failed nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseMeasures(t *testing.T) {
	r := healthy(t, 2)
	got := Parse(r.logs, r.want)
	want := incident.Outcome{
		ID: "r1-g1", Nodes: []string{"gpu-00", "gpu-01"}, Result: incident.TestPass, BusBWGBps: 300, ExpectedGBps: 370, Transport: "IB",
		Points: []incident.BusBWPoint{
			{Op: allReduce, Bytes: 1 << 20, BusBWGBps: 100}, {Op: allReduce, Bytes: 4 << 20, BusBWGBps: 200}, {Op: allReduce, Bytes: 16 << 20, BusBWGBps: 300},
			{Op: allGather, Bytes: 1 << 20, BusBWGBps: 101}, {Op: allGather, Bytes: 4 << 20, BusBWGBps: 201}, {Op: allGather, Bytes: 16 << 20, BusBWGBps: 301},
			{Op: sendRecv, Bytes: 1 << 20, BusBWGBps: 102}, {Op: sendRecv, Bytes: 4 << 20, BusBWGBps: 202}, {Op: sendRecv, Bytes: 16 << 20, BusBWGBps: 302},
		},
		Tool:   ToolTorch,
		Proved: "NCCL moved right data between 2 nodes over IB up to 16 MiB in every collective tried; other nodes, other paths of the fabric and long runs are not proved",
		Why:    "2 nodes reached 300.0 GB/s at 16 MiB over IB",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	r.replace(t, 1, `"backend":"nccl"`, `"backend":"nccl","simulated":true`)
	if !Parse(r.logs, r.want).Simulated {
		t.Error("a simulated rank does not make the outcome simulated")
	}
	r.replace(t, 1, "via NET/IB/0/GDRDMA", "via NET/Socket/0")
	if got := Parse(r.logs, r.want).Transport; got != "mixed" {
		t.Errorf("one rank on sockets: transport %q, want mixed", got)
	}
}

func TestTransportLines(t *testing.T) {
	for line, want := range map[string]string{
		"h:1:2 [0] NCCL INFO Channel 00 : 0[1b000] -> 8[1b000] [send] via NET/IB/0/GDRDMA":         "IB",     // 2.8 to 2.11
		"h:1:2 [0] NCCL INFO Channel 00/0 : 0[1b000] -> 8[1b000] [receive] via NET/IB/3(5)/GDRDMA": "IB",     // through a proxy rank
		"h:1:2 [0] NCCL INFO Channel 01/0 : 0[0] -> 8[0] [send] via NET/Socket/1":                  "Socket", // 2.18 and later
		"h:1:2 [0] NCCL INFO Channel 01/0 : 0[0] -> 8[0] [send] via NET/IB/0/GDRDMA(PCI)/Shared":   "IB",     // 2.26
		"h:1:2 [0] NCCL INFO Channel 01/0 : 0[0] -> 8[0] [send] via NET/AWS Libfabric/0/GDRDMA":    "Libfabric",
		"h:1:2 [0] NCCL INFO Using network IB":                                                     "IB",
		"h:1:2 [0] NCCL INFO Using network IBext_v8":                                               "IB",
		"h:1:2 [0] NCCL INFO Using network Libfabric":                                              "Libfabric",
		"h:1:2 [0] NCCL INFO Using network Socket\r":                                               "Socket",
		"h:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM":                            "",
		"h:1:2 [0] NCCL INFO NET/IB : No device found.":                                            "",
	} {
		log, err := Read(strings.NewReader(stamp + line + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := transport([]RankLog{log}); got != want {
			t.Errorf("%s\ngot %q, want %q", line, got, want)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine)
	log, err := Read(strings.NewReader(long + "\n" + `{"event":"end","ok":true,"world":2}` + "\n" + long))
	if err != nil || len(log.ends) != 1 || len(log.last) > 400 {
		t.Errorf("got %d ends, last of %d bytes, error %v", len(log.ends), len(log.last), err)
	}
	many := strings.Repeat(`{"event":"point","bytes":1}`+"\n", maxEvents+5)
	if log, _ = Read(strings.NewReader(many)); len(log.points) != maxEvents || log.malformed == "" {
		t.Errorf("kept %d points, malformed %q", len(log.points), log.malformed)
	}
}

func FuzzParse(f *testing.F) {
	r := &run{want: Want{Group: incident.Group{ID: "g", Nodes: []string{"gpu-00", "gpu-01"}}, Procs: 4, Backend: "nccl", Sizes: []int64{1 << 20}}}
	f.Add(r.text(0), r.text(1), 0)
	f.Add(`{"event":"error","rank":-7,"missing":[9,-1]}`, "", 1)
	f.Fuzz(func(t *testing.T, a, b string, code int) {
		first, _ := Read(strings.NewReader(a))
		second, _ := Read(strings.NewReader(b))
		first.Exit, second.Rank = &Exit{Code: code}, 1
		if got := Parse([]RankLog{first, second}, r.want); got.Result == incident.TestPass {
			t.Errorf("rank 1 did not end, and the test passed: %s", got.Why)
		}
	})
}

func TestKeeperKeepsHeadAndTail(t *testing.T) {
	k := newKeeper()
	for i := range 60_000 {
		fmt.Fprintf(k, "line %05d %s\n", i, strings.Repeat("y", 60))
	}
	fmt.Fprint(k, "the last line")
	k.end()
	content, err := io.ReadAll(k.reader())
	if err != nil {
		t.Fatal(err)
	}
	data := string(content)
	if len(data) > headBytes+tailBytes+100 {
		t.Errorf("kept %d bytes", len(data))
	}
	for _, want := range []string{"line 00000 ", "the last line\n", "bytes dropped here"} {
		if !strings.Contains(data, want) {
			t.Errorf("%q is not there", want)
		}
	}
}
