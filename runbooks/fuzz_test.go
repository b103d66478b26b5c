package runbooks

import (
	"testing"
)

// FuzzDecodeSignatures: any file is read; what comes out is good, and what is
// refused has its place in the file.
func FuzzDecodeSignatures(f *testing.F) {
	good := `signatures:
  - id: a-line
    meaning: it means something
    source: {product: p, place: f, versions: "1"}
    role: origin
    failure_case: cuda-oom
    causes: [host-oomkilled]
    weight: 0.5
    literals: ["a literal"]
    pattern: 'a literal (?P<pid>\d+)'
    examples: ["a literal 1"]
    near_misses: ["no literal"]
`
	for _, seed := range []string{"", good, "signatures: []", "signatures: {}", "a: &a [*a]", "signatures:\n  - *x", "\t", good + "    lines: 1e9\n    sampled: 3\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		signatures, problems := decodeSignatures("own.yaml", data, false)
		for _, s := range signatures {
			if wrong := s.Problems(); len(wrong) > 0 {
				t.Fatalf("signature %s is handed out with %v", s.ID, wrong)
			}
		}
		for _, p := range problems {
			if p.File != "own.yaml" || p.Text == "" || p.Line < 0 || p.Line > len(data)+1 { // YAML knows other breaks than \n
				t.Fatalf("problem %+v", p)
			}
		}
	})
}
