package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiagnoseReadsWhatPeopleHave: compressed logs are unpacked; what is no text, a
// folder or not there is named, with what to do.
func TestDiagnoseReadsWhatPeopleHave(t *testing.T) {
	const line = "RuntimeError: CUDA error: uncorrectable ECC error encountered\n"
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	zip.Close()
	dir := t.TempDir()
	for _, tc := range []struct {
		name    string
		content []byte
		code    int
		want    string
	}{
		{"plain.log", []byte(line), 0, "gpu-hardware: ecc-uncorrectable"},
		{"packed.log.gz", packed.Bytes(), 0, "gpu-hardware: ecc-uncorrectable"},
		{"empty.log", nil, 0, "There is no text"},
		{"wide.log", append([]byte{0xff, 0xfe}, "R\x00u\x00n\x00"...), notPossible, "iconv"},
		{"program", []byte("\x7fELF\x00\x00"), notPossible, "is no text"},
		{"not-there.log", nil, notPossible, "no such file"},
		{".", nil, notPossible, "is a folder"},
	} {
		file := filepath.Join(dir, tc.name)
		if tc.name != "not-there.log" && tc.name != "." {
			if err := os.WriteFile(file, tc.content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		cmd := command()
		cmd.SetArgs([]string{"diagnose", file})
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		if code := run(t.Context(), cmd); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: exit code %d, want %d and %q in:\n%s", tc.name, code, tc.code, tc.want, out.String())
		}
	}
}
