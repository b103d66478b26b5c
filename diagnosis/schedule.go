package diagnosis

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Unschedulable is the scheduler's account of why a pod fits nowhere
// (pkg/scheduler/framework/types.go, FitError.Error; the forms of Kubernetes 1.5
// to 1.37).
type Unschedulable struct {
	// Fit is how many of Nodes would do: 0 of 12. Both are 0 when they are not told.
	Fit, Nodes int
	// Reasons say how many nodes were refused for what. A node may count under
	// several.
	Reasons []Refusal
	// Preemption is what became of the attempt to make room, "" when the scheduler
	// does not tell.
	Preemption string
	// Cut says that the message is not whole: the scheduler cuts events at 1,024
	// bytes.
	Cut bool
}

// Refusal is one reason with the number of nodes it holds for; Count is 0 for a
// reason that concerns the pod itself, whatever the node.
type Refusal struct {
	Count int
	Text  string
	// Resource is what there is too little of, Taint the taint that is not
	// tolerated ("key" or "key=value"); both "" for other reasons.
	Resource, Taint string
}

// String writes the reason as the scheduler does.
func (r Refusal) String() string {
	if r.Count == 0 {
		return r.Text
	}
	return fmt.Sprintf("%d %s", r.Count, r.Text)
}

var (
	availability  = regexp.MustCompile(`(?:(\d+)/(\d+) nodes are available|No nodes are available that match all of the (?:following )?predicates):{0,2} ?`)
	refusalStart  = regexp.MustCompile(`^(?:\d+ [A-Za-z]|node\(s\) |[A-Za-z][\w ./-]* \(\d+\))`)
	leadingCount  = regexp.MustCompile(`^(\d+) (.+)$`)
	trailingCount = regexp.MustCompile(`^(.+?) \((\d+)\)$`)
	tooLittle     = regexp.MustCompile(`^Insufficient ([\w./-]+)$`)
	taintOf       = regexp.MustCompile(`taint \{([^:}]*): ?([^}]*)\}`)
)

// ParseUnschedulable reads the first such account in text; ok is false when there
// is none. It looks at what lies between "N/M nodes are available:" and the part
// on preemption.
func ParseUnschedulable(text string) (u Unschedulable, ok bool) {
	at := availability.FindStringSubmatchIndex(text)
	if at == nil {
		return Unschedulable{}, false
	}
	if at[2] >= 0 { // not told until Kubernetes 1.7
		u.Fit, _ = strconv.Atoi(text[at[2]:at[3]])
		u.Nodes, _ = strconv.Atoi(text[at[4]:at[5]])
	}
	body, _, _ := strings.Cut(text[at[1]:], "\n")
	if before, after, found := strings.Cut(body, "preemption:"); found {
		body, u.Preemption = before, strings.TrimSpace(after)
	}
	body = strings.TrimRight(strings.TrimSpace(body), `"'\`)
	if whole, found := strings.CutSuffix(body, "..."); found && strings.HasSuffix(whole, " ") {
		body, u.Cut = whole, true
	}
	for _, item := range items(body) {
		if refusal, ok := parseRefusal(item); ok {
			u.Reasons = append(u.Reasons, refusal)
		}
	}
	return u, true
}

// items cuts the list of reasons: a comma ends one only where another begins,
// since reasons hold commas themselves. A full stop and a blank end the list,
// unless a reason goes on behind them.
func items(body string) []string {
	var out []string
	begin, depth := 0, 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth = max(0, depth-1)
		case ',':
			if depth == 0 && strings.HasPrefix(body[i:], ", ") && refusalStart.MatchString(body[i+2:min(len(body), i+40)]) {
				out = append(out, body[begin:i])
				begin = i + 2
			}
		}
	}
	return append(out, body[begin:])
}

func parseRefusal(item string) (Refusal, bool) {
	item = strings.TrimRight(strings.TrimSpace(item), ". ")
	if item == "" {
		return Refusal{}, false
	}
	r := Refusal{Text: item}
	if found := leadingCount.FindStringSubmatch(item); found != nil {
		r.Count, _ = strconv.Atoi(found[1])
		r.Text = found[2]
	} else if found := trailingCount.FindStringSubmatch(item); found != nil {
		r.Count, _ = strconv.Atoi(found[2])
		r.Text = found[1]
	}
	if found := tooLittle.FindStringSubmatch(r.Text); found != nil {
		r.Resource = found[1]
	}
	if found := taintOf.FindStringSubmatch(r.Text); found != nil {
		r.Taint = found[1]
		if value := strings.TrimSpace(found[2]); value != "" {
			r.Taint += "=" + value
		}
	}
	return r, true
}
