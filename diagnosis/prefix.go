package diagnosis

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A line in a container's log is wrapped by everybody who handled it: the
// runtime stamps it, the launcher names the rank, the kernel's log counts
// seconds, a person quotes it.

// noRank stands for a line whose prefix names no rank.
const noRank = -1

// unwrapped is a line without its wrapping. Text shares memory with the line
// where it can.
type unwrapped struct {
	text []byte
	at   time.Time
	// rank is the process the prefix names, noRank when it names none.
	rank int
}

// maxPrefixes bounds how many prefixes are taken off one line; they nest.
const maxPrefixes = 6

// prefix is one kind of wrapping. First and holds are cheap to ask: the bytes it
// may begin with, and what it must hold.
type prefix struct {
	first, holds string
	// pattern's group, where there is one, is the number of a rank.
	pattern *regexp.Regexp
}

const (
	digits  = "0123456789"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	letters = upper + "abcdefghijklmnopqrstuvwxyz"
)

// prefixes are taken off in any order.
var prefixes = []prefix{
	// What a node's own log file has after the stamp.
	{"s", " ", regexp.MustCompile(`^(?:stdout|stderr) [FP] `)},
	// Launchers: Open MPI's and Horovod's tag, torchrun's, Ray's and vLLM's, srun's
	// label.
	{"[" + upper, "]", regexp.MustCompile(`^(?:[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ [\d:]+ \d{4})?\[(?:\d+,)?(\d+)\] ?<std(?:out|err)>:? ?`)},
	{"[", "]:", regexp.MustCompile(`^\[(?:rank|default)(\d+)\]: ?`)},
	{"(", " pid=", regexp.MustCompile(`^\([\w.:-]+(?: rank=(\d+))? pid=\d+(?:, ip=[\w.:-]+)?\) ?`)},
	{digits, ": ", regexp.MustCompile(`^(\d{1,5}): `)},
	// kubectl logs --prefix, and docker compose.
	{"[", "[pod/", regexp.MustCompile(`^\[pod/[\w./-]+\] `)},
	{letters + digits, " | ", regexp.MustCompile(`^[\w.-]+[-_]\d+ +\| `)},
	// The kernel's log as dmesg, /dev/kmsg and syslog show it.
	{"<", ">", regexp.MustCompile(`^<\d{1,3}>`)},
	{"[", "]", regexp.MustCompile(`^\[ *\d+\.\d{3,6}\] ?`)},
	{"[", "]", regexp.MustCompile(`^\[[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ [\d:]+ \d{4}\] ?`)},
	{digits, ";", regexp.MustCompile(`^\d{1,3},\d+,\d+,[^;]{1,40};`)},
	{"kud", ": ", regexp.MustCompile(`^(?:kern|user|daemon) *: *\w+ *: `)},
	{upper, ": ", regexp.MustCompile(`^[A-Z][a-z]{2} +\d{1,2} \d{2}:\d{2}:\d{2} [\w.-]+ [\w./-]+(?:\[\d+\])?: `)},
	{"k", "kernel: ", regexp.MustCompile(`^kernel: `)},
	// Stamps without a zone, which order nothing between machines.
	{"[" + digits, ":", regexp.MustCompile(`^\[?\d{4}[-/]\d{2}[-/]\d{2}[ T]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?\]?(?:\s+(?:[-|] )?|$)`)},
	// Quoted mail, and the frame of a Python logger.
	{">\xe2", " ", regexp.MustCompile(`^(?:> |│ )+`)},
}

// may says cheaply whether the head of a line could begin with the prefix.
func (p prefix) may(head []byte) bool {
	return strings.IndexByte(p.first, head[0]) >= 0 && bytes.Contains(head, []byte(p.holds))
}

// unwrap takes the wrapping off a line. A line that was wrapped as JSON may hold
// several.
func unwrap(line []byte) []unwrapped {
	if text, at, ok := fromJSON(line); ok {
		var out []unwrapped
		for piece := range bytes.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
			bare := unprefix(piece)
			if bare.at.IsZero() {
				bare.at = at
			}
			out = append(out, bare)
		}
		return out
	}
	return []unwrapped{unprefix(line)}
}

// bare is the first piece of an unwrapped line.
func bare(line []byte) []byte {
	pieces := unwrap(line)
	if len(pieces) == 0 {
		return nil
	}
	return pieces[0].text
}

func unprefix(line []byte) unwrapped {
	out := unwrapped{text: line, rank: noRank}
	for range maxPrefixes {
		if !out.unstamp() && !out.strip() {
			break
		}
	}
	return out
}

// strip takes one prefix off, false when there is none.
func (u *unwrapped) strip() bool {
	if len(u.text) == 0 {
		return false
	}
	head := u.text[:min(len(u.text), maxPrefix)]
	for _, p := range prefixes {
		if !p.may(head) {
			continue
		}
		found := p.pattern.FindSubmatchIndex(head)
		if found == nil {
			continue
		}
		if len(found) > 2 && found[2] >= 0 {
			if rank, err := strconv.Atoi(string(u.text[found[2]:found[3]])); err == nil {
				u.rank = rank
			}
		}
		u.text = u.text[found[1]:]
		return true
	}
	return false
}

// maxPrefix bounds the length of one prefix, in bytes.
const maxPrefix = 120

// unstamp takes a stamp with a zone off, false when there is none.
func (u *unwrapped) unstamp() bool {
	at, rest := stamp(u.text)
	if at.IsZero() {
		return false
	}
	if u.at.IsZero() { // the outermost is the runtime's
		u.at = at
	}
	u.text = rest
	return true
}

// stamp reads a leading RFC 3339 time, with a point or a comma before the
// fraction, and the blank behind it.
func stamp(line []byte) (time.Time, []byte) {
	const shortest = len("2006-01-02T15:04:05Z")
	const longest = len("2006-01-02T15:04:05.999999999+01:00:")
	if len(line) < shortest || line[4] != '-' || line[10] != 'T' {
		return time.Time{}, line
	}
	end := bytes.IndexByte(line[:min(len(line), longest+1)], ' ')
	rest := line[len(line):]
	switch {
	case end > 0:
		rest = line[end+1:]
	case len(line) <= longest:
		end = len(line) // an empty line still carries its stamp
	default:
		return time.Time{}, line
	}
	text := bytes.TrimSuffix(line[:end], []byte{':'})
	at, err := time.Parse(time.RFC3339Nano, string(bytes.Replace(text, []byte{','}, []byte{'.'}, 1)))
	if err != nil {
		return time.Time{}, line
	}
	return at.UTC(), rest
}
