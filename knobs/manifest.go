package knobs

import (
	"bytes"
	"errors"
	"io"
	"time"

	"go.yaml.in/yaml/v3"

	"gpumedic/incident"
)

// Manifest checks what a manifest declares for gpumedic, in all of its YAML
// documents and at any depth, and counts the declarations of knobs. Lines of
// problems are those of the manifest. It does not judge anything else in it.
func Manifest(data []byte) (declarations int, problems Problems) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return declarations, problems
		}
		if err != nil {
			line, words := syntax(err)
			return declarations, append(problems, Problem{line, "not YAML: " + words})
		}
		walk(&document, func(key, value *yaml.Node) {
			switch key.Value {
			case incident.KnobAnnotation:
				declarations++
				problems = append(problems, inManifest(value)...)
			case incident.CheckpointAnnotation:
				if _, err := time.Parse(time.RFC3339, value.Value); err != nil {
					problems = append(problems, Problem{value.Line, incident.CheckpointAnnotation + " must be a time like 2025-11-03T04:10:00Z"})
				}
			}
		})
	}
}

func walk(node *yaml.Node, visit func(key, value *yaml.Node)) {
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			visit(node.Content[i], node.Content[i+1])
		}
	}
	for _, child := range node.Content {
		walk(child, visit)
	}
}

// inManifest puts the lines of a declaration where they stand in the manifest: a
// block of text begins on the line after its key.
func inManifest(value *yaml.Node) Problems {
	if value.Kind != yaml.ScalarNode {
		return Problems{{value.Line, incident.KnobAnnotation + " must be a text: write | behind the key"}}
	}
	var problems Problems
	_, err := Parse(value.Value)
	if !errors.As(err, &problems) {
		return nil
	}
	first := value.Line - 1
	if value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		first++
	}
	for i := range problems {
		problems[i].Line = first + max(1, problems[i].Line)
	}
	return problems
}
