package diagnosis_test

import (
	"bytes"
	"testing"

	"gpumedic/runbooks"
)

// TestLiteralsAreRareInHealthyLogs: a literal that every healthy line holds makes
// the scan of all logs slow. Signatures of such lines are sampled, or have a better
// literal.
func TestLiteralsAreRareInHealthyLogs(t *testing.T) {
	signatures, err := runbooks.Signatures()
	if err != nil {
		t.Fatal(err)
	}
	log := bytes.ToLower(trainingLog(1<<20, []string{"all is well"}))
	most := bytes.Count(log, []byte{'\n'}) / 500
	for _, s := range signatures {
		if s.Sampled {
			continue
		}
		for _, literal := range s.Literals {
			if n := bytes.Count(log, bytes.ToLower([]byte(literal))); n > most {
				t.Errorf("%s: literal %q stands in %d lines of a healthy log of 1 MiB", s.ID, literal, n)
			}
		}
	}
}
