package knobs

import (
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gpumedic/incident"
)

const declared = `- {role: micro-batch, arg: --batch-size, type: int, min: 1, max: 64, constant: accumulation}
- {role: accumulation, env: GRAD_ACCUM, type: int, min: 1, max: 64}
- {role: precision, arg: --dtype, type: choice, choices: [fp32, bf16]}
- {role: loader-workers, env: WORKERS, type: int, max: 12, step: 4}
`

func parsed(t *testing.T, text string) []incident.Knob {
	t.Helper()
	list, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func program() Container {
	return Container{Name: "trainer", Command: []string{"python", "train.py", "--dtype", "fp32"}, Args: []string{"--batch-size=8", "--lr", "-1"},
		Env: []Variable{{Name: "GRAD_ACCUM", Value: "2"}, {Name: "WORKERS", Value: "0"}}}
}

func TestTurnsKeepTheProduct(t *testing.T) {
	in := program()
	out, turned, err := Turn(parsed(t, declared), in, incident.KnobMicroBatch, Less)
	if err != nil || len(turned) != 2 || turned[0].String() != "micro-batch 8 -> 4" || turned[1].String() != "accumulation 2 -> 4" {
		t.Fatalf("turned %v, %v", turned, err)
	}
	if out.Args[0] != "--batch-size=4" || out.Env[0].Value != "4" || in.Args[0] != "--batch-size=8" || in.Env[0].Value != "2" {
		t.Errorf("new %v %v, old %v %v", out.Args, out.Env, in.Args, in.Env)
	}
	if out, turned, err = Turn(parsed(t, declared), in, incident.KnobAccumulation, Less); err != nil || out.Args[0] != "--batch-size=16" || turned[0].To != "1" {
		t.Errorf("the other way: %v, %v", turned, err)
	}
	if out, _, err = Turn(parsed(t, declared), in, incident.KnobPrecision, Less); err != nil || out.Command[3] != "bf16" {
		t.Errorf("precision: %v, %v", out.Command, err)
	}
	if out, _, err = Turn(parsed(t, declared), in, incident.KnobWorkers, More); err != nil || out.Env[1].Value != "4" {
		t.Errorf("workers: %v, %v", out.Env, err)
	}
}

// TestRandomTurns: whatever is turned, the product stays and both are within
// their bounds, or there is a reason and nothing is turned.
func TestRandomTurns(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 8))
	for range 5000 {
		batch := incident.Knob{Role: "micro-batch", Env: "B", Type: "int", Min: random.IntN(4), Step: random.IntN(3), Constant: "accumulation"}
		accumulation := incident.Knob{Role: "accumulation", Env: "A", Type: "int", Min: random.IntN(4), Step: random.IntN(3)}
		batch.Max, accumulation.Max = batch.Min+random.IntN(40), accumulation.Min+random.IntN(40)
		b, a := 1+random.IntN(40), 1+random.IntN(40)
		in := Container{Env: []Variable{{Name: "B", Value: strconv.Itoa(b)}, {Name: "A", Value: strconv.Itoa(a)}}}
		out, _, err := Turn([]incident.Knob{batch, accumulation}, in, "micro-batch", Direction(random.IntN(2)))
		if err != nil {
			continue
		}
		newB, _ := strconv.Atoi(out.Env[0].Value)
		newA, _ := strconv.Atoi(out.Env[1].Value)
		if newB*newA != b*a || newB == b || !onGrid(batch, newB) || !onGrid(accumulation, newA) {
			t.Fatalf("%+v %+v: %d x %d became %d x %d", batch, accumulation, b, a, newB, newA)
		}
	}
}

func TestWhyNotTurned(t *testing.T) {
	tests := map[string]struct {
		edit      func(*Container)
		role      string
		direction Direction
		why       string
	}{
		"no divisor":        {func(c *Container) { c.Args[0] = "--batch-size=1" }, "micro-batch", Less, "cannot be divided"},
		"out of bounds":     {func(c *Container) { c.Env[0].Value = "64" }, "micro-batch", Less, "stays 512 within"},
		"last choice":       {func(c *Container) { c.Command[3] = "bf16" }, "precision", Less, "bf16 already, the last"},
		"strange choice":    {func(c *Container) { c.Command[3] = "fp8" }, "precision", Less, "none of its choices"},
		"not set":           {func(c *Container) { c.Env = nil }, "micro-batch", Less, "does not set it"},
		"no argument":       {func(c *Container) { c.Args = nil }, "micro-batch", Less, "has none with a value"},
		"argument twice":    {func(c *Container) { c.Args = append(c.Args, "--batch-size", "9") }, "micro-batch", Less, "2 times"},
		"from elsewhere":    {func(c *Container) { c.Env[0].From = true }, "micro-batch", Less, "from elsewhere"},
		"expanded":          {func(c *Container) { c.Env[0].Value = "$(OTHER)" }, "micro-batch", Less, "from elsewhere"},
		"no number":         {func(c *Container) { c.Args[0] = "--batch-size=auto" }, "micro-batch", Less, "no whole number"},
		"at the end":        {func(c *Container) { c.Env[1].Value = "12" }, "loader-workers", More, "12 already"},
		"not declared":      {func(*Container) {}, "prefetch", More, "no knob prefetch"},
		"flag before value": {func(c *Container) { c.Args = []string{"--batch-size", "--lr"} }, "micro-batch", Less, "none with a value"},
	}
	for name, test := range tests {
		container := program()
		test.edit(&container)
		_, _, err := Turn(parsed(t, declared), container, test.role, test.direction)
		if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: got %v, want %q", name, err, test.why)
		}
	}
}

func TestReadTellsValues(t *testing.T) {
	values, err := Read(parsed(t, declared), program())
	if err != nil || values["micro-batch"] != "8" || values["precision"] != "fp32" || values["loader-workers"] != "0" {
		t.Errorf("read %v, %v", values, err)
	}
}

func TestParseNamesEveryProblemWithItsLine(t *testing.T) {
	tests := map[string]string{
		"- role: [":       "line 1: not YAML",
		"":                "line 0: the declaration is empty",
		"role: micro":     "line 1: the declaration must be a list",
		"- x":             "line 1: a knob must be a mapping",
		"- {role: speed}": `line 1: role "speed" is not known`,
		declared + "- {role: precision, env: X, type: choice, choices: [a, b]}":                                                                           "line 5: the role precision is declared in line 3 already",
		"- {role: prefetch, type: int, max: 2}":                                                                                                           "either env or arg",
		"- {role: prefetch, env: A, arg: --a, type: int, max: 2}":                                                                                         "either env or arg",
		"- {role: prefetch, arg: --a=1, type: int, max: 2}":                                                                                               "names alone",
		"- {role: prefetch, env: A, type: float}":                                                                                                         `type must be int, choice or path, not "float"`,
		"- {role: prefetch, env: A, type: int}":                                                                                                           "an int needs a max",
		"- {role: prefetch, env: A, type: int, min: 3, max: 2}":                                                                                           "min is 3 and max is 2",
		"- {role: prefetch, env: A, type: int, max: 2, step: 0}":                                                                                          "step must be at least 1",
		"- {role: prefetch, env: A, type: int, max: 2, choices: [a, b]}":                                                                                  "an int has no choices",
		"- {role: prefetch, env: A, type: int, max: two}":                                                                                                 "max must be a whole number",
		"- {role: precision, env: A, type: choice, choices: [a]}":                                                                                         "at least two choices",
		"- {role: precision, env: A, type: choice, choices: [a, a]}":                                                                                      "each once",
		"- {role: precision, env: A, type: choice, choices: a}":                                                                                           "choices must be a list",
		"- {role: precision, env: A, type: choice, choices: [a, b], min: 1}":                                                                              "a choice has no min",
		"- {role: precision, env: [], type: choice, choices: [a, b]}":                                                                                     "env must be a text",
		"- {role: prefetch, env: A, type: int, max: 2, speed: 1}":                                                                                         `unknown key "speed"`,
		"- {role: cache-dir, env: A, type: choice, choices: [a, b]}":                                                                                      "the role cache-dir is of type path",
		"- {role: prefetch, env: A, type: path}":                                                                                                          "and no other role is",
		"- {role: cache-dir, env: A, type: path, max: 1}":                                                                                                 "a path has no max",
		"- {role: prefetch, env: A, type: int, max: 2, source: /data}":                                                                                    "only a path has a source",
		"- {role: cache-dir, env: A, type: path, source: data}":                                                                                           "source must be an absolute path",
		"- {role: cache-dir, env: A, type: path, source: /data/../etc}":                                                                                   "source must be an absolute path",
		"- {role: cache-dir, env: A, type: path, source: /data, size: large}":                                                                             `size must be an amount such as 800Gi, not "large"`,
		"- {role: prefetch, role: prefetch, env: A, type: int, max: 2}":                                                                                   `the key "role" is there twice`,
		"- {role: prefetch, env: A, type: int, max: 2, constant: accumulation}":                                                                           "which is not declared",
		"- {role: prefetch, env: A, type: int, max: 2, constant: prefetch}":                                                                               "another role",
		"- {role: prefetch, env: A, type: int, max: 2, constant: precision}\n- {role: precision, env: B, type: choice, choices: [a, b]}":                  "which is no int",
		"- {role: micro-batch, env: A, type: int, max: 2, constant: accumulation}\n- {role: accumulation, container: x, env: B, type: int, max: 2}":       "the same container",
		"- {role: micro-batch, env: A, type: int, max: 2, constant: accumulation}\n- {role: accumulation, env: B, type: int, max: 2, constant: prefetch}": "is held constant against prefetch",
	}
	for text, want := range tests {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %q", text, err, want)
		}
	}
	_, err := Parse("- {role: a, env: A, type: int, max: 1}\n- {role: b, env: A, type: int, max: 1}")
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 || problems[1].Line != 2 {
		t.Errorf("not all problems: %v", err)
	}
}

// TestDocumentedExampleParses holds docs/KNOBS.md against the parser.
func TestDocumentedExampleParses(t *testing.T) {
	page, err := os.ReadFile("../docs/KNOBS.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile(`(?s)gpumedic\.io/knobs: \|\n(.*?)\n\S`).FindStringSubmatch(string(page))
	if example == nil {
		t.Fatal("docs/KNOBS.md has no example")
	}
	if list := parsed(t, example[1]); len(list) < 3 {
		t.Errorf("the example declares %d knobs", len(list))
	}
	for _, role := range roles {
		if !slices.Contains(strings.FieldsFunc(string(page), func(r rune) bool { return r == '`' }), role) {
			t.Errorf("docs/KNOBS.md does not tell of the role %s", role)
		}
	}
}
