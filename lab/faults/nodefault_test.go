package faults_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/commtest"
	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
)

// onLeafs adds the nodes, so many to a leaf switch.
func (st *stage) onLeafs(each int) {
	for i := range st.pods {
		st.objects = append(st.objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("gpu-%02d", i), Labels: map[string]string{kubelet.LeafLabel: fmt.Sprintf("leaf-%c", 'a'+i/each)},
		}})
	}
}

// judge reads the endings of a test as the product does.
func judge(t *testing.T, st *stage, endings []ending) incident.Outcome {
	t.Helper()
	want := commtest.Want{
		Procs: 4, Backend: "nccl", Sizes: []int64{1 << 20, 64 << 20, 1 << 30}, ExpectedGBps: 370, SlowBelow: 0.5,
	}
	var logs []commtest.RankLog
	for rank, e := range endings {
		log, err := commtest.Read(strings.NewReader(e.text))
		if err != nil {
			t.Fatal(err)
		}
		node := st.pods[rank].Spec.NodeName
		log.Rank, log.Node, log.Exit = rank, node, &commtest.Exit{Code: e.exit.Code}
		logs = append(logs, log)
		want.Group.Nodes = append(want.Group.Nodes, node)
	}
	return commtest.Parse(logs, want)
}

const retry = `NCCL WARN NET/IB : Got completion from peer 10\.244\.%d\.\d+<\d+> with status=12 `

func TestHardNodeFailsEveryTestItIsIn(t *testing.T) {
	for _, phase := range []string{faults.AtInit, faults.AtWork} {
		st := testOf(t, "false-alarm", 4)
		st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-02", Kind: faults.Hard, Phase: phase}}
		endings := st.run(nil)
		if o := judge(t, st, endings); o.Result != incident.TestFail || !o.Simulated {
			t.Errorf("%s: the test of all is %+v", phase, o)
		}
		// The rank before sees it, and the node's own adapter.
		want(t, "rank 1", endings[1].text, fmt.Sprintf(retry, 2))
		want(t, "rank 2", endings[2].text, `NCCL WARN NET/IB : mlx5_0:1 Got async error event: port error$`, fmt.Sprintf(retry, 3))
		for _, rank := range []int{0, 3} {
			reject(t, "an innocent rank", endings[rank].text, `Got completion`, `async`)
		}
		for rank, e := range endings {
			checkNCCL(t, of(rank, "test-%"), e.text)
			found := events(t, e.text, "error")
			if len(found) != 1 || found[0].Phase != phase || !found[0].Echo || e.exit.Code != 1 {
				t.Errorf("%s: rank %d says %+v and ends with %+v", phase, rank, found, e.exit)
			}
		}
		if points := events(t, endings[0].text, "point"); (len(points) > 0) != (phase == faults.AtWork) {
			t.Errorf("%s: %d sizes were measured", phase, len(points))
		}
	}
}

func TestHardNodeIsWellAloneAndOthersWithoutIt(t *testing.T) {
	for name, nodes := range map[string]int{"gpu-00": 1, "gpu-07": 4} {
		st := testOf(t, "false-alarm", nodes)
		st.script.NodeFaults = []faults.NodeFault{{Node: name, Kind: faults.Hard}}
		if o := judge(t, st, st.run(nil)); o.Result != incident.TestPass {
			t.Errorf("%d nodes, %s is bad: %+v", nodes, name, o)
		}
	}
}

func TestSilentNodeSaysNothingItself(t *testing.T) {
	st := testOf(t, "false-alarm", 4)
	st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-02", Kind: faults.Hard, Silent: true}}
	endings := st.run(nil)
	want(t, "rank 1", endings[1].text, fmt.Sprintf(retry, 2))
	reject(t, "rank 2", endings[2].text, `Got completion`, `async`)
	if e := events(t, endings[2].text, "error"); len(e) != 1 || !e[0].Echo {
		t.Errorf("rank 2 says %+v, want an echo", e)
	}
	all := testOf(t, "false-alarm", 2)
	all.script.NodeFaults = []faults.NodeFault{{Node: "gpu-00", Kind: faults.Hard, Silent: true}, {Node: "gpu-01", Kind: faults.Hard, Silent: true}}
	if o := judge(t, all, all.run(nil)); o.Result != incident.TestFail { // and not a test without end
		t.Errorf("two silent nodes: %+v", o)
	}
}

func TestSlowNodeSlowsItsTest(t *testing.T) {
	st := testOf(t, "false-alarm", 3)
	st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-02", Kind: faults.Slow, Share: 0.25}}
	endings := st.run(nil)
	checkSweep(t, endings[0].text, 0.23*370, 0.27*370)
	if o := judge(t, st, endings); o.Result != incident.TestFail || !strings.HasPrefix(o.Why, "slow: ") {
		t.Errorf("a slow node makes %+v", o)
	}
}

func TestRanksTellTheirOwnTimes(t *testing.T) {
	for name, c := range map[string]struct {
		own          bool
		slow, distal []int // ranks slow at their own work, and at exchanging
	}{
		"adapter": {false, nil, []int{1, 2, 3}},
		"machine": {true, []int{2}, []int{1, 2, 3}},
	} {
		st := testOf(t, "false-alarm", 7)
		st.edit(setenv("COMMTEST_OPS", "all_reduce,all_gather,sendrecv"))
		st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-02", Kind: faults.Slow, Share: 0.25, OwnWork: c.own}}
		endings := st.run(nil)
		if points := events(t, endings[0].text, "point"); len(points) != 9 || points[0].Op != "all_reduce" || points[8].Op != "sendrecv" {
			t.Errorf("%s: points %+v", name, points)
		}
		var slow, distal []int
		for rank, e := range endings {
			times := events(t, e.text, "rank")[0]
			if times.Compute > 0.003 && times.Late > 0.001 {
				slow = append(slow, rank)
			}
			if times.Exchange > 0.002 {
				distal = append(distal, rank)
			}
		}
		if !slices.Equal(slow, c.slow) || !slices.Equal(distal, c.distal) {
			t.Errorf("%s: ranks %v are slow by themselves and %v at exchanging, want %v and %v", name, slow, distal, c.slow, c.distal)
		}
	}
}

func TestFlakyNodeFailsNowAndThen(t *testing.T) {
	results := map[incident.TestResult]int{}
	for round := range 12 {
		st := testOf(t, "false-alarm", 2)
		st.rename(fmt.Sprintf("gpumedic-ct-%08x-d%d-0", round, round))
		st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-01", Kind: faults.Flaky, Share: 0.5, Phase: faults.AtWork}}
		first := judge(t, st, st.run(nil)).Result
		results[first]++

		again := testOf(t, "false-alarm", 2)
		again.rename(fmt.Sprintf("gpumedic-ct-ffffffff-d%d-0", round)) // another incident
		again.script = st.script
		if second := judge(t, again, again.run(nil)).Result; second != first {
			t.Errorf("round %d: %s, and in another incident %s", round, first, second)
		}
	}
	if results[incident.TestFail] < 3 || results[incident.TestPass] < 3 || len(results) != 2 {
		t.Errorf("of 12 tests with a node that fails half of them: %v", results)
	}
}

func TestUplinkFailsWhatCrossesIt(t *testing.T) {
	for leaf, result := range map[string]incident.TestResult{"leaf-a": incident.TestFail, "leaf-b": incident.TestFail, "leaf-c": incident.TestPass} {
		st := testOf(t, "false-alarm", 4)
		st.onLeafs(2)
		st.script.LeafUplinks = []string{leaf}
		endings := st.run(nil)
		if o := judge(t, st, endings); o.Result != result {
			t.Errorf("uplink of %s: %+v", leaf, o)
		}
		if result == incident.TestFail { // the ring crosses after ranks 1 and 3
			want(t, "rank 1", endings[1].text, fmt.Sprintf(retry, 2))
			want(t, "rank 3", endings[3].text, fmt.Sprintf(retry, 0))
			reject(t, "ranks in the middle", endings[0].text+endings[2].text, `Got completion`)
		}
	}
	within := testOf(t, "false-alarm", 2)
	within.onLeafs(2)
	within.script.LeafUplinks = []string{"leaf-a"}
	if o := judge(t, within, within.run(nil)); o.Result != incident.TestPass {
		t.Errorf("a test under one leaf switch does not cross its uplink: %+v", o)
	}
}

func TestLinkFailsWhereTheRingTakesIt(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		result incident.TestResult
	}{{"gpu-02", "gpu-01", incident.TestFail}, {"gpu-00", "gpu-02", incident.TestPass}} {
		st := testOf(t, "false-alarm", 4)
		st.script.Links = []faults.Link{{A: c.a, B: c.b}}
		if o := judge(t, st, st.run(nil)); o.Result != c.result {
			t.Errorf("link %s to %s: %+v", c.a, c.b, o)
		}
	}
}

func TestFabricFaultsSpareTCP(t *testing.T) {
	st := testOf(t, "false-alarm", 3)
	st.edit(setenv("NCCL_IB_DISABLE", "1"))
	st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-01", Kind: faults.Hard}}
	endings := st.run(nil)
	want(t, "rank 0", endings[0].text, `Using network Socket$`, `"event":"end"`)
	for rank, e := range endings {
		if e.exit.Code != 0 {
			t.Errorf("rank %d ended with %+v", rank, e.exit)
		}
	}
}

func TestTrainingMeetsFabricFaults(t *testing.T) {
	for name, c := range map[string]struct {
		script faults.Script
		see    []int // ranks that see it themselves
		steps  bool  // made before
	}{
		"hard":          {faults.Script{NodeFaults: []faults.NodeFault{{Node: "gpu-05", Kind: faults.Hard}}}, []int{4, 5}, false},
		"hard, at work": {faults.Script{NodeFaults: []faults.NodeFault{{Node: "gpu-05", Kind: faults.Hard, Phase: faults.AtWork, Silent: true}}}, []int{4}, true},
		"flaky":         {faults.Script{NodeFaults: []faults.NodeFault{{Node: "gpu-05", Kind: faults.Flaky, Share: 0.1}}}, []int{4, 5}, true},
		"uplink":        {faults.Script{LeafUplinks: []string{"leaf-b"}}, []int{3, 7}, false},
	} {
		t.Run(name, func(t *testing.T) {
			st := set(t, "false-alarm")
			st.onLeafs(4)
			st.script = c.script
			for rank, e := range st.run(nil) {
				checkNCCL(t, host(rank), e.text)
				if e.exit.Code != 1 {
					t.Errorf("rank %d ended with %+v", rank, e.exit)
				}
				if made := strings.Contains(e.text, "step 1/100000"); made != c.steps {
					t.Errorf("rank %d made a step: %v, want %v", rank, made, c.steps)
				}
				if slices.Contains(c.see, rank) {
					want(t, host(rank), e.text, fmt.Sprintf(retry, (rank+1)%8), of(rank, `^\[rank%\]: torch.distributed.DistBackendError: .*remote process exited`), `^\[rank\d\]: NET/IB : Got completion`)
				} else {
					reject(t, host(rank), e.text, `Got completion`)
					want(t, host(rank), e.text, `NCCL WARN socketProgress: Connection closed by remote peer`)
				}
			}
		})
	}
}

func TestTrainingWithASlowNodeCrawls(t *testing.T) {
	st := set(t, "false-alarm")
	st.script.NodeFaults = []faults.NodeFault{{Node: "gpu-05", Kind: faults.Slow, Share: 0.25}}
	st.open()
	for rank, e := range st.run(st.trained(2)) {
		want(t, host(rank), e.text, `Using network IB$`, of(rank, `^\[rank%\]: step 2/100000 .* step_time 1\.[67]\d\ds tokens/s`))
		reject(t, host(rank), e.text, trouble)
	}
}

func TestScriptRefusesFabricFaultsThatMakeNoSense(t *testing.T) {
	for want, script := range map[string]faults.Script{
		"node_faults[0]: want the name":          {NodeFaults: []faults.NodeFault{{Kind: faults.Hard}}},
		"node_faults[0]: want a kind":            {NodeFaults: []faults.NodeFault{{Node: "a", Kind: "odd", Share: 0.5}}},
		"node_faults[0]: want no share":          {NodeFaults: []faults.NodeFault{{Node: "a", Kind: faults.Hard, Share: 0.5}}},
		"node_faults[0]: want a share between 0": {NodeFaults: []faults.NodeFault{{Node: "a", Kind: faults.Slow, Share: 1}}},
		"node_faults[0]: want phase":             {NodeFaults: []faults.NodeFault{{Node: "a", Kind: faults.Hard, Phase: "late"}}},
		"leaf_uplinks[1]":                        {LeafUplinks: []string{"leaf-a", ""}},
		"links[0]: want two nodes":               {Links: []faults.Link{{A: "a", B: "a"}}},
	} {
		if err := script.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", script, err, want)
		}
	}
}
