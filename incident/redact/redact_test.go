package redact_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gpumedic/incident/redact"
)

// secrets are texts in the true shapes; none of them is anybody's.
var secrets = map[string]struct{ text, secret string }{
	"slack":        {"posting with xoxb-123456789012-abcdefGHIJKL", "abcdefGHIJKL"},
	"slack app":    {"app xapp-1-A0123-456-deadbeef", "deadbeef"},
	"github":       {"clone with ghp_abcdefghijklmnopqrstuvwxyz012345", "abcdefghij"},
	"aws":          {"key AKIAIOSFODNN7EXAMPLE used", "IOSFODNN7"},
	"hugging face": {"HF login hf_abcdefghijklmnopqrstuvwx", "abcdefghij"},
	"jwt":          {"got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"},
	"bearer":       {"Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789"},
	"url":          {"postgres://trainer:hunter2@db:5432/x", "hunter2"},
	"signed url":   {"GET https://b.s3.amazonaws.com/x?X-Amz-Signature=0123456789abcdef&y=1", "0123456789abcdef"},
	"assignment":   {"WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567 python train.py", "0123456789abcdef"},
	"json":         {`{"password": "correct horse"}`, "correct horse"},
	"yaml":         {"db_password: hunter22", "hunter22"},
	"quoted":       {`export MY_SECRET='a b c d'`, "a b c d"},
}

func TestPromise9NoSecretLeaves(t *testing.T) {
	for name, test := range secrets {
		t.Run(name, func(t *testing.T) {
			for kind, got := range map[string]string{"String": redact.String(test.text), "Reader": read(t, test.text)} {
				if strings.Contains(got, test.secret) || !strings.Contains(got, "[redacted:") {
					t.Errorf("%s left %q", kind, got)
				}
				if again := redact.String(got); again != got {
					t.Errorf("%s is not stable: %q became %q", kind, got, again)
				}
			}
		})
	}
}

func read(t *testing.T, text string) string {
	t.Helper()
	out, err := io.ReadAll(redact.Reader(iotest.OneByteReader(strings.NewReader(text))))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestEvidenceStaysAsItIs lists lines that a diagnosis rests on.
func TestEvidenceStaysAsItIs(t *testing.T) {
	for _, line := range []string{
		"llama-70b-3:112:140 [2] NCCL INFO Channel 00/0 : 3[2] -> 4[0] [send] via NET/IB/0/GDRDMA",
		"llama-70b-3:112:140 [2] NCCL INFO comm 0x55d0a1b2c3d4 rank 3 nranks 8 cudaDev 2 nvmlDev 2 busId 9d000 commId 0x8c0f1e2d3c4b5a69 - Init COMPLETE",
		"socketStartConnect: Connect to 10.0.3.7<43211> failed : Connection timed out",
		"GPU-5a1b2c3d-0e1f-2a3b-4c5d-6e7f8a9b0c1d has fallen off the bus",
		"step 120 loss 2.1034 tokens/s: 98304 num_tokens=1048576 max_tokens: 4096",
		"Loading tokenizer: meta-llama/Llama-3-70B eos_token_id=128001",
		"RuntimeError: Key already registered with the same priority: Loops.single_threaded",
		"mounting secret /var/run/secrets/kubernetes.io/serviceaccount",
		"torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error, NCCL version 2.23.4",
		"rdma/hca_shared_devices_a: 1, nvidia.com/gpu: 8",
		"KeyError: 'input_ids'",
		"http://10.0.0.1:8080/metrics?x=1",
	} {
		if got := redact.String(line); got != line {
			t.Errorf("%q became %q", line, got)
		}
	}
}

func TestPrivateKeyOverLines(t *testing.T) {
	text := "before\n2026-11-24T00:00:00Z -----BEGIN RSA PRIVATE KEY-----\nMIIEabc\nDEFghi\n-----END RSA PRIVATE KEY-----\nafter\n"
	for kind, got := range map[string]string{"String": redact.String(text), "Reader": read(t, text)} {
		if strings.Contains(got, "MIIE") || strings.Contains(got, "DEFghi") || !strings.Contains(got, "before") || !strings.Contains(got, "after") {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestObject(t *testing.T) {
	pod := `{"kind":"Pod","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"env\":\"s3cr3t\"}"}},
	"spec":{"imagePullSecrets":[{"name":"registry"}],"containers":[{"env":[
	{"name":"DB_PASSWORD","value":"s3cr3t"},{"name":"NCCL_DEBUG","value":"INFO"},
	{"name":"HF_TOKEN","valueFrom":{"secretKeyRef":{"name":"hf","key":"token"}}}]}]},"big":12345678901234567890}`
	got := string(redact.JSON([]byte(pod)))
	for _, gone := range []string{"s3cr3t"} {
		if strings.Contains(got, gone) {
			t.Errorf("%q is still there: %s", gone, got)
		}
	}
	for _, stays := range []string{`"registry"`, `"INFO"`, `"key":"token"`, "12345678901234567890"} {
		if !strings.Contains(got, stays) {
			t.Errorf("%s is gone: %s", stays, got)
		}
	}
	if got := string(redact.JSON([]byte(`{"kind":"Secret","data":{"a":"czNjcjN0"}}`))); strings.Contains(got, "czNjcjN0") {
		t.Errorf("secret data: %s", got)
	}
}

// TestLongLine reads lines longer than what is looked at together: words stay
// as they are wherever the line is cut, a token across a cut is still found,
// and a run without any break, which could hide half a token, is replaced.
func TestLongLine(t *testing.T) {
	const token = "ghp_abcdefghijklmnopqrstuvwxyz012345"
	words := strings.Repeat("step 12 loss 2.1 ", 1<<16)
	if got := read(t, words+token+"\n"); got != words+"[redacted:github-token]\n" {
		t.Errorf("%d bytes of %d, tail %q", len(got), len(words), got[len(got)-60:])
	}
	for shift := range len(token) {
		text := strings.Repeat("x ", (256<<10)/2-20) + strings.Repeat("y", shift) + " " + token + " end\n"
		if got := read(t, text); strings.Contains(got, token[8:20]) || !strings.HasSuffix(got, " end\n") {
			t.Fatalf("shift %d: tail %q", shift, got[len(got)-60:])
		}
	}
	if got := read(t, strings.Repeat("x", 1<<20)+" "+token+"\n"); strings.Contains(got, token[8:20]) || !strings.Contains(got, "[redacted:unbroken-text]") {
		t.Errorf("tail %q", got[max(0, len(got)-60):])
	}
}

func FuzzString(f *testing.F) {
	for _, test := range secrets {
		f.Add(test.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := redact.String(text)
		if twice := redact.String(once); strings.Count(twice, "[redacted:") < strings.Count(once, "[redacted:") {
			t.Errorf("a mark was lost: %q became %q", once, twice)
		}
	})
}
