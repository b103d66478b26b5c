package report

import "strings"

// diffLine is a line of a unified diff. Kind is add, del, hunk, file or same.
type diffLine struct{ Kind, Text string }

// diffLines sorts the lines of a diff by what they do. A line that starts with
// "--- " is a file header only before one with "+++ "; else it was removed.
func diffLines(diff string) []diffLine {
	if strings.TrimSpace(diff) == "" {
		return nil
	}
	lines := strings.Split(strings.TrimRight(diff, "\n"), "\n")
	out := make([]diffLine, len(lines))
	for i, line := range lines {
		out[i] = diffLine{"same", line}
		switch {
		case strings.HasPrefix(line, "--- ") && i+1 < len(lines) && strings.HasPrefix(lines[i+1], "+++ "),
			strings.HasPrefix(line, "+++ ") && i > 0 && out[i-1].Kind == "file":
			out[i].Kind = "file"
		case strings.HasPrefix(line, "@@"):
			out[i].Kind = "hunk"
		case strings.HasPrefix(line, "+"):
			out[i].Kind = "add"
		case strings.HasPrefix(line, "-"):
			out[i].Kind = "del"
		}
	}
	return out
}
