package diagnosis_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gpumedic/diagnosis"
	"gpumedic/runbooks"
)

// trainingLog writes a log of about so many bytes as a healthy job leaves it:
// NCCL's set-up, steps, progress bars, checkpoints and requests, with one line in a
// thousand that some signature knows.
func trainingLog(size int, faults []string) []byte {
	random := rand.New(rand.NewPCG(7, 7))
	healthy := []func(step int) string{
		func(step int) string {
			return fmt.Sprintf("INFO 2026-11-24 08:%02d:%02d,%03d trainer.py:512 step %d/500000 loss %.4f lr %.3e grad_norm %.3f tokens/s %d step_time %.3fs",
				step/60%60, step%60, step%1000, step, 2+random.Float64(), random.Float64()/1e4, random.Float64(), 90000+random.IntN(9000), random.Float64())
		},
		func(step int) string {
			return fmt.Sprintf("worker-%d:595:701 [%d] NCCL INFO Channel %02d/16 : %d[%d] -> %d[%d] [send] via NET/IB/%d/GDRDMA", step%16, step%8, step%16, step%128, step%8, (step+1)%128, step%8, step%8)
		},
		func(step int) string {
			return fmt.Sprintf("{'loss': %.4f, 'grad_norm': %.6f, 'learning_rate': %.3e, 'epoch': %.2f}", random.Float64(), random.Float64(), random.Float64()/1e6, float64(step)/1e4)
		},
		func(step int) string {
			return fmt.Sprintf("[2026-11-24 08:%02d:%02d,%03d][rank%d][INFO] data shard train-%05d-of-02048.tar read %d samples from /mnt/dataset, prefetch queue %d of 16, host rss %.1f GiB", step/60%60, step%60, step%1000, step%8, step%2048, random.IntN(9999), 3+step%12, 20+random.Float64())
		},
		func(step int) string {
			return fmt.Sprintf(" iteration %8d/  500000 | consumed samples: %12d | elapsed time per iteration (ms): %.1f | learning rate: %.3E | global batch size:  2048 | lm loss: %.6E | grad norm: %.3f | number of skipped iterations:   0 |", step, step*2048, 4000+100*random.Float64(), random.Float64()/1e4, 2+random.Float64(), random.Float64())
		},
		func(step int) string {
			return fmt.Sprintf("INFO:     10.0.%d.%d:56910 - \"POST /v1/chat/completions HTTP/1.1\" 200 OK", step%250, step%13)
		},
	}
	var b bytes.Buffer
	for step := 1; b.Len() < size; step++ {
		if step%1000 == 0 {
			b.WriteString(faults[step/1000%len(faults)])
		} else {
			b.WriteString(healthy[random.IntN(len(healthy))](step))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// faultsOf takes one single-line example of every origin.
func faultsOf(b *testing.B) []string {
	b.Helper()
	signatures, err := runbooks.Signatures()
	if err != nil {
		b.Fatal(err)
	}
	var out []string
	for _, s := range signatures {
		if s.Role == diagnosis.RoleOrigin && !strings.Contains(s.Examples[0], "\n") {
			out = append(out, s.Examples[0])
		}
	}
	return out
}

// BenchmarkScan is the speed of the scan alone, in memory, on one core.
func BenchmarkScan(b *testing.B) {
	classifier := builtin(b)
	for _, load := range []struct {
		name   string
		faults []string
	}{{"healthy", []string{"all is well"}}, {"one-in-a-thousand", faultsOf(b)}} {
		b.Run(load.name, func(b *testing.B) {
			text := trainingLog(32<<20, load.faults)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				scanAll(b, classifier, text)
			}
		})
	}
}

func scanAll(b *testing.B, classifier *diagnosis.Classifier, text []byte) int {
	matches := 0
	err := classifier.Scan(b.Context(), bytes.NewReader(text), func(diagnosis.Match) error { matches++; return nil })
	if err != nil {
		b.Fatal(err)
	}
	return matches
}

// BenchmarkDiagnose is the whole way from text to verdict, as a stream of files.
func BenchmarkDiagnose(b *testing.B) {
	classifier := builtin(b)
	text := trainingLog(32<<20, faultsOf(b))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := classifier.DiagnoseText(b.Context(), diagnosis.KindLog, diagnosis.Log{Content: bytes.NewReader(text)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryThousandRanks is the judgement over a job of 1,000 ranks of which
// every one printed PyTorch's out of memory, its logs being read already.
func BenchmarkMemoryThousandRanks(b *testing.B) {
	const ranks = 1000
	classifier, collector := builtin(b), diagnosis.NewCollector()
	for rank := range ranks {
		log := fmt.Sprintf("step %d/100000 loss 2.1 step_time 0.4s\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which %d.20 MiB is free. "+
			"Including non-PyTorch memory, this process has 78.90 GiB memory in use. Of the allocated memory 77.00 GiB is allocated by PyTorch, and 310.00 MiB is reserved by PyTorch but unallocated.\n", rank, rank%200)
		err := classifier.Scan(b.Context(), strings.NewReader(log), func(match diagnosis.Match) error {
			collector.Add(rank, fmt.Sprintf("logs/rank-%03d.log", rank), match)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		causes := diagnosis.Diagnose(diagnosis.Input{FailureCase: "cuda-oom", Ranks: ranks, Observations: collector.Observations()})
		if causes[0].RootCause != "true-capacity-oom" {
			b.Fatalf("%+v", causes[0])
		}
	}
}

// BenchmarkAgainst runs the scan and the tools that people use on one file, in
// turns, and reports how many times longer each of those takes. The words are what
// somebody who is woken types; the alternation is all patterns of all signatures.
func BenchmarkAgainst(b *testing.B) {
	file := filepath.Join(b.TempDir(), "training.log")
	text := trainingLog(128<<20, faultsOf(b))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.Fatal(err)
	}
	classifier := builtin(b)
	patterns := alternation(b)
	const words = "NCCL|error|timeout|connection|failed"
	rivals := []struct {
		name string
		args []string
	}{
		{"grep-E-five-words", []string{"grep", "-c", "-E", words, file}},
		{"grep-iE-five-words", []string{"grep", "-c", "-i", "-E", words, file}},
		{"rg-signatures", []string{"rg", "--threads", "1", "-c", "-a", "--dfa-size-limit", "2G", "--regex-size-limit", "2G", "-f", patterns, file}},
	}
	b.SetBytes(int64(len(text)))
	took := map[string]time.Duration{}
	rounds := 0
	for b.Loop() {
		rounds++
		took["scan"] += timed(func() { scanFile(b, classifier, file) })
		b.StopTimer()
		for _, rival := range rivals {
			if _, err := exec.LookPath(rival.args[0]); err != nil {
				continue
			}
			took[rival.name] += timed(func() { runTool(b, rival.args) })
		}
		b.StartTimer()
	}
	for _, rival := range rivals {
		if took[rival.name] > 0 {
			b.ReportMetric(float64(took[rival.name])/float64(took["scan"]), "x-"+rival.name)
		}
	}
	b.ReportMetric(float64(len(text))*float64(rounds)/took["scan"].Seconds()/1e6, "scan-MB/s")
}

func timed(fn func()) time.Duration {
	begin := time.Now()
	fn()
	return time.Since(begin)
}

func scanFile(b *testing.B, classifier *diagnosis.Classifier, file string) {
	f, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := classifier.Scan(b.Context(), f, func(diagnosis.Match) error { return nil }); err != nil {
		b.Fatal(err)
	}
}

func runTool(b *testing.B, args []string) {
	cmd := exec.CommandContext(b.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v: %.300s", args[:3], err, out)
	}
}

// alternation writes the patterns of the signatures to a file, a line each, as rg
// reads it with -f: without names of groups, and without the few that rg's dialect
// does not know.
func alternation(b *testing.B) string {
	signatures, err := runbooks.Signatures()
	if err != nil {
		b.Fatal(err)
	}
	names := regexp.MustCompile(`\?P<\w+>`)
	var lines []string
	for _, s := range signatures {
		pattern := names.ReplaceAllString(s.Pattern, "?:")
		if s.Lines <= 1 && readByRG(b, pattern) {
			lines = append(lines, pattern)
		}
	}
	file := filepath.Join(b.TempDir(), "patterns")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

// readByRG says whether rg takes the pattern: it ends with 2 for one it refuses.
func readByRG(b *testing.B, pattern string) bool {
	cmd := exec.CommandContext(b.Context(), "rg", "-q", "-e", pattern, os.DevNull)
	if err := cmd.Run(); cmd.ProcessState == nil {
		b.Logf("rg is not here: %v", err)
		return false
	}
	return cmd.ProcessState.ExitCode() < 2
}
