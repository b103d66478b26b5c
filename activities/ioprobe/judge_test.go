package ioprobe

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
)

// onNode03 is a probe's pod where it should be.
func onNode03() sight {
	return sight{pod: &corev1.Pod{Spec: corev1.PodSpec{NodeName: "gpu-03"}}}
}

// TestJudge: which of the two questions is answered with yes, by what was measured.
func TestJudge(t *testing.T) {
	without := func(log, test string) string {
		var kept []string
		for line := range strings.Lines(log) {
			if !strings.Contains(line, `"test":"`+test+`"`) {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	shards := without(logOf(900, 60), "files")
	for name, c := range map[string]struct{ log, want, why string }{
		"slow altogether":            {logOf(41, 38), "yes 41 MB/s, 38 ms; no 105 reads/s, 38 ms", "large reads are slow, too"},
		"slow, and small ones quick": {logOf(41, 1), "yes 41 MB/s, 1 ms; no 105 reads/s, 1 ms", "no longer than the 5ms"},
		"at the bound":               {logOf(100, 5), "no 100 MB/s, 5 ms; no 105 reads/s, 5 ms", "at least the 100 MB/s"},
		"many small files":           {logOf(900, 14), "no 900 MB/s, 14 ms; yes 105 reads/s, 14 ms", "while large reads are quick (900 MB/s); 307 files, half of them smaller than 30 kB"},
		"small files alone":          {without(logOf(900, 14), "sequential"), "unknown; yes 105 reads/s, 14 ms", "/data has no file of at least 4 MiB among 307 files"},
		"shards read at random":      {shards, "no 900 MB/s, 30 ms; yes 105 reads/s, 30 ms", "reading 4 KiB at random places of pvc/web-images"},
		"nothing":                    {started + tree + finished, "unknown; unknown", "no small read was measured: /data has no files that could be read"},
		"all but a stale handle": {strings.Replace(logOf(41, 38), finished, `{"event":"error","path":"/data/x","op":"files","errno":"ESTALE"}`+"\n"+finished, 1),
			"yes 41 MB/s, 38 ms; no 105 reads/s, 38 ms", "reading broke: ESTALE while reading /data/x"},
	} {
		result := judge(parse([]byte(c.log)), onNode03(), somePlace(), params().Settings)
		if got := told(result.Findings); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if whys := result.Findings[0].Why + "; " + result.Findings[1].Why; !strings.Contains(whys, c.why) {
			t.Errorf("%s: %q does not say %q", name, whys, c.why)
		}
	}
}

// TestJudgeTellsTheSlowVolume of two.
func TestJudgeTellsTheSlowVolume(t *testing.T) {
	at := somePlace()
	other := at.volumes[0]
	other.subject, other.dir = "volume/corpus", "/corpus"
	at.volumes = append(at.volumes, other)
	slow := strings.ReplaceAll(strings.TrimPrefix(strings.TrimSuffix(logOf(41, 38), finished), started), "/data", "/corpus")
	result := judge(parse([]byte(strings.TrimSuffix(logOf(900, 1), finished)+slow+finished)), onNode03(), at, params().Settings)
	if len(result.Findings) != 2 || result.Findings[0].Subject != "volume/corpus" || result.Findings[0].State != incident.Yes || result.Findings[0].Value != "41 MB/s, 38 ms" {
		t.Errorf("findings %+v", result.Findings)
	}
}

// TestSimulatedIsSaid.
func TestSimulatedIsSaid(t *testing.T) {
	log := strings.Replace(logOf(41, 38), `"host":"gpu-03"`, `"host":"gpu-03","simulated":true`, 1)
	result := judge(parse([]byte(log)), onNode03(), somePlace(), params().Settings)
	if !result.Simulated || !strings.Contains(result.Why, "simulated") {
		t.Errorf("%+v", result)
	}
}
