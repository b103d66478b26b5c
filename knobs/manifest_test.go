package knobs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestManifestLines(t *testing.T) {
	count, problems := Manifest([]byte(`kind: ConfigMap
---
kind: List
items:
- kind: Job
  metadata:
    annotations:
      gpumedic.io/last-checkpoint: yesterday
      gpumedic.io/knobs: |
        - {role: prefetch, env: A, type: int, max: 2}
        - {role: precision, env: B, type: choice, choices: [a]}
---
metadata: {annotations: {gpumedic.io/knobs: "- {role: prefetch, env: A, type: int}"}}
---
metadata: {annotations: {gpumedic.io/knobs: []}}
`))
	want := Problems{
		{8, "gpumedic.io/last-checkpoint must be a time like 2025-11-03T04:10:00Z"},
		{11, "a choice needs at least two choices, from the most to the least demanding"},
		{13, "an int needs a max, and 0 <= min <= max; here min is 0 and max is 0"},
		{15, "gpumedic.io/knobs must be a text: write | behind the key"},
	}
	if diff := cmp.Diff(want, problems); diff != "" || count != 3 {
		t.Errorf("%d declarations; problems (-want +got):\n%s", count, diff)
	}
	if _, problems := Manifest([]byte("a: [")); len(problems) != 1 {
		t.Errorf("broken YAML: %v", problems)
	}
}
