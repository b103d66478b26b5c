// Package gpumedic_test lets the repository check itself: that every package
// says what it is for, that imports go one way, and that the table of folders
// in the README matches the tree.
package gpumedic_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// skipped are folders without rooms of the house.
var skipped = []string{".git", "bin", "out", "testdata", "node_modules"}

// packages maps every folder with Go files to its non-test files.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (slices.Contains(skipped, entry.Name()) || (path != "." && strings.HasPrefix(entry.Name(), "."))) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			dir := filepath.ToSlash(filepath.Dir(path))
			found[dir] = append(found[dir], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for dir, files := range packages(t) {
		comments := 0
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil && !strings.HasPrefix(parsed.Doc.Text(), "go:build") {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, comments)
		}
	}
}

// rule says what a room may import of ours, and what it may not of others.
type rule struct {
	ours   []string // prefixes, below gpumedic/
	never  []string // prefixes of other modules
	reason string
}

var rules = map[string]rule{
	"incident":   {ours: []string{}, never: []string{"go.temporal.io", "k8s.io", "github.com"}, reason: "the nouns import the standard library only"},
	"steps":      {ours: []string{"incident"}, never: []string{"go.temporal.io", "k8s.io"}, reason: "the verbs are contracts only"},
	"diagnosis":  {ours: []string{"incident", "steps"}, never: []string{"go.temporal.io", "k8s.io", "net/http"}, reason: "diagnosis is pure"},
	"localize":   {ours: []string{"incident", "localize"}, never: []string{"go.temporal.io", "k8s.io", "net/http"}, reason: "localisation is pure"},
	"guard":      {ours: []string{"incident"}, never: []string{"go.temporal.io", "k8s.io", "net/http"}, reason: "the guard is pure"},
	"knobs":      {ours: []string{"incident"}, never: []string{"go.temporal.io", "k8s.io", "net/http", "os"}, reason: "knobs are text, whoever holds the container"},
	"report":     {ours: []string{"incident", "report"}, never: []string{"go.temporal.io", "k8s.io"}, reason: "reports need nothing but the record"},
	"runbooks":   {ours: []string{"incident", "steps", "diagnosis"}, never: []string{"go.temporal.io", "k8s.io"}, reason: "runbooks select and parameterise"},
	"config":     {ours: []string{"incident"}, never: []string{"go.temporal.io", "k8s.io"}, reason: "configuration is data"},
	"workflows":  {ours: []string{"incident", "steps", "diagnosis", "localize", "guard", "report", "runbooks", "workflows"}, never: []string{"k8s.io", "github.com/slack-go", "net/http", "os"}, reason: "workflows order things, activities touch them"},
	"activities": {ours: []string{"incident", "steps", "diagnosis", "localize", "report", "guard", "runbooks", "knobs", "activities/testpods"}, never: []string{"go.temporal.io/sdk/workflow"}, reason: "hands know neither workflows nor each other; what their pods have in common is a room of its own"},
	"starter":    {ours: []string{"incident", "steps", "diagnosis", "localize", "report", "runbooks", "workflows", "config", "knobs", "starter"}, never: []string{"k8s.io/client-go"}, reason: "the front door never touches a cluster"},
	"embedded":   {ours: []string{}, reason: "Temporal in-process knows nothing of gpumedic"},
}

func TestImportsGoOneWay(t *testing.T) {
	for dir, files := range packages(t) {
		room, _, _ := strings.Cut(dir, "/")
		rule, ok := rules[room]
		if !ok {
			continue // worker wires everything; lab is a module of its own
		}
		for _, file := range files {
			for _, imported := range importsOf(t, file) {
				checkImport(t, dir, file, imported, rule)
			}
		}
	}
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func checkImport(t *testing.T, dir, file, imported string, rule rule) {
	t.Helper()
	for _, never := range rule.never {
		if imported == never || strings.HasPrefix(imported, never+"/") {
			t.Errorf("%s imports %s: %s", file, imported, rule.reason)
		}
	}
	ours, isOurs := strings.CutPrefix(imported, "gpumedic/")
	if !isOurs || ours == dir || strings.HasPrefix(ours, dir+"/") {
		return
	}
	for _, allowed := range rule.ours {
		if ours == allowed || strings.HasPrefix(ours, allowed+"/") {
			return
		}
	}
	// A package's own parent and siblings of the same hand are one room.
	if parent := filepath.ToSlash(filepath.Dir(dir)); ours == parent && parent != "activities" || ours == "incident/redact" {
		return
	}
	t.Errorf("%s imports gpumedic/%s: %s", file, ours, rule.reason)
}

// TestFolderTableMatchesTheTree keeps the README's map honest.
func TestFolderTableMatchesTheTree(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z/]+)/` ").FindAllStringSubmatch(string(readme), -1) {
		listed = append(listed, row[1])
		if _, err := os.Stat(row[1]); err != nil {
			t.Errorf("README lists %s/, which is not there", row[1])
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() && !strings.HasPrefix(name, ".") && !slices.Contains(skipped, name) && !slices.Contains(listed, name) {
			t.Errorf("README does not list %s/", name)
		}
	}
	if lines := strings.Count(string(readme), "\n"); lines >= 120 {
		t.Errorf("README has %d lines; it must stay under 120", lines)
	}
}
