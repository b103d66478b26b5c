package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing wrong with a file. Line is 0 when it cannot be told.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems are all things wrong with a file, in the order of its lines.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a file over the defaults. All problems come back together, as
// Problems. An empty path gives the defaults.
func Load(path string) (Config, error) {
	cfg := Default()
	if path == "" {
		return cfg, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return cfg, fmt.Errorf("reading the configuration: %w", err)
	}
	problems := decode(path, data, &cfg)
	problems = append(problems, validate(path, data, cfg)...)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
		return cfg, problems
	}
	return cfg, nil
}

func decode(path string, data []byte, cfg *Config) Problems {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	err := decoder.Decode(cfg)
	if err == nil || errors.Is(err, io.EOF) { // an empty file is the defaults
		return nil
	}
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return Problems{place(path, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	var problems Problems
	for _, text := range typed.Errors {
		problems = append(problems, place(path, text))
	}
	return problems
}

var (
	lineOf  = regexp.MustCompile(`^line (\d+): (.*)$`)
	unknown = regexp.MustCompile(`^field (\S+) not found in type .*$`)
	wrong   = regexp.MustCompile("^cannot unmarshal !!(\\S+)(?: `(.*)`)? into (\\S+)$")
)

// place turns the YAML library's words into ours.
func place(path, text string) Problem {
	problem := Problem{File: path, Text: text}
	if found := lineOf.FindStringSubmatch(text); found != nil {
		problem.Line, _ = strconv.Atoi(found[1]) // the pattern only matches digits
		problem.Text = found[2]
	}
	if found := unknown.FindStringSubmatch(problem.Text); found != nil {
		problem.Text = fmt.Sprintf("unknown key %q; sample.yaml lists the keys", found[1])
	}
	if found := wrong.FindStringSubmatch(problem.Text); found != nil {
		problem.Text = fmt.Sprintf("expected %s, found %s", typeName(found[3]), valueName(found[1], found[2], found[3]))
	}
	return problem
}

// typeName says in plain words what Go calls a type.
func typeName(goType string) string {
	switch {
	case goType == "time.Duration":
		return `a duration such as "30m"`
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	case goType == "float64":
		return "a number"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "string":
		return "a text"
	default:
		return section
	}
}

const section = "a section of keys"

// valueName shows a value that was found, but never one that stands where a
// section belongs: people paste secrets there.
func valueName(tag, value, goType string) string {
	if value != "" && typeName(goType) != section {
		return strconv.Quote(value)
	}
	if name, ok := map[string]string{"map": section, "seq": "a list"}[tag]; ok {
		return name
	}
	return "a single value"
}
