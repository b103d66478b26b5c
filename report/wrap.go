package report

import (
	"strings"
	"unicode/utf8"
)

// width is the widest line of a text report, in characters.
const width = 100

// wrapped breaks text into lines of at most width characters: the first
// starts with first, the others with as many spaces. A word that is wider
// than a line is broken.
func wrapped(first, text string) []string {
	indent := strings.Repeat(" ", utf8.RuneCountInString(first))
	room := width - len(indent)
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > room {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " " + word
			continue
		}
		pieces := broken(word, room)
		lines = append(lines, pieces[:len(pieces)-1]...)
		line = pieces[len(pieces)-1]
	}
	lines = append(lines, line)
	for i := range lines {
		if i == 0 {
			lines[i] = first + lines[i]
		} else {
			lines[i] = indent + lines[i]
		}
	}
	return lines
}

// broken cuts a word into pieces of at most room characters.
func broken(word string, room int) []string {
	runes := []rune(word)
	var pieces []string
	for len(runes) > room {
		pieces, runes = append(pieces, string(runes[:room])), runes[room:]
	}
	return append(pieces, string(runes))
}

// verbatim keeps a text's lines as they are, spaces included; what is too
// wide goes on after a backslash.
func verbatim(indent, text string) []string {
	room := width - utf8.RuneCountInString(indent) - 1
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		pieces := broken(line, room)
		for i, piece := range pieces {
			if i < len(pieces)-1 {
				piece += `\`
			}
			lines = append(lines, strings.TrimRight(indent+piece, " "))
		}
	}
	return lines
}
