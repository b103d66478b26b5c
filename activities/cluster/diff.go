package cluster

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/pmezard/go-difflib/difflib"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"gpumedic/incident/redact"
	"gpumedic/steps"
)

// serverFields of metadata change without anybody's wish.
var serverFields = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"}

// noiseAnnotations repeat the object or are set at apply time only.
var noiseAnnotations = []string{"kubectl.kubernetes.io/last-applied-configuration", steps.OperationAnnotation}

// withoutNoise is a copy of an object without what the server or a tool keeps
// in it for itself. Nil stays nil.
func withoutNoise(object map[string]any) map[string]any {
	if object == nil {
		return nil
	}
	clean := runtime.DeepCopyJSON(object)
	delete(clean, "status")
	metadata, _ := clean["metadata"].(map[string]any)
	for _, field := range serverFields {
		delete(metadata, field)
	}
	annotations, _ := metadata["annotations"].(map[string]any)
	for _, key := range noiseAnnotations {
		delete(annotations, key)
	}
	if annotations != nil && len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return clean
}

// unifiedDiff shows as YAML how an object would change; nil is an object that
// does not exist. Secrets are redacted on both sides. Equal objects give "".
func unifiedDiff(name string, live, wanted map[string]any) (string, error) {
	before, err := redactedYAML(live)
	if err != nil {
		return "", fmt.Errorf("live %s as YAML: %w", name, err)
	}
	after, err := redactedYAML(wanted)
	if err != nil {
		return "", fmt.Errorf("planned %s as YAML: %w", name, err)
	}
	from, to := "live/"+name, "planned/"+name
	if live == nil {
		from = "/dev/null"
	}
	if wanted == nil {
		to = "/dev/null"
	}
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(before), B: lines(after), FromFile: from, ToFile: to, Context: 3})
}

func redactedYAML(object map[string]any) (string, error) {
	if object == nil {
		return "", nil
	}
	data, err := json.Marshal(withoutNoise(object))
	if err != nil {
		return "", err
	}
	text, err := yaml.JSONToYAML(redact.JSON(data))
	return string(text), err
}

// lines splits a text and keeps the line ends; "" has no lines.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	split := difflib.SplitLines(text)
	return split[:len(split)-1] // SplitLines adds an empty last line
}

// merged is a copy of an object with the fields put to the given values.
func merged(object map[string]any, values fieldValues, paths []string) (map[string]any, error) {
	out := runtime.DeepCopyJSON(object)
	for _, text := range paths {
		path, err := parseFieldPath(text)
		if err != nil {
			return nil, err
		}
		value, ok := values[text]
		if !ok {
			path.remove(out)
			continue
		}
		if err := path.set(out, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// stringMap reads a map of strings such as metadata.labels.
func stringMap(object map[string]any, path ...string) map[string]string {
	out := map[string]string{}
	var at any = object
	for _, key := range path {
		fields, _ := at.(map[string]any)
		at = fields[key]
	}
	fields, _ := at.(map[string]any)
	for key := range maps.Keys(fields) {
		if text, ok := fields[key].(string); ok {
			out[key] = text
		}
	}
	return out
}
