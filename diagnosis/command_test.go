package diagnosis_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

const unreachable = "a:1:2 [0] misc/socket.cc:477 NCCL WARN socketStartConnect: Connect to 10.0.0.4<33001> failed : Connection timed out"

func TestRunJSONL(t *testing.T) {
	in := "\xef\xbb\xbf" + `{"id":"1","kind":"log","text":"ok\n` + unreachable + `"}

{"id":"2","kind":"event","text":"","extra":1}
`
	var out bytes.Buffer
	if err := builtin(t).RunJSONL(t.Context(), strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines: %s", len(lines), out.String())
	}
	var first diagnosis.Verdict
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	want := diagnosis.Verdict{ID: "1", FailureCase: "nccl-failure", RootCause: "network-unreachable-or-port-blocked", Confidence: 0.8,
		Evidence:     []diagnosis.Quote{{Line: 2, Text: unreachable, Signature: "nccl-connect-unreachable"}},
		Alternatives: first.Alternatives}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first verdict (-want +got):\n%s", diff)
	}
	if len(first.Alternatives) == 0 {
		t.Error("no alternatives were named")
	}
	const empty = `{"id":"2","failure_case":"none-of-these","root_cause":"","confidence":0.5,"blamed":{},"evidence":[],"alternatives":[]}`
	if lines[1] != empty {
		t.Errorf("empty text:\n got %s\nwant %s", lines[1], empty)
	}
}

func TestRunJSONLBadInput(t *testing.T) {
	good := `{"id":"1","kind":"log","text":"x"}` + "\n"
	for name, tc := range map[string]struct{ in, want string }{
		"no JSON":       {good + "nonsense\n", "input line 2: invalid character"},
		"wrong type":    {`{"id":"1","kind":"log","text":7}`, "input line 1: text is of type number, not a string"},
		"no id":         {`{"kind":"log","text":"x"}`, "input line 1: id is missing"},
		"no kind":       {`{"id":"1","text":"x"}`, "input line 1: kind is missing"},
		"no text":       {"\n\n" + `{"id":"1","kind":"log"}`, "input line 3: text is missing"},
		"unknown kind":  {`{"id":"1","kind":"poem","text":"x"}`, `input line 1: kind "poem" is none of log, event, metric-alert`},
		"not an object": {`[1]`, "input line 1: holds a value of type array, not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := builtin(t).RunJSONL(t.Context(), strings.NewReader(tc.in), &out)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || incident.KindOf(err) != incident.Invalid {
				t.Errorf("got %v of kind %s, want %q", err, incident.KindOf(err), tc.want)
			}
			if strings.HasPrefix(tc.in, good) != (out.Len() > 0) {
				t.Errorf("verdicts before the bad line: %q", out.String())
			}
		})
	}
}

func TestRunFiles(t *testing.T) {
	logs := func() []diagnosis.Log {
		return []diagnosis.Log{
			{Name: "rank-0.log", Content: strings.NewReader("2026-11-24T00:00:31Z a:1:2 [0] misc/socket.cc:49 NCCL WARN socketProgress: Connection closed by remote peer b<1>\n")},
			{Name: "rank-1.log", Content: strings.NewReader("2026-11-24T00:00:30Z torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.10 GiB is free. Including non-PyTorch memory, this process has 77.90 GiB memory in use. Of the allocated memory 75.10 GiB is allocated by PyTorch, and 1.20 GiB is reserved by PyTorch but unallocated.\n")},
		}
	}
	var human bytes.Buffer
	verdict, err := builtin(t).RunFiles(t.Context(), logs(), true, &human)
	if err != nil {
		t.Fatal(err)
	}
	if verdict.RootCause != "true-capacity-oom" {
		t.Errorf("the echo won over the origin: %s", verdict.RootCause)
	}
	for _, want := range []string{"cuda-oom: true-capacity-oom (confidence 0.75)", "rank-1.log:1  torch.OutOfMemoryError", "What to do", "Also possible"} {
		if !strings.Contains(human.String(), want) {
			t.Errorf("the text for people lacks %q:\n%s", want, human.String())
		}
	}
	var object bytes.Buffer
	if _, err := builtin(t).RunFiles(t.Context(), logs(), false, &object); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(object.Bytes()) || !strings.Contains(object.String(), `"file": "rank-1.log"`) {
		t.Errorf("JSON for several files:\n%s", object.String())
	}
}

// TestPrefixTellsRanks: the ranks of one text are those of its launcher.
func TestPrefixTellsRanks(t *testing.T) {
	const text = "[rank0]:[E ProcessGroupNCCL.cpp:616] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=9, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600036 milliseconds before timing out.\n" +
		"[rank1]:[E ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=BROADCAST, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600036 milliseconds before timing out.\n"
	verdict, err := builtin(t).DiagnoseText(t.Context(), diagnosis.KindLog, diagnosis.Log{Content: strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	if verdict.RootCause != "collective-mismatch-or-uneven-work" || verdict.Seen[0].Ranks != "0-1" {
		t.Errorf("got %s, ranks %s", verdict.RootCause, verdict.Seen[0].Ranks)
	}
}

// TestBenign: lines of jobs that work must yield nothing.
func TestBenign(t *testing.T) {
	for _, text := range []string{
		"h:1:1 [0] NCCL INFO NET/Plugin: Could not find: libnccl-net.so. Using internal network plugin.\nh:1:1 [0] NCCL INFO Failed to open libibverbs.so[.1]\nh:1:1 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.3<0>\nh:1:1 [0] NCCL INFO Using network Socket\nh:1:1 [0] NCCL INFO Connected all rings",
		"h:1:1 [6] NCCL INFO [Service thread] Connection closed by localRank 2",
		"[W socket.cpp:697] [c10d] The client socket has failed to connect to [localhost]:29500 (errno: 97 - Address family not supported by protocol).",
		"h:1:1 [0] NCCL INFO socketPollConnect: connect to 10.0.0.4<5> returned Connection refused, retrying (1/34) after sleep for 100 msec\nstep 1/9 loss 2.0",
		"W bfc_allocator.cc:242] Allocator (GPU_0_bfc) ran out of memory trying to allocate 2.2GiB. The caller indicates that this is not a failure",
		"Gradient overflow. Skipping step, loss scaler 0 reducing loss scale to 512.0",
		"[rank0]:[W ProcessGroupNCCL.cpp:1250] Warning: process group has NOT been destroyed before we destruct ProcessGroupNCCL.",
		"h:1:1 [0] NCCL INFO comm 0x55 rank 0 nranks 8 - Abort COMPLETE",
	} {
		verdict, err := builtin(t).DiagnoseText(t.Context(), diagnosis.KindLog, diagnosis.Log{Content: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		if verdict.FailureCase != incident.NoneOfThese {
			t.Errorf("%s/%s %.2f from %q", verdict.FailureCase, verdict.RootCause, verdict.Confidence, text)
		}
	}
}

// TestDiagnoseIsDeterministic: the order of findings' and observations' slices
// is the caller's, the answer is not to hang on anything else.
func TestDiagnoseIsDeterministic(t *testing.T) {
	script := "ranks 8\nlog 0-7 " + unreachable + "\nfinding ranks-failing yes job/a\nfinding policy-blocks-ranks yes networkpolicy/deny\nfinding check-rdma unknown job/a\n"
	in := play(t, builtin(t), script)
	want := render(diagnosis.Diagnose(in))
	for range 50 {
		slices.Reverse(in.Observations)
		if got := render(diagnosis.Diagnose(in)); got != want {
			t.Fatalf("another answer:\n%s\nbefore:\n%s", got, want)
		}
	}
}

// TestDiagnoseNeverEmpty holds for any input, also for none.
func TestDiagnoseNeverEmpty(t *testing.T) {
	causes := diagnosis.Diagnose(diagnosis.Input{FailureCase: "nccl-failure"})
	if len(causes) != 1 || causes[0].RootCause != incident.UnknownCause || len(causes[0].WouldDecide) == 0 {
		t.Errorf("got %+v", causes)
	}
}
