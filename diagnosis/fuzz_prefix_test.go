package diagnosis

import (
	"bytes"
	"testing"
)

// FuzzUnwrap: of any line something is left, in which nothing stands that did not
// stand in the line, but for what JSON had escaped.
func FuzzUnwrap(f *testing.F) {
	for _, seed := range []string{
		"", "2026-11-24T08:15:42.1Z stdout F [rank3]: text", "[1,12]<stdout>:text", "<4>[ 1126.588387] nvidia: text",
		"Jan 18 11:38:05 gpu-3 kernel: [  269.516977] NVRM: text", "kern  :warn  : 2026-11-24T01:02:03,000000+00:00 NVRM: text",
		`{"log":"a\nb\u001b[31m","time":"2026-11-24T00:00:01Z"}`, `{"MESSAGE":"x"}`, `{"msg":"a\"b\\`, "(x pid=1, ip=h) 5: [rank99999999999999999999]: ",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		kept := bytes.Clone(line)
		pieces := unwrap(line)
		if !bytes.Equal(kept, line) {
			t.Fatalf("the line was changed: %q", line)
		}
		for _, piece := range pieces {
			if piece.rank < noRank {
				t.Fatalf("rank %d of %q", piece.rank, line)
			}
			if (len(line) == 0 || line[0] != '{') && !bytes.HasSuffix(line, piece.text) {
				t.Fatalf("%q is no end of %q", piece.text, line)
			}
		}
	})
}
