package runbooks

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// TestBuiltin: what is embedded is good, has its prose, and only names checks
// and remedies that there are.
func TestBuiltin(t *testing.T) {
	books, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range books {
		prose, err := os.ReadFile(book.Name + ".md")
		if err != nil {
			t.Errorf("a runbook has prose beside it: %v", err)
		}
		for _, heading := range []string{"## Meaning", "## Impact", "## Diagnosis", "## Mitigation", "## Verification"} {
			if !strings.Contains(string(prose), heading+"\n") {
				t.Errorf("%s.md lacks %q", book.Name, heading)
			}
		}
		if len(book.SHA256) != 64 {
			t.Errorf("%s: hash %q", book.Name, book.SHA256)
		}
	}
	for _, name := range []string{"cuda-oom", "dataset-slow", "low-gpu-utilization"} {
		if !slices.ContainsFunc(books, func(b Runbook) bool { return b.Name == name && !b.CommTest }) {
			t.Errorf("there is no runbook %s, or it tests the network", name)
		}
	}
	if !slices.ContainsFunc(books, func(b Runbook) bool { return b.Name == "nccl-failure" && b.CommTest && len(b.Checks) == 6 }) {
		t.Errorf("nccl-failure is not as expected: %+v", books)
	}
}

// TestSignatures: each has its source, matches its examples and not its near
// misses, is found by a scan of them, so that its literals let them through, and is
// silenced by none that is harmless: a surer one of its line may speak for it.
func TestSignatures(t *testing.T) {
	signatures, err := Signatures()
	if err != nil {
		t.Fatal(err)
	}
	all, err := diagnosis.NewClassifier(signatures)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range signatures {
		alone, err := diagnosis.NewClassifier([]diagnosis.Signature{s})
		if err != nil {
			t.Fatal(err)
		}
		for _, example := range s.Examples {
			if len(scanned(t, alone, example)) == 0 {
				t.Errorf("%s is not found by a scan of its example %q", s.ID, example)
			}
			spoken := func(m diagnosis.Match) bool { return m.Role == diagnosis.RoleOrigin || m.Role == diagnosis.RoleEcho }
			if symptom := s.Role == diagnosis.RoleOrigin || s.Role == diagnosis.RoleEcho; symptom && !slices.ContainsFunc(scanned(t, all, example), spoken) {
				t.Errorf("%s is silenced in its example %q", s.ID, example)
			}
		}
	}
	for _, id := range []string{diagnosis.SignatureIB, diagnosis.SignatureSocket, diagnosis.SignatureProgress} {
		if !slices.ContainsFunc(signatures, func(s diagnosis.Signature) bool { return s.ID == id && s.Role == diagnosis.RoleContext }) {
			t.Errorf("signature %s, on which rules rely, is missing or no context", id)
		}
	}
}

func scanned(t *testing.T, classifier *diagnosis.Classifier, line string) []diagnosis.Match {
	t.Helper()
	var out []diagnosis.Match
	err := classifier.Scan(t.Context(), strings.NewReader("2026-11-24T00:00:00Z "+line), func(m diagnosis.Match) error {
		out = append(out, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestInvalid loads each file of testdata/invalid, named for its one fault, and
// wants exactly the problems that its first lines tell. The built-in runbooks
// stay in force whatever a site's files hold.
func TestInvalid(t *testing.T) {
	for _, file := range glob(t, "testdata/invalid/*.yaml") {
		t.Run(fault(file), func(t *testing.T) {
			dir := t.TempDir()
			want := place(t, file, filepath.Join(dir, "nccl-failure.yaml"))
			books, err := Load(dir)
			wantProblems(t, err, want)
			if !slices.ContainsFunc(books, func(b Runbook) bool { return b.Name == "nccl-failure" && len(b.Checks) == 6 }) {
				t.Errorf("the built-in runbook is not in force: %+v", books)
			}
		})
	}
	for _, file := range glob(t, "testdata/invalid-signatures/*.yaml") {
		t.Run("signature/"+fault(file), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "signatures"), 0o755); err != nil {
				t.Fatal(err)
			}
			want := place(t, file, filepath.Join(dir, "signatures", "own.yaml"))
			signatures, err := LoadSignatures(dir)
			wantProblems(t, err, want)
			if builtin, _ := Signatures(); len(signatures) != len(builtin) {
				t.Errorf("%d signatures beside a broken file, %d without", len(signatures), len(builtin))
			}
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

// fault is the file's name without what it stands for: "unknown-key".
func fault(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".yaml")
	return strings.TrimPrefix(name, "nccl-failure.")
}

// place copies a bad file and returns the "# want: " lines at its head.
func place(t *testing.T, from, to string) []string {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "# want: "); ok {
			want = append(want, strings.TrimSpace(text))
		}
	}
	return want
}

func wantProblems(t *testing.T, err error, want []string) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || incident.KindOf(err) != incident.Invalid {
		t.Fatalf("got %v of kind %s, want problems", err, incident.KindOf(err))
	}
	if len(problems) != len(want) {
		t.Errorf("%d problems, want %d:\n%v", len(problems), len(want), err)
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), ".yaml:"+text) {
			t.Errorf("no problem says %q:\n%v", text, err)
		}
	}
}

// TestOwn: a site's files add to the built-in ones or replace them.
func TestOwn(t *testing.T) {
	books, err := Load("testdata/own")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, book := range books {
		if strings.HasPrefix(book.Title, "Our") {
			book.Name += ": " + book.Title
		}
		got = append(got, book.Name)
	}
	if diff := cmp.Diff([]string{"gpu-unschedulable: Our own", "nccl-failure: Ours instead", "cuda-oom", "dataset-slow", "low-gpu-utilization"}, got); diff != "" {
		t.Errorf("runbooks (-want +got):\n%s", diff)
	}
	builtin, err := Signatures()
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := LoadSignatures("testdata/own")
	if err != nil {
		t.Fatal(err)
	}
	if len(signatures) != len(builtin)+1 {
		t.Errorf("%d signatures, want one more than %d", len(signatures), len(builtin))
	}
	i := slices.IndexFunc(signatures, func(s diagnosis.Signature) bool { return s.ID == "nccl-duplicate-gpu" })
	if signatures[i].Meaning != "ours instead" {
		t.Errorf("a signature of the same id was not replaced: %q", signatures[i].Meaning)
	}
}

func TestLoadFolderMissing(t *testing.T) {
	books, err := Load("testdata/nowhere")
	if err == nil || !strings.Contains(err.Error(), "testdata/nowhere/") || len(books) == 0 {
		t.Errorf("got %d runbooks and %v", len(books), err)
	}
}
