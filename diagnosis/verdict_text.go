package diagnosis

import (
	"fmt"
	"strings"
	"unicode"

	"gpumedic/incident"
)

// A verdict for people fits on a screen: 25 lines, however much was found.
const (
	shownReasons = 4
	shownLines   = 5
	shownLeads   = 3
	// shownWidth bounds a quoted line, in bytes.
	shownWidth = 160
)

// String writes the verdict for people: what, who, why, the lines that say so, and
// what to do now.
func (v Verdict) String() string {
	var b strings.Builder
	v.writeTitle(&b)
	if len(v.Blamed.Names) > 0 {
		fmt.Fprintf(&b, "  blamed: %s %s\n", v.Blamed.Kind, cut(printable(strings.Join(v.Blamed.Names, ", ")), shownWidth))
	}
	var why []string
	for _, reason := range v.Cause.Reasons[:min(shownReasons, len(v.Cause.Reasons))] {
		why = append(why, cut(printable(reason), 2*shownWidth))
	}
	writeList(&b, "Why", why)
	writeList(&b, "Lines", v.lines())
	writeList(&b, "What to do now", v.advice())
	var others []string
	for _, other := range v.Alternatives[:min(shownLeads, len(v.Alternatives))] {
		others = append(others, fmt.Sprintf("%s: %s (%.2f)", other.FailureCase, other.RootCause, other.Confidence))
	}
	if len(others) > 0 {
		fmt.Fprintf(&b, "\nAlso possible: %s\n", strings.Join(others, ", "))
	}
	return b.String()
}

func (v Verdict) writeTitle(b *strings.Builder) {
	label, known := LabelOf(v.RootCause)
	switch {
	case v.FailureCase == incident.NoneOfThese:
		fmt.Fprintf(b, "Nothing wrong found (confidence %.2f)\n", v.Confidence)
	case v.RootCause == incident.UnknownCause:
		fmt.Fprintf(b, "%s, the text does not tell why\n", v.FailureCase)
	default:
		fmt.Fprintf(b, "%s: %s (confidence %.2f)\n", v.FailureCase, v.RootCause, v.Confidence)
	}
	if known {
		fmt.Fprintf(b, "  %s\n", label.Meaning)
	}
}

// lines quotes the evidence, each signature's first line before any second one,
// and no line twice.
func (v Verdict) lines() []string {
	type place struct {
		file string
		line int
	}
	var firsts, rest []string
	seen, shown := map[string]bool{}, map[place]bool{}
	for _, quote := range v.Evidence {
		at := place{quote.File, quote.Line}
		if shown[at] {
			continue
		}
		shown[at] = true
		where := fmt.Sprint(quote.Line)
		if quote.File != "" {
			where = fmt.Sprintf("%s:%d", quote.File, quote.Line)
		}
		line := where + "  " + cut(printable(quote.Text), shownWidth)
		if seen[quote.Signature] {
			rest = append(rest, line)
			continue
		}
		seen[quote.Signature] = true
		firsts = append(firsts, line)
	}
	all := append(firsts, rest...)
	return all[:min(shownLines, len(all))]
}

// printable puts a blank for what a terminal would act upon.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD")))
}

// advice is what helps against the cause; without one, what would help against
// each of the best leads.
func (v Verdict) advice() []string {
	if label, known := LabelOf(v.RootCause); known && label.Advice != "" {
		return []string{label.Advice}
	}
	var out []string
	for _, lead := range v.Alternatives[:min(shownLeads, len(v.Alternatives))] {
		if label, known := LabelOf(lead.RootCause); known && v.RootCause == incident.UnknownCause {
			out = append(out, fmt.Sprintf("if it is %s: %s", lead.RootCause, label.Advice))
		}
	}
	return out
}

func writeList(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, line := range lines {
		fmt.Fprintf(b, "  - %s\n", line)
	}
}
