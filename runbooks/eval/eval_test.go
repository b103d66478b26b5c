package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	shm      = `{"id": "a", "kind": "log", "failure_case": "dataset-slow", "root_cause": "shm-too-small", "determinable_from_text": true, "confidence": "high", "text": "RuntimeError: DataLoader worker (pid 31) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory. Please try to raise your shared memory limit."}`
	quiet    = `{"id": "b", "kind": "log", "failure_case": "none-of-these", "text": "step 1/100 loss 2.31"}`
	misnamed = `{"id": "c", "kind": "log", "failure_case": "cuda-oom", "root_cause": "true-capacity-oom", "determinable_from_text": true, "confidence": "medium", "text": "step 1/100 loss 2.31"}`
)

// evaluate runs the command on these cases.
func evaluate(t *testing.T, cases []string, flags ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "corpus.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(cases, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := run(context.Background(), append(flags, file), &out)
	return out.String(), err
}

func TestEvalCounts(t *testing.T) {
	out, err := evaluate(t, []string{shm, quiet, "", misnamed}, "-wrong")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`cases +3\n`,
		`failure case right, of the failures +1 of 2 \(50\.0 %\)`,
		`root cause right, confirmed and told +1 of 1 \(100\.0 %\)`,
		`root cause right, all told by the text +1 of 2 \(50\.0 %\)`,
		`benign texts called a failure +0 of 1`,
		`(?m)^cuda-oom +1 +0\.00 +0\.00 +0\.00$`,
		`(?m)^dataset-slow +1 +1\.00 +1\.00 +1\.00$`,
		`(?m)^none-of-these +1 +0\.50 +1\.00 +0\.67$`,
		`(?m)^cuda-oom +none-of-these +1$`,
		`(?m)^c +cuda-oom: true-capacity-oom +none-of-these: `,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

func TestEvalHoldsTheBars(t *testing.T) {
	all := []string{shm, quiet, misnamed}
	for name, c := range map[string]struct {
		flag string
		want string
	}{
		"case":              {"-bar-case=0.6", "failure case right in 1 of 2"},
		"case reached":      {"-bar-case=0.5", ""},
		"told":              {"-bar-determinable=0.6", "root causes told by the text right in 1 of 2"},
		"confirmed reached": {"-bar-confirmed=1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := evaluate(t, all, c.flag)
			if (c.want != "") != errors.Is(err, errUnderBar) || c.want != "" && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A benign label on a text that fails is a false alarm.
func TestEvalCountsFalseAlarms(t *testing.T) {
	alarm := strings.Replace(shm, `"dataset-slow"`, `"none-of-these"`, 1)
	if _, err := evaluate(t, []string{alarm}, "-bar-false-alarms=0.5"); !errors.Is(err, errUnderBar) {
		t.Errorf("got %v, want %v", err, errUnderBar)
	}
}

func TestEvalRefusesABrokenCorpus(t *testing.T) {
	for name, c := range map[string]struct {
		cases []string
		want  string
	}{
		"no JSON":      {[]string{quiet, "{"}, "corpus.jsonl:2: "},
		"no such case": {[]string{`{"id": "a", "failure_case": "flood"}`}, `corpus.jsonl:1: failure case "flood" is not known`},
		"no cases":     {nil, "holds no cases"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := evaluate(t, c.cases); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
