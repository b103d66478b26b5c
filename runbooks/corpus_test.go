package runbooks

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// corpusCase is one labelled text of a corpus file.
type corpusCase struct {
	ID           string `json:"id"`
	Kind         string `json:"kind"`
	Text         string `json:"text"`
	FailureCase  string `json:"failure_case"`
	RootCause    string `json:"root_cause"`
	Determinable bool   `json:"determinable_from_text"`
}

// TestCorpus measures the signatures against a file of labelled failures. It
// asserts nothing: it prints what is got right, so that a change of a signature
// can be judged. Set CORPUS_CASES to a comma list to look at other cases than
// those this stage knows.
func TestCorpus(t *testing.T) {
	file := os.Getenv("CORPUS")
	if file == "" {
		t.Skip("CORPUS is not set: give it a JSONL file of labelled cases to measure the signatures")
	}
	wanted := strings.Split(cmp.Or(os.Getenv("CORPUS_CASES"), "nccl-failure,none-of-these"), ",")
	classifier, err := Classifier("")
	if err != nil {
		t.Fatal(err)
	}
	var cases, caseRight, causes, causeRight, sureWrong int
	for _, c := range readCorpus(t, file) {
		if !slices.Contains(wanted, c.FailureCase) && !slices.Contains(wanted, "all") {
			continue
		}
		verdict, err := classifier.DiagnoseText(t.Context(), c.Kind, diagnosis.Log{Content: strings.NewReader(c.Text)})
		if err != nil {
			t.Fatal(err)
		}
		cases++
		right := verdict.FailureCase == c.FailureCase
		if right {
			caseRight++
		}
		gold := c.Determinable && c.FailureCase != incident.NoneOfThese
		exact := right && verdict.RootCause == c.RootCause
		if gold {
			causes++
			if exact {
				causeRight++
			}
		}
		if !exact && verdict.Confidence >= 0.8 && c.FailureCase != incident.NoneOfThese {
			sureWrong++
		}
		if !right || gold && !exact {
			t.Logf("%s want %s/%s got %s/%s %.2f (determinable %v)", c.ID, c.FailureCase, c.RootCause,
				verdict.FailureCase, verdict.RootCause, verdict.Confidence, c.Determinable)
		}
	}
	t.Logf("failure case %d of %d; root cause %d of %d determinable; wrong with confidence over 0.8: %d",
		caseRight, cases, causeRight, causes, sureWrong)
}

func readCorpus(t *testing.T, file string) []corpusCase {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []corpusCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c corpusCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
