package diagnosis

import (
	"slices"
	"strings"
	"testing"

	"gpumedic/incident"
)

// TestEveryQuestionOfARuleIsAskedByACheck: a diagnosis that would be decided by a
// question names the check that asks it. Those of the tests of communication and
// storage are put by tests.
func TestEveryQuestionOfARuleIsAskedByACheck(t *testing.T) {
	byTests := []string{incident.StorageSlow, incident.SmallFilesSlow}
	for _, r := range slices.Concat(rules, memoryRules, dataRules, probeRules) {
		if strings.HasPrefix(r.question, "comm-test-") || slices.Contains(byTests, r.question) {
			continue
		}
		if checkOf(r.question) == "" {
			t.Errorf("no check asks %s", r.question)
		}
	}
	for _, question := range []string{incident.GPUsUnexposed, incident.GPUsFragmented, incident.LoaderWorkersDie} {
		if checkOf(question) == "" {
			t.Errorf("no check asks %s", question)
		}
	}
}
