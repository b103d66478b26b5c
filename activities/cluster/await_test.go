package cluster

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Lines as the ranks print them.
const (
	overIB     = "trainer-0:7:9 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0/GDRDMA"
	overSocket = "trainer-0:7:9 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/Socket/0"
	aStep      = "step 12/100000 loss 2.1331 412 ms"
	anEcho     = "trainer-1:7:9 [0] misc/socket.cc:49 NCCL WARN socketProgress: Connection closed by remote peer trainer-2.llama<51159>"
	anOrigin   = "RuntimeError: DataLoader worker (pid 34603) is killed by signal: Killed."
)

// speaking gives every rank's container a name of its own, because the fake
// log endpoint is told the container and not the pod.
func speaking(pod *corev1.Pod) {
	name := "trainer-" + pod.Annotations[batchv1.JobCompletionIndexAnnotation]
	trainerOf(pod).Name, trainerState(pod).Name = name, name
}

// logs answers the log endpoint by container; lines are stamped a second
// apart from midday on.
type logs struct {
	mu    sync.Mutex
	lines map[string][]string
	reads int
	// skip is how many seconds the first line comes after midday.
	skip int
}

func (w *world) speak(l *logs) {
	w.kube.PrependReactor("get", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "log" {
			return false, nil, nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reads++
		options := action.(clienttesting.GenericActionImpl).Value.(*corev1.PodLogOptions)
		var text strings.Builder
		for i, line := range l.lines[options.Container] {
			stamp := midday.Add(time.Duration(i+l.skip) * time.Second)
			if options.SinceTime != nil && stamp.Before(options.SinceTime.Truncate(time.Second)) {
				continue
			}
			fmt.Fprintf(&text, "%s %s\n", stamp.Format(time.RFC3339Nano), line)
		}
		return true, &runtime.Unknown{Raw: []byte(text.String())}, nil
	})
}

func everyRank(ranks int, lines ...string) *logs {
	l := &logs{lines: map[string][]string{}}
	for i := range ranks {
		l.lines[fmt.Sprint("trainer-", i)] = lines
	}
	return l
}

func (l *logs) rank(index int, lines ...string) *logs {
	l.lines[fmt.Sprint("trainer-", index)] = lines
	return l
}

func TestAwaitRanks(t *testing.T) {
	crashed := func(pod *corev1.Pod) {
		if pod.Annotations[batchv1.JobCompletionIndexAnnotation] == "1" {
			trainerState(pod).State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(midday.Add(time.Minute))}}
		}
	}
	tests := []struct {
		name string
		// deadline is short where nothing more happens; the zero value is that.
		deadline time.Duration
		edit     func(*corev1.Pod)
		logs     *logs
		wanted   string
		good     incident.State
		why      []string
		value    string
	}{
		{name: "all train over the wanted transport", logs: everyRank(2, overIB, aStep), wanted: "IB", good: incident.Yes, why: []string{"all 2 ranks run and train over IB"}, value: "IB"},
		{name: "any transport is wanted", logs: everyRank(2, overSocket, aStep), good: incident.Yes, why: []string{"all 2 ranks run and train"}, value: "Socket"},
		{name: "another transport", logs: everyRank(2, overIB, aStep).rank(1, overSocket, aStep), wanted: "IB", good: incident.No, why: []string{"rank 1 trains over Socket, wanted is IB"}, value: "mixed"},
		{name: "an error of its own", logs: everyRank(2, overIB, aStep).rank(1, overIB, anOrigin), wanted: "IB", good: incident.No, deadline: 6 * time.Second, why: []string{"rank 1 says loader-killed"}, value: "IB"},
		{name: "an echo that was overcome", logs: everyRank(2, overIB, anEcho, aStep), wanted: "IB", good: incident.Yes, why: []string{"all 2 ranks"}, value: "IB"},
		{name: "an echo that was the last word", logs: everyRank(2, overIB, aStep, anEcho), wanted: "IB", good: incident.No, why: []string{"rank 0 stands at"}, value: "IB"},
		{name: "a rank without a step", logs: everyRank(2, overIB, aStep).rank(1, overIB), wanted: "IB", good: incident.No, why: []string{"1 of 2 running ranks have logged no training step"}, value: "IB"},
		{name: "steps and no word of the transport", logs: everyRank(2, aStep), wanted: "IB", good: incident.Unknown, why: []string{"NCCL_DEBUG=INFO"}},
		{name: "silence", logs: everyRank(2), wanted: "IB", good: incident.Unknown, why: []string{"none has logged anything"}},
		{name: "a crash", edit: crashed, logs: everyRank(2, overIB, aStep), good: incident.No, why: []string{"llama-70b-1-aaaaa ended with exit code 137 (OOMKilled)"}},
		{name: "a crash of before the restart", edit: died(time.Hour, 30*time.Minute, 137, "OOMKilled"), logs: everyRank(2, aStep), good: incident.Yes, why: []string{"all 2"}},
		{name: "a rank that does not start", edit: func(pod *corev1.Pod) {
			if pod.Annotations[batchv1.JobCompletionIndexAnnotation] == "1" {
				pod.Status.Phase = corev1.PodPending
			}
		}, logs: everyRank(2, aStep), good: incident.No, why: []string{"only 1 of 2 ranks run"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			edit := test.edit
			if edit == nil {
				edit = func(*corev1.Pod) {}
			}
			if test.deadline == 0 {
				test.deadline = 900 * time.Millisecond
			}
			w := newWorld(t, gang(2, speaking, edit)...)
			w.Now = time.Now
			w.speak(test.logs)
			result, err := w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Fabric: testFabric, Since: midday,
				Wanted: incident.Wanted{Transport: test.wanted}, Deadline: test.deadline})
			if err != nil {
				t.Fatal(err)
			}
			if result.Good != test.good {
				t.Errorf("got %s, want %s: %s", result.Good, test.good, result.Why)
			}
			contains(t, result.Why, test.why...)
			for _, finding := range result.Findings {
				if finding.ID == incident.TransportUsed && finding.Value != test.value {
					t.Errorf("transport: got %q, want %q", finding.Value, test.value)
				}
			}
			if result.Summary.Ranks != 2 || result.Workload.SHA256 == "" {
				t.Errorf("the workload after the restart is not told: %+v", result.Summary)
			}
		})
	}
}

// TestAwaitRanksWantsProof: ranks that train are not proved to be mended before they
// are past the step at which they died, or wait for input less than before.
func TestAwaitRanksWantsProof(t *testing.T) {
	stepsTo := func(last int) []string {
		var lines []string
		for step := 1; step <= last; step++ {
			lines = append(lines, fmt.Sprintf("step %d/100000 loss 2.1331 412 ms", step))
		}
		return lines
	}
	from := func(first int, last ...int) []string {
		lines := []string{fmt.Sprintf("step %d/100000 loss 2.1331 412 ms", first)}
		for _, step := range last {
			lines = append(lines, fmt.Sprintf("step %d/100000 loss 2.1331 412 ms", step))
		}
		return lines
	}
	waiting := func(data string) []string {
		lines := []string{aStep}
		for i := range 6 {
			lines = append(lines, fmt.Sprintf("Epoch: [0][%d/5005]\tTime  1.00 ( 1.00)\tData  %s ( 0.50)\tLoss 6.9", i, data))
		}
		return lines
	}
	oom := "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.10 GiB is free. Including non-PyTorch memory, this process has 77.90 GiB memory in use. Of the allocated memory 75.10 GiB is allocated by PyTorch, and 1.20 GiB is reserved by PyTorch but unallocated."
	tests := []struct {
		name     string
		logs     *logs
		wanted   incident.Wanted
		good     incident.State
		unproved bool
		why      string
	}{
		{"past it", everyRank(2, stepsTo(13)...), incident.Wanted{PastStep: 12}, incident.Yes, false, "past step 12 at which they died"},
		{"at it", everyRank(2, stepsTo(12)...), incident.Wanted{PastStep: 12}, incident.Unknown, true, "not yet past step 12 (the last one is at step 12)"},
		{"one rank behind", everyRank(2, stepsTo(20)...).rank(1, stepsTo(5)...), incident.Wanted{PastStep: 12}, incident.Unknown, true, "1 of them are not yet past step 12 (the last one is at step 5)"},
		{"once is not twice", everyRank(2, stepsTo(20)...), incident.Wanted{PastStep: 12, Recurrences: 2}, incident.Unknown, true, "not yet past step 23"},
		{"twice", everyRank(2, stepsTo(24)...), incident.Wanted{PastStep: 12, Recurrences: 2}, incident.Yes, false, "2 times that distance"},
		{"from a checkpoint the distance counts", everyRank(2, from(400, 450, 561)...), incident.Wanted{PastStep: 480, Recurrences: 2}, incident.Yes, false, "past step 480"},
		{"from a checkpoint, not twice", everyRank(2, from(400, 450, 560)...), incident.Wanted{PastStep: 480, Recurrences: 2}, incident.Unknown, true, "step 560"},
		{"it died again", everyRank(2, append(stepsTo(12), oom)...), incident.Wanted{PastStep: 12}, incident.No, false, "torch-cuda-oom"},
		{"the input keeps up", everyRank(2, waiting("0.05")...), incident.Wanted{InputWaitBelow: 0.4}, incident.Yes, false, "less than 40 %"},
		{"the input does not", everyRank(2, waiting("0.45")...), incident.Wanted{InputWaitBelow: 0.4}, incident.No, false, "2 of 2 ranks still wait"},
		{"nobody tells of the input", everyRank(2, aStep), incident.Wanted{InputWaitBelow: 0.4}, incident.Unknown, false, "have not told"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gang(2, speaking)...)
			w.Now = time.Now
			w.speak(test.logs)
			result, err := w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Fabric: testFabric, Since: midday, Wanted: test.wanted, Deadline: 3 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if result.Good != test.good || result.Unproved != test.unproved {
				t.Errorf("got %s (unproved %v), want %s: %s", result.Good, result.Unproved, test.good, result.Why)
			}
			contains(t, result.Why, test.why)
		})
	}
}

// TestAwaitRanksFollowsTheLogs lets the ranks start late and speak bit by bit,
// and checks that no line is taken in twice.
func TestAwaitRanksFollowsTheLogs(t *testing.T) {
	w := newWorld(t, gang(1, speaking)...)
	said := everyRank(1, overIB)
	w.speak(said)
	later := time.AfterFunc(700*time.Millisecond, func() {
		said.mu.Lock()
		defer said.mu.Unlock()
		said.rank(0, overIB, overIB, aStep)
	})
	defer later.Stop()
	result, err := w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Fabric: testFabric, Since: midday, Wanted: incident.Wanted{Transport: "IB"}, Deadline: 10 * time.Second})
	if err != nil || result.Good != incident.Yes {
		t.Fatalf("got %+v, %v", result, err)
	}
	if said.reads < 2 {
		t.Errorf("the log was read %d times, want it to be followed", said.reads)
	}
	for _, observation := range result.Observations {
		if observation.Signature == "nccl-transport-ib" && observation.Count != 2 {
			t.Errorf("%d lines of the transport were counted, want 2: each once", observation.Count)
		}
	}
}

func TestAwaitRanksThatCannotBeSeen(t *testing.T) {
	w := newWorld(t, gang(1)...)
	w.fail("list", "pods")
	result, err := w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Since: midday, Deadline: 700 * time.Millisecond})
	if err != nil || result.Good != incident.Unknown || !strings.Contains(result.Why, "could not be seen") {
		t.Errorf("got %s, %q, %v; want unknown", result.Good, result.Why, err)
	}
	w = newWorld(t, gang(1)...)
	w.refuse("list", "pods", "")
	if _, err = w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Since: midday, Deadline: time.Second}); incident.KindOf(err) != incident.Forbidden {
		t.Errorf("got %v, want a step that was not allowed to look", err)
	}
	if _, err = w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Since: midday}); incident.KindOf(err) != incident.Invalid {
		t.Errorf("without a deadline: got %v", err)
	}
	gone, err := newWorld(t).AwaitRanks(t.Context(), steps.AwaitRanksParams{Target: jobTarget, Since: midday, Deadline: time.Second})
	if err != nil || gone.Good != incident.No {
		t.Errorf("a target that is gone: got %s, %v", gone.Good, err)
	}
}

// TestPeersOfAReplacedRankMayEndOnce: what ends a restart as failed is how a
// group forms anew around one new rank.
func TestPeersOfAReplacedRankMayEndOnce(t *testing.T) {
	for name, lines := range map[string][]string{"a crash": {overIB, aStep}, "an error overcome": {overIB, anOrigin, aStep}} {
		ended := func(pod *corev1.Pod) {
			if name == "a crash" && pod.Annotations[batchv1.JobCompletionIndexAnnotation] == "1" {
				died(time.Hour, -time.Minute, 1, "Error")(pod) // after the eviction, and runs again
			}
		}
		for regrouping, want := range map[bool]incident.State{true: incident.Yes, false: incident.No} {
			if name != "a crash" && !regrouping {
				continue // steps overcome the error in both
			}
			w := newWorld(t, gang(2, speaking, ended)...)
			w.speak(everyRank(2, lines...))
			result, err := w.AwaitRanks(t.Context(), steps.AwaitRanksParams{Incident: "i", Target: jobTarget, Fabric: testFabric, Since: midday,
				Wanted: incident.Wanted{Transport: "IB"}, Deadline: 2 * time.Second, Regrouping: regrouping})
			if err != nil || result.Good != want {
				t.Errorf("%s, regrouping %t: %s because %q, %v", name, regrouping, result.Good, result.Why, err)
			}
		}
	}
}
