package runbooks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reading walks one YAML file and notes every problem instead of stopping at the
// first. Its methods return zero values for what is wrong.
type reading struct {
	file     string
	problems Problems
	// trusted says that the file is built in and was checked by tests.
	trusted bool
}

func (r *reading) wrong(line int, format string, args ...any) {
	r.problems = append(r.problems, Problem{r.file, line, fmt.Sprintf(format, args...)})
}

// root parses the file and returns its mapping, nil when there is none.
func (r *reading) root(data []byte) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		r.syntax(err)
		return nil
	}
	if len(document.Content) == 0 {
		r.wrong(0, "the file is empty")
		return nil
	}
	return document.Content[0]
}

// syntax turns "yaml: line 3: ..." into a problem of line 3.
func (r *reading) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, text = n, message
			}
		}
	}
	r.wrong(line, "not YAML: %s", text)
}

// mapping is a YAML mapping whose keys were checked.
type mapping struct {
	*reading
	what string
	line int
	// broken says that it is no mapping at all: then nothing in it is missed.
	broken bool
	values map[string]*yaml.Node
}

// mapping reads node as a mapping with no other keys than these.
func (r *reading) mapping(node *yaml.Node, what string, keys ...string) mapping {
	m := mapping{reading: r, what: what, line: node.Line, values: map[string]*yaml.Node{}}
	if node.Kind != yaml.MappingNode {
		r.wrong(node.Line, "%s must be a mapping, not %s", what, kindName(node))
		m.broken = true
		return m
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case !slices.Contains(keys, key.Value):
			r.wrong(key.Line, "%s has no key %q; it knows %s", what, key.Value, strings.Join(keys, ", "))
		case m.values[key.Value] != nil:
			r.wrong(key.Line, "%s has the key %q twice", what, key.Value)
		default:
			m.values[key.Value] = resolve(value)
		}
	}
	return m
}

// resolve follows an alias to what it stands for.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// need notes a missing key and returns the node, nil when there is none.
func (m mapping) need(key string) *yaml.Node {
	node := m.values[key]
	if node == nil && !m.broken {
		m.wrong(m.line, "%s lacks %s", m.what, key)
	}
	return node
}

// lineOf is where the key's value stands, that of the mapping without one.
func (m mapping) lineOf(key string) int {
	if node := m.values[key]; node != nil {
		return node.Line
	}
	return m.line
}

// text reads a string that must be there.
func (m mapping) text(key string) string {
	node := m.need(key)
	if node == nil {
		return ""
	}
	return m.scalar(node, m.what+": "+key)
}

func (r *reading) scalar(node *yaml.Node, what string) string {
	node = resolve(node)
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" {
		r.wrong(node.Line, "%s must be a string, not %s", what, kindName(node))
		return ""
	}
	if strings.TrimSpace(node.Value) == "" {
		r.wrong(node.Line, "%s is empty", what)
	}
	return node.Value
}

// list reads a sequence; one that is there must not be empty.
func (m mapping) list(key string) []*yaml.Node {
	node := m.values[key]
	if node == nil {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		m.wrong(node.Line, "%s: %s must be a list, not %s", m.what, key, kindName(node))
		return nil
	}
	if len(node.Content) == 0 {
		m.wrong(node.Line, "%s: %s is empty", m.what, key)
	}
	out := make([]*yaml.Node, len(node.Content))
	for i, item := range node.Content {
		out[i] = resolve(item)
	}
	return out
}

// texts reads a list of strings, which may be missing.
func (m mapping) texts(key string) []string {
	var out []string
	for _, node := range m.list(key) {
		out = append(out, m.scalar(node, m.what+": "+key))
	}
	return out
}

// number reads a number that must be there, false when it is not.
func (m mapping) number(key string) (float64, bool) {
	node := m.need(key)
	if node == nil {
		return 0, false
	}
	var value float64
	if node.Kind != yaml.ScalarNode || (node.Tag != "!!float" && node.Tag != "!!int") || node.Decode(&value) != nil {
		m.wrong(node.Line, "%s: %s must be a number, not %s", m.what, key, kindName(node))
		return 0, false
	}
	return value, true
}

// flag reads a truth value, false when it is missing.
func (m mapping) flag(key string) bool {
	node := m.values[key]
	if node == nil {
		return false
	}
	var value bool
	if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" || node.Decode(&value) != nil {
		m.wrong(node.Line, "%s: %s must be true or false, not %s", m.what, key, kindName(node))
	}
	return value
}

func kindName(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch node.Tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return "a string"
	case "!!bool":
		return "a truth value"
	case "!!int", "!!float":
		return "a number"
	}
	return strings.TrimPrefix(node.Tag, "!!")
}
