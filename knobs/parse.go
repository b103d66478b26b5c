package knobs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"gpumedic/incident"
)

// Problem is one thing wrong with a declaration; Line counts from 1 within it,
// 0 is the declaration as a whole.
type Problem struct {
	Line int
	Text string
}

// Problems are all that is wrong with a declaration.
type Problems []Problem

// Error lists them, one a line.
func (p Problems) Error() string {
	words := make([]string, len(p))
	for i, problem := range p {
		words[i] = fmt.Sprintf("line %d: %s", problem.Line, problem.Text)
	}
	return strings.Join(words, "\n")
}

// roles are those that remedies know.
var roles = []string{incident.KnobMicroBatch, incident.KnobAccumulation, incident.KnobPrecision, incident.KnobWorkers,
	incident.KnobPrefetch, incident.KnobCacheDir, incident.KnobImage}

// amount is a quantity of Kubernetes as people write sizes.
var amount = regexp.MustCompile(`^[1-9][0-9]*(\.[0-9]+)?([KMGTP]i|[kMGTP])?$`)

// Parse reads a declaration strictly: unknown keys, doubled roles, bounds that
// hold nothing and relations that lead nowhere are problems. The error is of
// type Problems and has all of them.
func Parse(text string) ([]incident.Knob, error) {
	p := &parser{lines: map[string]int{}}
	list := p.list(text)
	for _, knob := range list {
		p.relation(list, knob)
	}
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, p.problems
	}
	return list, nil
}

type parser struct {
	problems Problems
	// lines is where each role is declared.
	lines map[string]int
}

func (p *parser) wrong(line int, format string, args ...any) {
	p.problems = append(p.problems, Problem{line, fmt.Sprintf(format, args...)})
}

func (p *parser) list(text string) []incident.Knob {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		line, words := syntax(err)
		p.wrong(line, "not YAML: %s", words)
		return nil
	}
	if len(document.Content) == 0 {
		p.wrong(0, "the declaration is empty: list at least one knob, or leave the annotation out")
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.SequenceNode || len(root.Content) == 0 {
		p.wrong(root.Line, "the declaration must be a list of knobs")
		return nil
	}
	var list []incident.Knob
	for _, node := range root.Content {
		list = append(list, p.knob(node))
	}
	return list
}

// syntax takes the line out of "yaml: line 3: ...".
func syntax(err error) (int, string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, words, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			return line, words
		}
	}
	return 0, text
}

func (p *parser) knob(node *yaml.Node) incident.Knob {
	var knob incident.Knob
	if node.Kind != yaml.MappingNode {
		p.wrong(node.Line, "a knob must be a mapping")
		return knob
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if seen[key.Value] {
			p.wrong(key.Line, "the key %q is there twice", key.Value)
		}
		seen[key.Value] = true
		p.field(&knob, key, value)
	}
	p.whole(node.Line, knob, seen)
	return knob
}

// field reads one key of a knob.
func (p *parser) field(knob *incident.Knob, key, value *yaml.Node) {
	texts := map[string]*string{"role": &knob.Role, "container": &knob.Container, "env": &knob.Env, "arg": &knob.Arg, "type": &knob.Type, "constant": &knob.Constant,
		"source": &knob.Source, "size": &knob.Size}
	numbers := map[string]*int{"min": &knob.Min, "max": &knob.Max, "step": &knob.Step}
	switch {
	case texts[key.Value] != nil:
		if value.Kind != yaml.ScalarNode || value.Value == "" {
			p.wrong(value.Line, "%s must be a text", key.Value)
			return
		}
		*texts[key.Value] = value.Value
	case numbers[key.Value] != nil:
		number, err := strconv.Atoi(value.Value)
		if err != nil || value.Kind != yaml.ScalarNode {
			p.wrong(value.Line, "%s must be a whole number", key.Value)
			return
		}
		*numbers[key.Value] = number
	case key.Value == "choices":
		p.choices(knob, value)
	default:
		p.wrong(key.Line, "unknown key %q; known are role, container, env, arg, type, min, max, step, choices, constant, source, size", key.Value)
	}
}

func (p *parser) choices(knob *incident.Knob, value *yaml.Node) {
	if value.Kind != yaml.SequenceNode {
		p.wrong(value.Line, "choices must be a list")
		return
	}
	for _, node := range value.Content {
		if node.Kind != yaml.ScalarNode || node.Value == "" || slices.Contains(knob.Choices, node.Value) {
			p.wrong(node.Line, "choices must be texts, each once")
			continue
		}
		knob.Choices = append(knob.Choices, node.Value)
	}
}

// whole checks what the keys of one knob say together.
func (p *parser) whole(line int, knob incident.Knob, seen map[string]bool) {
	switch {
	case !slices.Contains(roles, knob.Role):
		p.wrong(line, "role %q is not known; known are %s", knob.Role, strings.Join(roles, ", "))
	case p.lines[knob.Role] != 0:
		p.wrong(line, "the role %s is declared in line %d already", knob.Role, p.lines[knob.Role])
	default:
		p.lines[knob.Role] = line
	}
	if (knob.Env == "") == (knob.Arg == "") {
		p.wrong(line, "a knob needs either env or arg, and not both")
	}
	if strings.ContainsAny(knob.Env, "= \t\n") || strings.ContainsAny(knob.Arg, "= \t\n") {
		p.wrong(line, "env and arg are names alone, without value, = and blanks")
	}
	switch knob.Type {
	case "int":
		p.number(line, knob, seen)
	case "choice":
		p.choice(line, knob, seen)
	case "path":
	default:
		p.wrong(line, "type must be int, choice or path, not %q", knob.Type)
	}
	p.path(line, knob, seen)
}

// path checks what belongs to the one knob that is a directory.
func (p *parser) path(line int, knob incident.Knob, seen map[string]bool) {
	if (knob.Type == "path") != (knob.Role == incident.KnobCacheDir) {
		p.wrong(line, "the role %s is of type path, and no other role is", incident.KnobCacheDir)
	}
	for _, key := range []string{"min", "max", "step", "choices", "constant"} {
		if knob.Type == "path" && seen[key] {
			p.wrong(line, "a path has no %s", key)
		}
	}
	for _, key := range []string{"source", "size"} {
		if knob.Type != "path" && seen[key] {
			p.wrong(line, "only a path has a %s", key)
		}
	}
	if knob.Source != "" && (!path.IsAbs(knob.Source) || path.Clean(knob.Source) != knob.Source || knob.Source == "/") {
		p.wrong(line, "source must be an absolute path such as /data/images, without .. and a slash at its end")
	}
	if knob.Size != "" && !amount.MatchString(knob.Size) {
		p.wrong(line, "size must be an amount such as 800Gi, not %q", knob.Size)
	}
}

func (p *parser) number(line int, knob incident.Knob, seen map[string]bool) {
	if seen["choices"] {
		p.wrong(line, "an int has no choices")
	}
	if !seen["max"] || knob.Min > knob.Max || knob.Min < 0 {
		p.wrong(line, "an int needs a max, and 0 <= min <= max; here min is %d and max is %d", knob.Min, knob.Max)
	}
	if knob.Step < 0 || seen["step"] && knob.Step == 0 {
		p.wrong(line, "step must be at least 1")
	}
}

func (p *parser) choice(line int, knob incident.Knob, seen map[string]bool) {
	for _, key := range []string{"min", "max", "step", "constant"} {
		if seen[key] {
			p.wrong(line, "a choice has no %s", key)
		}
	}
	if len(knob.Choices) < 2 {
		p.wrong(line, "a choice needs at least two choices, from the most to the least demanding")
	}
}

// relation checks the knob that another one is held against.
func (p *parser) relation(list []incident.Knob, knob incident.Knob) {
	if knob.Constant == "" {
		return
	}
	line := p.lines[knob.Role]
	other, found := Find(list, knob.Constant)
	switch {
	case !found:
		p.wrong(line, "constant names the role %s, which is not declared", knob.Constant)
	case other.Role == knob.Role:
		p.wrong(line, "constant must name another role than %s itself", knob.Role)
	case other.Type != "int":
		p.wrong(line, "constant names the role %s, which is no int", knob.Constant)
	case other.Container != knob.Container:
		p.wrong(line, "%s and %s must be of the same container", knob.Role, knob.Constant)
	case other.Constant != "" && other.Constant != knob.Role:
		p.wrong(line, "%s is held constant against %s, not against %s", other.Role, other.Constant, knob.Role)
	}
}

// Find returns the knob of a role, false when none is declared.
func Find(list []incident.Knob, role string) (incident.Knob, bool) {
	at := slices.IndexFunc(list, func(knob incident.Knob) bool { return knob.Role == role })
	if at < 0 {
		return incident.Knob{}, false
	}
	return list[at], true
}
