package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// maxCase bounds one line of the corpus, in bytes.
const maxCase = 64 << 20

// labelled is one text with what is known of it.
type labelled struct {
	ID           string `json:"id"`
	Kind         string `json:"kind"`
	Text         string `json:"text"`
	FailureCase  string `json:"failure_case"`
	RootCause    string `json:"root_cause"`
	Determinable bool   `json:"determinable_from_text"`
	Confidence   string `json:"confidence"`
}

func (c labelled) log() diagnosis.Log { return diagnosis.Log{Content: strings.NewReader(c.Text)} }

// failure says that something is wrong in the text.
func (c labelled) failure() bool { return c.FailureCase != incident.NoneOfThese }

// told says that the text decides the root cause of a failure.
func (c labelled) told() bool { return c.failure() && c.Determinable }

// confirmed says that, beside that, somebody confirmed the cause.
func (c labelled) confirmed() bool { return c.told() && c.Confidence == "high" }

func readCases(file string) ([]labelled, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("opening the corpus: %w", err)
	}
	defer f.Close()
	var out []labelled
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxCase)
	for number := 1; lines.Scan(); number++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var c labelled
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		if !diagnosis.IsFailureCase(c.FailureCase) {
			return nil, fmt.Errorf("%s:%d: failure case %q is not known", file, number, c.FailureCase)
		}
		out = append(out, c)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(out) == 0 {
		return nil, errors.New(file + " holds no cases")
	}
	return out, nil
}
