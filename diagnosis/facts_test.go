package diagnosis

import (
	"slices"
	"strings"
	"testing"

	"gpumedic/incident"
)

// TestEveryQuestionOfARuleIsAskedByACheck: a diagnosis that would be decided by a
// question names the check that asks it. Those of the communication test are put
// by a workflow of its own.
func TestEveryQuestionOfARuleIsAskedByACheck(t *testing.T) {
	for _, r := range slices.Concat(rules, memoryRules, dataRules, probeRules) {
		if strings.HasPrefix(r.question, "comm-test-") {
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
