package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// fieldPath addresses one field of an object: keys, and elements of lists by
// one of their own fields. Its text form is that of ObjectChange.Fields:
//
//	spec.template.spec.containers[name=main].resources.limits["rdma/hca"]
type fieldPath []fieldStep

// fieldStep is a key of a map or, with where set, the element of a list whose
// field where has the value key.
type fieldStep struct{ key, where string }

func (p fieldPath) String() string {
	var text strings.Builder
	for i, step := range p {
		switch {
		case step.where != "":
			fmt.Fprintf(&text, "[%s=%s]", step.where, step.key)
		case strings.ContainsAny(step.key, `./[]"=`):
			fmt.Fprintf(&text, "[%q]", step.key)
		case i == 0:
			text.WriteString(step.key)
		default:
			text.WriteString("." + step.key)
		}
	}
	return text.String()
}

// parseFieldPath reads the text form; the error quotes the path.
func parseFieldPath(text string) (fieldPath, error) {
	var path fieldPath
	for rest := text; rest != ""; {
		step, after, err := nextStep(rest)
		if err != nil {
			return nil, fmt.Errorf("field path %q: %w", text, err)
		}
		path, rest = append(path, step), after
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("field path is empty")
	}
	return path, nil
}

func nextStep(text string) (fieldStep, string, error) {
	if !strings.HasPrefix(text, "[") {
		key := strings.TrimPrefix(text, ".")
		end := strings.IndexAny(key, ".[")
		if end < 0 {
			end = len(key)
		}
		if end == 0 {
			return fieldStep{}, "", fmt.Errorf("a key is missing before %q", text)
		}
		return fieldStep{key: key[:end]}, key[end:], nil
	}
	if strings.HasPrefix(text, `["`) {
		end := strings.Index(text, `"]`)
		if end < 0 {
			return fieldStep{}, "", fmt.Errorf("no end of %q", text)
		}
		return fieldStep{key: text[2:end]}, text[end+2:], nil
	}
	end := strings.IndexByte(text, ']')
	if end < 0 {
		return fieldStep{}, "", fmt.Errorf("no end of %q", text)
	}
	where, key, ok := strings.Cut(text[1:end], "=")
	if !ok || where == "" {
		return fieldStep{}, "", fmt.Errorf("%q selects no element by field=value", text[:end+1])
	}
	return fieldStep{key: key, where: where}, text[end+1:], nil
}

// get returns the field's value, false when it is not set.
func (p fieldPath) get(object any) (any, bool) {
	for _, step := range p {
		next, ok := step.in(object)
		if !ok {
			return nil, false
		}
		object = next
	}
	return object, true
}

func (s fieldStep) in(object any) (any, bool) {
	if s.where == "" {
		fields, _ := object.(map[string]any)
		value, ok := fields[s.key]
		return value, ok
	}
	list, _ := object.([]any)
	if at := s.index(list); at >= 0 {
		return list[at], true
	}
	return nil, false
}

// index is the place of the step's element in a list, -1 when it is not there.
func (s fieldStep) index(list []any) int {
	return slices.IndexFunc(list, func(element any) bool {
		fields, ok := element.(map[string]any)
		return ok && fmt.Sprint(fields[s.where]) == s.key
	})
}

// set puts a value where the path points to, making maps on the way. List
// elements on the way are never made: a container that is gone is not brought
// back. Where the path ends at an element, that is replaced or added.
func (p fieldPath) set(object map[string]any, value any) error {
	last := p[len(p)-1]
	if last.where != "" {
		return p.setElement(object, value)
	}
	var at any = object
	for i, step := range p[:len(p)-1] {
		next, ok := step.in(at)
		if fields, isMap := at.(map[string]any); !ok && isMap && step.where == "" {
			next, ok = map[string]any{}, true
			fields[step.key] = next
		}
		if !ok {
			return fmt.Errorf("%s is not there", p[:i+1])
		}
		at = next
	}
	fields, ok := at.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is not a field of a map", p)
	}
	fields[last.key] = value
	return nil
}

// setElement replaces the element that the path ends at, in its place, or adds
// it at the end of its list.
func (p fieldPath) setElement(object map[string]any, value any) error {
	if len(p) < 2 {
		return fmt.Errorf("%s is in no list", p)
	}
	current, _ := p[:len(p)-1].get(object)
	list, _ := current.([]any)
	list = slices.Clone(list)
	if at := p[len(p)-1].index(list); at >= 0 {
		list[at] = value
	} else {
		list = append(list, value)
	}
	return p[:len(p)-1].set(object, list)
}

// remove deletes the field, and a list or map with it that it leaves empty
// between the object and the spec of its pods; removing what is not there does
// nothing.
func (p fieldPath) remove(object map[string]any) {
	if _, there := p.get(object); !there || len(p) < 2 {
		return
	}
	parent := p[:len(p)-1]
	last := p[len(p)-1]
	value, _ := parent.get(object)
	switch typed := value.(type) {
	case map[string]any:
		delete(typed, last.key)
		if len(typed) > 0 || !prunable[parent[len(parent)-1].key] {
			return
		}
	case []any:
		at := last.index(typed)
		if typed = slices.Delete(slices.Clone(typed), at, at+1); len(typed) > 0 {
			_ = parent.set(object, typed) // the list is there
			return
		}
	}
	parent.remove(object)
}

// prunable are maps that an object has only with something in them.
var prunable = map[string]bool{"nodeSelector": true, "limits": true, "requests": true}

// fieldValues holds the values of some fields by path; a field that is not
// set has no entry.
type fieldValues map[string]any

// readFields reads the fields of an object.
func readFields(object map[string]any, paths []string) (fieldValues, error) {
	values := fieldValues{}
	for _, text := range paths {
		path, err := parseFieldPath(text)
		if err != nil {
			return nil, err
		}
		if value, ok := path.get(object); ok {
			values[text] = value
		}
	}
	return values, nil
}

// decodeFields reads what encoding fieldValues as JSON wrote; nothing is no
// values.
func decodeFields(data json.RawMessage) (fieldValues, error) {
	values := fieldValues{}
	if len(data) == 0 {
		return values, nil
	}
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("field values: %w", err)
	}
	return values, nil
}

// differences lists, in order of the paths, the fields whose values differ.
func (v fieldValues) differences(other fieldValues, paths []string) []string {
	var differing []string
	for _, path := range paths {
		a, hasA := v[path]
		b, hasB := other[path]
		if hasA != hasB || !sameValue(a, b) {
			differing = append(differing, path)
		}
	}
	slices.Sort(differing)
	return differing
}

// sameValue compares values as JSON does, so that int64(1) and float64(1)
// are the same.
func sameValue(a, b any) bool {
	return reflect.DeepEqual(plain(a), plain(b))
}

func plain(value any) any {
	data, err := json.Marshal(value)
	if err != nil {
		return value
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return value
	}
	return out
}
