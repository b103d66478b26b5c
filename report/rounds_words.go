package report

import (
	"fmt"
	"strings"

	"gpumedic/incident"
)

// What became of groups and rounds, in words and numbers.

// farBelow is the share of the expected bandwidth under which a test that ended
// well is shown as slow.
const farBelow = 0.5

// classes in the order of a table's columns.
var classes = []string{"pass", "slow", "fail", "error", "running"}

// classOf says how a group's test ended: pass, slow (it ended, at far too low
// a bandwidth), fail, error (could not be run) or running.
func classOf(o incident.Outcome) string {
	slow := o.BusBWGBps > 0 && len(o.FailedNodes) == 0 &&
		(o.Result == incident.TestFail || o.BusBWGBps < farBelow*o.ExpectedGBps)
	switch {
	case o.Result == incident.TestError:
		return "error"
	case o.Result == "":
		return "running"
	case slow:
		return "slow"
	case o.Result == incident.TestPass:
		return "pass"
	}
	return "fail"
}

// outcomeOf is how a group's test ended; the zero value while it runs.
func outcomeOf(round incident.Round, group incident.Group) incident.Outcome {
	for _, o := range round.Outcomes {
		if o.ID == group.ID {
			return o
		}
	}
	return incident.Outcome{}
}

// groupWords says what became of a group, for its hover text.
func groupWords(o incident.Outcome) string {
	if o.Result == "" {
		return "runs"
	}
	if classOf(o) == "slow" {
		return "slow, " + strings.TrimPrefix(strings.TrimPrefix(outcomeWords(o), "failed, "), "passed, ")
	}
	return outcomeWords(o)
}

// count of a round's groups by class.
func counts(round incident.Round) map[string]int {
	out := map[string]int{}
	for _, group := range round.Groups {
		out[classOf(outcomeOf(round, group))]++
	}
	return out
}

var classWords = map[string]string{"pass": "passed", "slow": "slow", "fail": "failed", "error": "could not be run", "running": "running"}

// roundsSay tells the picture to those who cannot see it.
func roundsSay(test incident.CommTest, nodes int) string {
	parts := []string{fmt.Sprintf("Communication test over %s.", plural(nodes, "node"))}
	for _, round := range test.History {
		n := counts(round)
		var words []string
		for _, class := range classes {
			if n[class] > 0 {
				words = append(words, fmt.Sprintf("%d %s", n[class], classWords[class]))
			}
		}
		parts = append(parts, fmt.Sprintf("Round %d: %s, %s.", round.Number, plural(len(round.Groups), "group"), strings.Join(words, ", ")))
	}
	return strings.Join(append(parts, endWords(test)+"."), " ")
}

// endWords is the verdict, or what is suspected while there is none.
func endWords(test incident.CommTest) string {
	v := test.Verdict
	if len(v.Bad) == 0 && !v.Clean && !v.Inconclusive {
		if progress := test.Progress(); progress != "" {
			return "No verdict yet. " + progress
		}
		return "No verdict yet"
	}
	v.Why = ""
	words := verdictWords(v)
	return strings.ToUpper(words[:1]) + words[1:]
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// RoundsTable is a test's rounds as a table for a terminal, one line each; ""
// before the first.
func RoundsTable(test incident.CommTest) string {
	if len(test.History) == 0 {
		return ""
	}
	var out strings.Builder
	out.WriteString("round  groups  nodes  passed  slow  failed  not run  running\n")
	for _, round := range test.History {
		n, nodes := counts(round), 0
		for _, group := range round.Groups {
			nodes += len(group.Nodes)
		}
		fmt.Fprintf(&out, "%5d  %6d  %5d  %6d  %4d  %6d  %7d  %7d\n", round.Number, len(round.Groups), nodes,
			n["pass"], n["slow"], n["fail"], n["error"], n["running"])
	}
	return out.String()
}
