package diagnosis_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gpumedic/diagnosis"
)

// patience is how long any input that a fuzzer makes may take: far more than a
// linear search needs on a slow machine, far less than a quadratic one.
const patience = 5 * time.Second

// seeds are lines as they come, whole and cut, in every wrapping.
var seeds = []string{
	"", "\n\n", "\r\r\r", "\x1b[31m", "\x1b[", "\xff\xfe\x00",
	"2026-11-24T08:15:42.123456789Z stderr F [rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.10 GiB is free.",
	`{"log":"[1,12]<stderr>:worker-1:595:701 [0] NCCL WARN Error: failed to extend /dev/shm/nccl-x to 9637892 bytes\n","stream":"stderr","time":"2026-11-24T08:15:42.1Z"}`,
	`{"level":"error","msg":"RuntimeError: CUDA error: uncorrectable ECC error encountered\nline two"`,
	"Jan 18 11:38:05 gpu-3 kernel: [  269.516977] NVRM: Xid (PCI:0000:9b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
	"Epoch 1:  10%|#   | 1/10 [00:01<00:09,  1.00s/it]\rEpoch 1:  20%|##  | 2/10 [00:02<00:08,  1.00s/it]\rRuntimeError: DataLoader worker (pid 47) is killed by signal: Bus\nerror. It is possible that",
	"0/5 nodes are available: 2 node(s) had untolerated taint {nvidia.com/gpu: present}, 3 Insufficient nvidia.com/gpu. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.",
	"Capacity:\n cpu: 16\n memory: 1Ki\n pods: 110\nAllocatable:\n cpu: 16\n memory: 1Ki\n pods: 110\n",
}

// FuzzScan: any text is read to its end, in time, with the same matches when lines
// stand before it.
func FuzzScan(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	classifier := builtin(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		begin := time.Now()
		plain := matchesOf(t, classifier, text)
		if took := time.Since(begin); took > patience {
			t.Fatalf("%d bytes took %v", len(text), took)
		}
		for _, m := range plain {
			if m.Line < 1 || m.Line > bytes.Count(text, []byte{'\n'})+1 {
				t.Fatalf("%s at line %d of %q", m.Signature, m.Line, text)
			}
		}
		shifted := matchesOf(t, classifier, append([]byte("\n\n\n"), text...))
		for i := range shifted {
			shifted[i].Line -= 3
		}
		if diff := cmp.Diff(plain, shifted, cmpopts.IgnoreFields(diagnosis.Match{}, "Of")); diff != "" {
			t.Fatalf("three empty lines before it change what is found:\n%s", diff)
		}
	})
}

func matchesOf(t *testing.T, classifier *diagnosis.Classifier, text []byte) []diagnosis.Match {
	t.Helper()
	var out []diagnosis.Match
	err := classifier.Scan(t.Context(), bytes.NewReader(text), func(m diagnosis.Match) error { out = append(out, m); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzVerdict: there is a verdict on any text, it is one of the known ones, and it
// fits on a screen.
func FuzzVerdict(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed, seed)
	}
	classifier := builtin(f)
	f.Fuzz(func(t *testing.T, one, two string) {
		v, err := classifier.DiagnoseText(t.Context(), diagnosis.KindLog,
			diagnosis.Log{Name: "one", Content: strings.NewReader(one)}, diagnosis.Log{Name: "two", Content: strings.NewReader(two)})
		if err != nil {
			t.Fatal(err)
		}
		if !diagnosis.IsFailureCase(v.FailureCase) || v.Confidence < 0 || v.Confidence > 1 {
			t.Fatalf("verdict %s %v", v.FailureCase, v.Confidence)
		}
		if lines := strings.Count(v.String(), "\n"); lines > 25 {
			t.Fatalf("%d lines:\n%s", lines, v)
		}
	})
}

// FuzzParseUnschedulable: any message is read, reasons hold text, counts are never
// negative, and a message made of the reasons reads the same.
func FuzzParseUnschedulable(f *testing.F) {
	f.Add("0/5 nodes are available: 5 Insufficient nvidia.com/gpu.")
	f.Add("0/5 nodes are available: 1 node(s) had taint {a: b, c}, that the pod didn't tolerate, 4 node(s) didn't match node selector.")
	f.Add("No nodes are available that match all of the following predicates:: Insufficient nvidia.com/gpu (2), MatchNodeSelector (1).")
	f.Add("0/9 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/9")
	f.Add("0/9 nodes are available: {{{{,,,, 1 ")
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		u, ok := diagnosis.ParseUnschedulable(text)
		if took := time.Since(begin); took > patience {
			t.Fatalf("%d bytes took %v", len(text), took)
		}
		if !ok && len(u.Reasons) > 0 {
			t.Fatal("reasons of what was not read")
		}
		for _, reason := range u.Reasons {
			if strings.TrimSpace(reason.Text) == "" || reason.Count < 0 {
				t.Fatalf("reason %+v of %q", reason, text)
			}
		}
	})
}
