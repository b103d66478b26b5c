package diagnosis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPrefilter compares the search with plain search, over random texts made of
// pieces of the literals, so that they nearly and truly occur at every offset.
func TestPrefilter(t *testing.T) {
	words := [][]string{{"closed by peer", "Closed by remote"}, {"by remote peer"}, {"AAAAAA", "aaaaaaab"}, {"É est là", "abcdef"}, {"abcdefgh"}}
	p := newPrefilter(words)
	pieces := []string{"closed ", "by ", "BY PEER", "peer", "remote ", "aaaaa", "A", "b", "É est ", "là", "abcd", "efgh", "\n", "\x00", "\xff", "x"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		text := b.String()
		from := random.IntN(len(text) + 1)
		limit := from + random.IntN(len(text)-from+1)
		got := map[string]bool{}
		p.find([]byte(text), from, limit, func(l *literal, begin int) { got[fmt.Sprint(l.text, " at ", begin)] = true })
		want := map[string]bool{}
		for _, l := range p.literals {
			for begin := from; begin < limit && begin+len(l.text) <= len(text); begin++ {
				if lowered(text[begin:begin+len(l.text)]) == l.text {
					want[fmt.Sprint(l.text, " at ", begin)] = true
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q from %d to %d (-want +got):\n%s", text, from, limit, diff)
		}
	}
}

// TestScanAcrossBlocks puts lines at and around the borders of blocks: none is
// lost, told twice, or told with another number.
func TestScanAcrossBlocks(t *testing.T) {
	for shift := 0; shift < 200; shift += 9 {
		var b strings.Builder
		var want []int
		filler := strings.Repeat("y", 90)
		for line := 1; b.Len() < 3*blockSize; line++ {
			if line == 1 {
				b.WriteString(strings.Repeat("z", shift))
			}
			if line%97 == 0 {
				b.WriteString("\x1b[33ma step\x1b[0m ")
				want = append(want, line)
				fmt.Fprint(&b, line)
			}
			b.WriteString(filler)
			b.WriteByte('\n')
		}
		var got []int
		for _, m := range scan(t, classifier(t), strings.NewReader(b.String())) {
			if !strings.HasPrefix(m.Captures["step"], fmt.Sprint(m.Line)) {
				t.Fatalf("shift %d: line %d tells step %s", shift, m.Line, m.Captures["step"])
			}
			got = append(got, m.Line)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("shift %d: %d matches, want %d", shift, len(got), len(want))
		}
	}
}

// TestSampled: of lines that come by the thousand some are looked at, the last
// one always, nothing is told out of order, the count is right where there is no
// gap, and what is told around a fault is what stands around it.
func TestSampled(t *testing.T) {
	signatures := two()
	signatures[1].Sampled = true
	c, err := NewClassifier(signatures)
	if err != nil {
		t.Fatal(err)
	}
	for _, steps := range []int{10, 10000, 100000} {
		var b strings.Builder
		for step := 1; step <= steps; step++ {
			fmt.Fprintf(&b, "a step %d of a long and healthy run\n", step)
			if step == steps/2 {
				b.WriteString("closed by peer n1\n")
			}
		}
		matches := scan(t, c, strings.NewReader(b.String()))
		counted, line, gaps := 0, 0, 0
		for i, m := range matches {
			if m.Line < line {
				t.Fatalf("line %d is told after line %d", m.Line, line)
			}
			line = m.Line
			if m.Gap {
				gaps++
			}
			if m.Signature == "step" {
				counted += 1 + m.Skipped
			} else if before := matches[i-1]; b.Len() < blockSize && before.Captures["step"] != fmt.Sprint(steps/2) {
				t.Errorf("the step before the fault is told as %v", before.Captures)
			}
		}
		last := matches[len(matches)-1]
		if last.Captures["step"] != fmt.Sprint(steps) {
			t.Errorf("of %d steps the last is told as %v", steps, last.Captures)
		}
		if gaps == 0 && counted != steps || gaps > 0 && counted >= steps || (gaps > 0) != (b.Len() > blockSize) {
			t.Errorf("%d of %d steps counted with %d gaps", counted, steps, gaps)
		}
		if steps > 1000 && len(matches) > steps/20 {
			t.Errorf("%d of %d lines were looked at", len(matches), steps)
		}
	}
}

// TestSampledBeforeADeath: the last step that was told counts, though a line behind
// it holds its literal without being one, as a line of a traceback does.
func TestSampledBeforeADeath(t *testing.T) {
	signatures := two()
	signatures[1].Sampled = true
	c, err := NewClassifier(signatures)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for step := 1; step <= 30; step++ {
		fmt.Fprintf(&b, "a step %d of a long and healthy run\n", step)
	}
	b.WriteString("  x = a step of the traceback\nclosed by peer n1\n")
	matches := scan(t, c, strings.NewReader(b.String()))
	if last := matches[len(matches)-2]; last.Captures["step"] != "30" || last.Line != 30 {
		t.Errorf("the step before the fault is told as %v of line %d, want 30 of line 30", last.Captures, last.Line)
	}
}

// TestLines: a pattern may span lines, and sees each without its prefix.
func TestLines(t *testing.T) {
	s := two()[1]
	s.ID, s.Literals, s.Lines = "remap", []string{"Remapped Rows"}, 4
	s.Pattern = `(?s)Remapped Rows.*?Pending\s*: (?P<pending>Yes|No)`
	s.Examples, s.NearMisses = []string{"Remapped Rows\n Pending : Yes"}, []string{"Remapped Rows"}
	c, err := NewClassifier([]Signature{s})
	if err != nil {
		t.Fatal(err)
	}
	text := "first\n[rank0]:  Remapped Rows\n[rank0]:    Correctable : 1\n[rank0]:    Pending   : Yes\nRemapped Rows\n1\n2\n3\nPending : No\n"
	got := scan(t, c, strings.NewReader(text))
	if len(got) != 1 || got[0].Line != 2 || got[0].Captures["pending"] != "Yes" || got[0].Process != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestBenign: a line that is known to be harmless silences what else would match
// it, but for context.
func TestBenignSilences(t *testing.T) {
	signatures := two()
	benign := signatures[0]
	benign.ID, benign.Role, benign.FailureCase, benign.Causes = "at-the-end", RoleBenign, "none-of-these", []string{"benign-nccl-info"}
	benign.Literals, benign.Pattern = []string{"after the run"}, `closed by peer .* after the run`
	benign.Examples = []string{"closed by peer x after the run"}
	c, err := NewClassifier(append(signatures, benign))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range scan(t, c, strings.NewReader("closed by peer x, a step 3 after the run\nclosed by peer y\n")) {
		got = append(got, fmt.Sprint(m.Line, m.Signature))
	}
	if want := []string{"1at-the-end", "1step", "2peer-closed"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestBenignOverLines: a harmless message silences all of its lines, and no more.
func TestBenignOverLines(t *testing.T) {
	signatures := two()
	benign := signatures[0]
	benign.ID, benign.Role, benign.FailureCase, benign.Causes = "resolved", RoleBenign, "none-of-these", []string{"benign-nccl-info"}
	benign.Literals, benign.Pattern, benign.Lines = []string{"an alert: {"}, `(?s)an alert: \{.*?resolved \}`, 5
	benign.Examples = []string{"an alert: {\nresolved }"}
	c, err := NewClassifier(append(signatures, benign))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range scan(t, c, strings.NewReader("an alert: {\nclosed by peer x\nresolved }\nclosed by peer y\nan alert: {\nclosed by peer z\n")) {
		got = append(got, fmt.Sprint(m.Line, m.Signature))
	}
	if want := []string{"1resolved", "4peer-closed", "6peer-closed"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestLogOfOneError: a log that holds nothing but one error is counted whole, its
// first and last line are told, and not every line is looked at.
func TestLogOfOneError(t *testing.T) {
	const lines = 50000
	text := strings.Repeat("closed by peer n1 and nothing else to be said of it\n", lines)
	matches := scan(t, classifier(t), strings.NewReader(text))
	counted := 0
	for _, m := range matches {
		counted += 1 + m.Skipped
	}
	if first, last := matches[0].Line, matches[len(matches)-1].Line; first != 1 || last != lines || counted != lines {
		t.Errorf("lines %d to %d told, %d counted, want 1 to %d", first, last, counted, lines)
	}
	if len(matches) > lines/10 {
		t.Errorf("%d of %d lines were looked at", len(matches), lines)
	}
}

// TestWordsWithinWords: a literal that holds another, and is known by a later piece,
// is told after it though it begins before.
func TestWordsWithinWords(t *testing.T) {
	s := two()[1]
	s.Sampled, s.Literals, s.Pattern = true, []string{"a step of throughput 0.0 tokens", "throughput"}, `a step (?P<step>of)`
	s.Examples, s.NearMisses = []string{"a step of throughput 0.0 tokens"}, []string{"steps"}
	c, err := NewClassifier([]Signature{s})
	if err != nil {
		t.Fatal(err)
	}
	counted := 0
	for _, m := range scan(t, c, strings.NewReader(strings.Repeat("a step of throughput 0.0 tokens\n", 100))) {
		counted += 1 + m.Skipped
	}
	if counted != 100 {
		t.Errorf("%d of 100 lines counted", counted)
	}
}

// TestOrderOfSampled: two signatures of which lines are passed over are told in the
// order of their lines all the same.
func TestOrderOfSampled(t *testing.T) {
	signatures := two()
	signatures[0].Sampled, signatures[0].Role, signatures[1].Sampled = true, RoleContext, true
	c, err := NewClassifier(signatures)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a step 1\n", 30) + strings.Repeat("closed by peer x\n", 3) + strings.Repeat("a step 2\n", 30)
	line := 0
	for _, m := range scan(t, c, strings.NewReader(text)) {
		if m.Line < line {
			t.Errorf("line %d is told after line %d", m.Line, line)
		}
		line = m.Line
	}
}

// TestAtTheBorderOfBlocks: what stands before a literal is seen wherever the border
// of a block falls, in a long line and in a message that was wrapped.
func TestAtTheBorderOfBlocks(t *testing.T) {
	s := two()[0]
	s.Pattern, s.Examples = `rank (?P<rank>\d+) *was closed by peer`, []string{"rank 7 was closed by peer x"}
	c, err := NewClassifier([]Signature{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"rank 7 was closed by peer n", "rank 7\n was closed by peer n"} {
		for _, filler := range []string{strings.Repeat("z", 99) + "\n", strings.Repeat("z", 100)} {
			if strings.Contains(text, "\n") && filler[99] != '\n' {
				continue // so long a line was not wrapped
			}
			for shift := -60; shift < 60; shift++ {
				before := strings.Repeat(filler, (blockSize-ahead)/100+1)[:blockSize-ahead+shift]
				if filler[99] == '\n' {
					before += "\n"
				}
				got := scan(t, c, strings.NewReader(before+text+strings.Repeat("\n"+strings.Repeat("y", 99), 400)))
				if len(got) != 1 || got[0].Captures["rank"] != "7" {
					t.Fatalf("%q after %d bytes: %d matches", text, len(before), len(got))
				}
			}
		}
	}
}

// TestManyLinesInOneJSON: the lines of a message that a logger wrapped as JSON are
// its pieces.
func TestManyLinesInOneJSON(t *testing.T) {
	s := two()[1]
	s.Literals, s.Lines, s.Pattern = []string{"Remapped Rows"}, 4, `(?s)Remapped Rows.*?Pending\s*: (?P<step>Yes)`
	s.Examples, s.NearMisses = []string{"Remapped Rows\n Pending : Yes"}, []string{"Remapped Rows"}
	c, err := NewClassifier([]Signature{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"log":"Remapped Rows\n Correctable: 1\n Pending : Yes\n"}`, `{"level":"info","msg":"Remapped Rows\n Correctable: 1\n Pending : Yes"}`} {
		if got := scan(t, c, strings.NewReader(text)); len(got) != 1 || got[0].Captures["step"] != "Yes" {
			t.Errorf("%s: got %+v", text, got)
		}
	}
}

// TestLineOfEverything: a line that holds every literal costs no more than many
// lines, and a block can be left in its middle.
func TestLineOfEverything(t *testing.T) {
	signatures := two()
	for i := range 400 {
		s := signatures[0]
		s.ID, s.Literals = fmt.Sprintf("word-%d", i), []string{fmt.Sprintf("word%03dword", i)}
		s.Pattern, s.Examples = fmt.Sprintf(`(?s)x.*y.*word%03dword never`, i), []string{fmt.Sprintf("x y word%03dword never", i)}
		signatures = append(signatures, s)
	}
	c, err := NewClassifier(signatures)
	if err != nil {
		t.Fatal(err)
	}
	var line strings.Builder
	for i := range 400 {
		fmt.Fprintf(&line, "xyxyxyxy word%03dword ", i)
	}
	text := strings.Repeat(line.String()+"\n", 20) + "closed by peer n\n"
	if got := scan(t, c, strings.NewReader(text)); len(got) != 1 {
		t.Errorf("%d matches, want the one behind it all", len(got))
	}
}
