package faults_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"gpumedic/lab/faults"
)

// testOf puts a communication test of n nodes on the stage of a scenario, in
// the shape in which the product makes it, with the workload's labels.
func testOf(t *testing.T, scenario string, n int) *stage {
	t.Helper()
	st := set(t, scenario)
	st.pods = nil
	devices := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4"), "rdma/hca_shared_devices_a": resource.MustParse("1")}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "training", Name: "test"},
		Spec: batchv1.JobSpec{Parallelism: ptr.To(int32(n)), Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "llama-70b", faults.TestLabel: "true"}},
			Spec: corev1.PodSpec{Subdomain: "test", Containers: []corev1.Container{{
				Image: "pytorch:any", Resources: corev1.ResourceRequirements{Limits: devices},
				Env: []corev1.EnvVar{
					{Name: "NCCL_DEBUG", Value: "INFO"}, {Name: "NNODES", Value: fmt.Sprint(n)}, {Name: "NPROC_PER_NODE", Value: "4"},
					{Name: "MASTER_ADDR", Value: "test-0.test.training"}, {Name: "MASTER_PORT", Value: "29500"},
					{Name: "COMMTEST_SIZES", Value: "1048576,67108864,1073741824"}, {Name: "COMMTEST_MEET_SECONDS", Value: "2"},
					{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
				},
			}}},
		}},
	}
	st.addPods(job, "t")
	st.objects = append(st.objects, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "training", Name: "test"},
		Spec:       corev1.ServiceSpec{ClusterIP: "None", PublishNotReadyAddresses: true, Selector: map[string]string{batchv1.JobNameLabel: "test"}},
	})
	return st
}

// said is the fields of the events that the tests look at.
type said struct {
	Event, Host, Backend, Phase, Detail, NCCL string
	Op                                        string
	Rank, Local, World, Procs                 int
	Bytes                                     int64
	BusBW                                     float64 `json:"busbw_gbps"`
	TimeMS                                    float64 `json:"time_ms"`
	Wrong                                     *int
	Seconds                                   float64
	Compute                                   float64 `json:"compute_seconds"`
	Late                                      float64 `json:"late_seconds"`
	Exchange                                  float64 `json:"exchange_seconds"`
	OK, Echo, Simulated                       bool
	Missing                                   []int
}

// events reads the JSON lines of a log, of one kind when kind is not "".
func events(t *testing.T, text, kind string) []said {
	t.Helper()
	var list []said
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var e said
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if kind == "" || e.Event == kind {
			list = append(list, e)
		}
	}
	return list
}

func TestCommTestOfHealthyNodes(t *testing.T) {
	endings := testOf(t, "false-alarm", 3).run(nil)
	for rank, e := range endings {
		name := of(rank, "test-%")
		checkNCCL(t, name, e.text)
		want(t, name, e.text, `Using network IB$`, of(rank, `via NET/IB/0/GDRDMA$`), `Init COMPLETE$`)
		start := said{Event: "start", Rank: rank, World: 3, Procs: 4, Host: fmt.Sprintf("gpu-%02d", rank), Backend: "nccl", NCCL: "2.23.4", Simulated: true}
		if diff := cmp.Diff([]said{start}, events(t, e.text, "start")); diff != "" {
			t.Errorf("start of rank %d (-want +got):\n%s", rank, diff)
		}
		if own := events(t, e.text, "rank"); len(own) != 4 || own[0].Seconds <= 0 {
			t.Errorf("rank %d reported %+v, want the time of 4 processes", rank, own)
		}
		if e.exit.Code != 0 || len(events(t, e.text, "error")) > 0 {
			t.Errorf("rank %d ended with %+v:\n%s", rank, e.exit, e.text)
		}
	}
	checkSweep(t, endings[0].text, 340, 380)
	if diff := cmp.Diff([]said{{Event: "end", OK: true, World: 3}}, events(t, endings[0].text, "end")); diff != "" {
		t.Errorf("end (-want +got):\n%s", diff)
	}
}

// checkSweep: three sizes, rising, the last within bounds, and each time and
// bandwidth fit each other by the formula of nccl-tests for 12 processes.
func checkSweep(t *testing.T, text string, least, most float64) {
	t.Helper()
	points := events(t, text, "point")
	if len(points) != 3 {
		t.Fatalf("%d points, want 3", len(points))
	}
	last := points[2]
	if last.BusBW < least || last.BusBW > most || points[0].BusBW >= points[1].BusBW {
		t.Errorf("bandwidths %.1f, %.1f, %.1f; want them to rise and the last in %v to %v", points[0].BusBW, points[1].BusBW, last.BusBW, least, most)
	}
	for _, p := range points {
		busbw := float64(p.Bytes) / (p.TimeMS / 1e3) * 2 * 11 / 12 / 1e9
		if busbw < 0.99*p.BusBW || busbw > 1.01*p.BusBW || p.Wrong == nil || *p.Wrong != 0 {
			t.Errorf("%+v: by its time the bandwidth is %.1f", p, busbw)
		}
	}
}

func TestCommTestOverTCPIsSlow(t *testing.T) {
	st := testOf(t, "false-alarm", 3)
	st.edit(func(_ int, c *corev1.Container) {
		c.Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}
	})
	endings := st.run(nil)
	want(t, "rank 0", endings[0].text, `NET/IB : No device found`, `Using network Socket$`, `via NET/Socket/0$`)
	checkSweep(t, endings[0].text, 1, 37)
}

func TestCommTestIsTheSameEveryTime(t *testing.T) {
	first, second := testOf(t, "false-alarm", 3).run(nil), testOf(t, "false-alarm", 3).run(nil)
	if diff := cmp.Diff(events(t, first[0].text, "point"), events(t, second[0].text, "point")); diff != "" {
		t.Errorf("points differ (-first +second):\n%s", diff)
	}
}

func TestCommTestOfOneNodeTestsNoNetwork(t *testing.T) {
	e := testOf(t, "nccl-policy-useless", 1).run(nil)[0]
	reject(t, "rank 0", e.text, `via NET/`, `"event":"error"`)
	want(t, "rank 0", e.text, `via P2P/CUMEM$`, `"event":"end","rank":0,"world":1,"ok":true`)
}

func TestCommTestNamesWhomItDoesNotReach(t *testing.T) {
	others := func(rank int) []int { return slices.DeleteFunc([]int{0, 1, 2}, func(r int) bool { return r == rank }) }
	for scenario, reason := range map[string]string{"nccl-policy": "No route to host", "nccl-policy-useless": "No route to host"} {
		for rank, e := range testOf(t, scenario, 3).run(nil) {
			found := events(t, e.text, "error")
			if len(found) != 1 || e.exit.Code != 1 {
				t.Fatalf("%s: rank %d ended with %+v and errors %+v", scenario, rank, e.exit, found)
			}
			if diff := cmp.Diff(others(rank), found[0].Missing); diff != "" || found[0].Phase != "init" || found[0].Echo || !strings.Contains(found[0].Detail, reason) {
				t.Errorf("%s: rank %d says %+v", scenario, rank, found[0])
			}
			reject(t, scenario, e.text, `"event":"(point|end)"`)
		}
	}
}

func TestCommTestMissesANode(t *testing.T) {
	t.Run("fabric drops the traffic of one", func(t *testing.T) {
		st := testOf(t, "false-alarm", 4)
		st.script.FabricBlocks = []faults.FabricBlock{{Nodes: []string{"gpu-02"}}}
		endings := st.run(nil)
		root := events(t, endings[0].text, "error")
		if len(root) != 1 || root[0].Phase != "rendezvous" || !slices.Equal(root[0].Missing, []int{2}) || root[0].Echo {
			t.Errorf("rank 0 says %+v, want that rank 2 is missing", root)
		}
		cut := events(t, endings[2].text, "error")
		if len(cut) != 1 || !slices.Equal(cut[0].Missing, []int{0}) || !strings.HasSuffix(cut[0].Detail, "rank 0 at test-0.test.training:29500: TimeoutError: timed out") {
			t.Errorf("rank 2 says %+v, want that it does not reach rank 0", cut)
		}
		for _, rank := range []int{1, 3} {
			if e := events(t, endings[rank].text, "error"); len(e) != 1 || !e[0].Echo || !slices.Equal(e[0].Missing, []int{2}) {
				t.Errorf("rank %d says %+v, want an echo of rank 0", rank, e)
			}
		}
	})
	t.Run("one pod was not started", func(t *testing.T) {
		st := testOf(t, "false-alarm", 3)
		st.pods = st.pods[:2]
		root := events(t, st.run(nil)[0].text, "error")
		if len(root) != 1 || !slices.Equal(root[0].Missing, []int{2}) || root[0].Detail != "waited 2 s at port 29500" {
			t.Errorf("rank 0 says %+v", root)
		}
	})
}

func TestCommTestWithWrongInterface(t *testing.T) {
	st := testOf(t, "false-alarm", 2)
	st.edit(setenv("NCCL_SOCKET_IFNAME", "ens1f0"))
	for rank, e := range st.run(nil) {
		found := events(t, e.text, "error")
		if len(found) != 1 || found[0].Phase != "init" || len(found[0].Missing) > 0 || !strings.Contains(found[0].Detail, "no socket interface found") || e.exit.Code != 1 {
			t.Errorf("rank %d ended with %+v and says %+v", rank, e.exit, found)
		}
	}
}
