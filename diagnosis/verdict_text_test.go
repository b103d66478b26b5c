package diagnosis_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"gpumedic/diagnosis"
)

// TestVerdictFitsOnAScreen: whatever was found, a person gets at most 25 lines, with
// the cause first, no control characters, and something to do when something is
// wrong.
func TestVerdictFitsOnAScreen(t *testing.T) {
	file, err := os.Open("../runbooks/testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	classifier := builtin(t)
	var everything strings.Builder
	judge := func(id, text string) {
		v, err := classifier.DiagnoseText(t.Context(), diagnosis.KindLog, diagnosis.Log{Content: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		got := v.String()
		if lines := strings.Count(got, "\n"); lines > 25 {
			t.Errorf("%s: %d lines:\n%s", id, lines, got)
		}
		if strings.ContainsAny(got, "\x1b\r\t\x00") {
			t.Errorf("%s: control characters in %q", id, got)
		}
		if v.FailureCase != "none-of-these" && !strings.Contains(got, "What to do now\n") {
			t.Errorf("%s: nothing to do in\n%s", id, got)
		}
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c struct{ ID, Text string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		judge(c.ID, c.Text)
		everything.WriteString(c.Text + "\n")
	}
	judge("all of them at once", everything.String())
	judge("none", "")
}
