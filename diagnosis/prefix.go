package diagnosis

import (
	"bytes"
	"regexp"
	"strconv"
	"time"
)

// A line in a container's log is wrapped by everybody who handled it: the
// runtime stamps it, the launcher names the rank, a terminal colours it.

// noRank stands for a line whose prefix names no rank.
const noRank = -1

// unwrapped is a line without its wrapping. Text shares memory with the line.
type unwrapped struct {
	text []byte
	at   time.Time
	// rank is the process the prefix names, noRank when it names none.
	rank int
}

var (
	// criTag is what a node's own log file has after the stamp.
	criTag = regexp.MustCompile(`^(?:stdout|stderr) [FP] `)
	// launcher prefixes: Open MPI's tag, torchrun's, Ray's, srun's label.
	launcher = regexp.MustCompile(`^(?:\[\d+,(\d+)\]<std(?:out|err)>: ?|\[(?:rank|default)(\d+)\]: ?|\([\w.]+ pid=\d+(?:, ip=[\w.:]+)?\) ?|(\d+): )`)
	ansi     = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
)

// unwrap takes the stamp, the tag of the runtime, colours and launchers'
// prefixes off a line.
func unwrap(line []byte) unwrapped {
	out := unwrapped{text: line, rank: noRank}
	if bytes.IndexByte(out.text, 0x1b) >= 0 {
		out.text = ansi.ReplaceAll(out.text, nil)
	}
	out.at, out.text = stamp(out.text)
	if !out.at.IsZero() {
		if tag := criTag.Find(out.text); tag != nil {
			out.text = out.text[len(tag):]
		}
	}
	out.unlaunch()
	return out
}

// unlaunch takes up to three launchers' prefixes off; they nest (Ray, torchrun).
func (u *unwrapped) unlaunch() {
	for range 3 {
		if len(u.text) == 0 || !prefixStart(u.text[0]) {
			return
		}
		found := launcher.FindSubmatchIndex(u.text)
		if found == nil {
			return
		}
		for group := 2; group+1 < len(found); group += 2 {
			if found[group] < 0 {
				continue
			}
			if rank, err := strconv.Atoi(string(u.text[found[group]:found[group+1]])); err == nil {
				u.rank = rank
			}
		}
		u.text = u.text[found[1]:]
	}
}

func prefixStart(b byte) bool { return b == '[' || b == '(' || '0' <= b && b <= '9' }

// stamp reads a leading RFC 3339 time and the blank behind it.
func stamp(line []byte) (time.Time, []byte) {
	const shortest = len("2006-01-02T15:04:05Z")
	if len(line) < shortest || line[4] != '-' || line[10] != 'T' {
		return time.Time{}, line
	}
	end := bytes.IndexByte(line[:min(len(line), 40)], ' ')
	rest := line[len(line):]
	switch {
	case end > 0:
		rest = line[end+1:]
	case len(line) < 40:
		end = len(line) // an empty line still carries its stamp
	default:
		return time.Time{}, line
	}
	at, err := time.Parse(time.RFC3339Nano, string(line[:end]))
	if err != nil {
		return time.Time{}, line
	}
	return at.UTC(), rest
}
