package runbooks

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"gpumedic/diagnosis"
)

// decodeSignatures reads one file of signatures. Good ones are returned even
// when others of the file are broken. Those that are built in are tried against
// their examples by this package's tests, not at every start.
func decodeSignatures(file string, data []byte, builtIn bool) ([]diagnosis.Signature, Problems) {
	r := &reading{file: file, trusted: builtIn}
	root := r.root(data)
	if root == nil {
		return nil, r.problems
	}
	m := r.mapping(root, "the file", "signatures")
	m.need("signatures")
	var out []diagnosis.Signature
	for _, node := range m.list("signatures") {
		before := len(r.problems)
		signature := r.signature(node)
		if len(r.problems) == before {
			out = append(out, signature)
		}
	}
	return out, r.problems
}

func (r *reading) signature(node *yaml.Node) diagnosis.Signature {
	m := r.mapping(node, "a signature", "id", "meaning", "source", "role", "failure_case", "causes", "weight",
		"literals", "pattern", "lines", "sampled", "read", "compare", "examples", "near_misses")
	if m.broken {
		return diagnosis.Signature{}
	}
	if id := m.values["id"]; id != nil && id.Kind == yaml.ScalarNode {
		m.what = "signature " + id.Value
	}
	before := len(r.problems)
	s := diagnosis.Signature{
		ID: m.text("id"), Meaning: m.text("meaning"), Source: source(m), Role: m.text("role"),
		FailureCase: m.text("failure_case"), Causes: m.texts("causes"), Literals: m.texts("literals"),
		Pattern: strings.TrimSpace(m.text("pattern")), Compare: m.texts("compare"),
		Examples: m.texts("examples"), NearMisses: m.texts("near_misses"),
	}
	if m.values["weight"] != nil {
		s.Weight, _ = m.number("weight")
	}
	if m.values["lines"] != nil {
		lines, _ := m.number("lines")
		s.Lines = int(lines)
	}
	if m.values["read"] != nil {
		s.Read = m.text("read")
	}
	s.Sampled = m.flag("sampled")
	if len(r.problems) > before {
		return s // its shape is wrong; what it means can wait
	}
	if r.trusted {
		return s
	}
	for _, problem := range s.Problems() {
		key, _, _ := strings.Cut(problem.Field, ".")
		m.wrong(m.lineOf(key), "%s: %s", m.what, problem.Text)
	}
	return s
}

func source(m mapping) diagnosis.Source {
	node := m.need("source")
	if node == nil {
		return diagnosis.Source{}
	}
	s := m.mapping(node, m.what+": source", "product", "place", "versions")
	if s.broken {
		return diagnosis.Source{}
	}
	return diagnosis.Source{Product: s.text("product"), Place: s.text("place"), Versions: s.text("versions")}
}
