package realapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"gpumedic/activities/cluster"
	"gpumedic/steps"
)

// TestPropertyEverythingThatChangesIsTried holds what the suite tries against what
// there is: the planners, the steps that mutate, the verbs of a change that the
// hand carries out, and the kinds whose template is changed.
func TestPropertyEverythingThatChangesIsTried(t *testing.T) {
	remedies, did, verbs := map[string]bool{}, map[string]bool{}, map[string]bool{"replace": true}
	for _, c := range propertyCases {
		remedies[c.remedy], did[c.doing], did[c.undoing] = true, true, true
		if c.verb != "" {
			verbs[c.verb] = true
		}
	}
	for _, how := range kindCases {
		verbs[how.verb] = true
	}
	sameNames(t, "remedies", (&cluster.Hands{}).Remedies(), remedies)
	sameNames(t, "steps that mutate", mutating(), did)
	sameNames(t, "verbs of a change", verbsOf(t, "applyOne", "verb"), verbs)
	sameNames(t, "template remedies", templateRemedies(), names(kindCases))
	kinds := map[string]bool{"Job": true} // TestProperty's
	for _, text := range otherKinds {
		kinds[kindOf(t, text)] = true
	}
	sameNames(t, "kinds", cluster.TemplateKinds(), kinds)
}

func sameNames(t *testing.T, what string, there []string, tried map[string]bool) {
	t.Helper()
	slices.Sort(there)
	if list := slices.Sorted(maps.Keys(tried)); !slices.Equal(list, there) {
		t.Errorf("%s: there are %v, and the property suite tries %v", what, there, list)
	}
}

func names[V any](of map[string]V) map[string]bool {
	out := map[string]bool{}
	for name := range of {
		out[name] = true
	}
	return out
}

func mutating() []string {
	var list []string
	for _, step := range steps.All() {
		if step.Mutates || step.Kind == steps.Alter {
			list = append(list, step.Name)
		}
	}
	return list
}

// templateRemedies are those of them that can be planned.
func templateRemedies() []string {
	planned := (&cluster.Hands{}).Remedies()
	return slices.DeleteFunc(steps.TemplateRemedies(), func(name string) bool { return !slices.Contains(planned, name) })
}

// verbsOf reads the verbs that a function of activities/cluster switches on out of
// its source: nothing else knows them all.
func verbsOf(t *testing.T, function, prefix string) []string {
	t.Helper()
	values, cases := map[string]string{}, []string(nil)
	files, err := filepath.Glob("../../activities/cluster/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source: %v", err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		inspect(file, values, func(found *ast.FuncDecl) {
			if found.Name.Name == function {
				cases = identifiers(found, prefix)
			}
		})
	}
	var list []string
	for _, name := range cases {
		list = append(list, values[name])
	}
	return list
}

// inspect notes the texts of constants by name, and shows the functions.
func inspect(file *ast.File, values map[string]string, show func(*ast.FuncDecl)) {
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ValueSpec:
			if text, ok := constant(node); ok {
				values[node.Names[0].Name] = text
			}
		case *ast.FuncDecl:
			show(node)
		}
		return true
	})
}

func constant(spec *ast.ValueSpec) (string, bool) {
	if len(spec.Values) != 1 {
		return "", false
	}
	literal, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// identifiers are the names after "case" in a function.
func identifiers(function *ast.FuncDecl, prefix string) []string {
	var list []string
	ast.Inspect(function, func(node ast.Node) bool {
		if clause, ok := node.(*ast.CaseClause); ok {
			for _, value := range clause.List {
				if name, ok := value.(*ast.Ident); ok && len(name.Name) > len(prefix) && name.Name[:len(prefix)] == prefix {
					list = append(list, name.Name)
				}
			}
		}
		return true
	})
	return list
}
