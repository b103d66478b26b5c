package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gpumedic/incident"
)

// outcome is how an incident's end is told. Tone picks the colour: good, warn,
// bad or plain.
type outcome struct{ Label, Tone, Meaning string }

var outcomes = map[string]outcome{
	incident.Resolved:     {"Resolved", "good", "A change was made, and the symptom is gone."},
	incident.RolledBack:   {"Rolled back", "warn", "A change was made, did not help and was taken back."},
	incident.Refused:      {"Refused", "warn", "There was a plan, and it was not carried out."},
	incident.Escalated:    {"Escalated", "bad", "A person must take over."},
	incident.SelfResolved: {"Self-resolved", "plain", "The symptom went away without gpumedic."},
	incident.NoCause:      {"No cause", "plain", "Nothing wrong was found."},
	incident.Cancelled:    {"Cancelled", "plain", "A person stopped the incident."},
	"":                    {"Open", "plain", "The incident has not ended yet."},
}

// ending tells a record's outcome; one of another build is told as it is.
func ending(rec incident.Record) outcome {
	if known, ok := outcomes[rec.Outcome]; ok {
		return known
	}
	return outcome{Label: rec.Outcome, Tone: "plain"}
}

// nextWords says what a person should do. An ending that needs a person says
// so even where no advice is recorded.
func nextWords(rec incident.Record) string {
	switch {
	case rec.Next != "":
		return rec.Next
	case rec.Outcome == "":
		return "Nothing yet; the incident is still open."
	case rec.Outcome == incident.Resolved, rec.Outcome == incident.SelfResolved, rec.Outcome == incident.NoCause:
		return "Nothing."
	}
	return "No advice is recorded. Look at the target by hand, with the cause and the evidence below."
}

// causeWords names the cause in a few words.
func causeWords(rec incident.Record) string {
	switch {
	case rec.FailureCase == incident.NoneOfThese && rec.RootCause == "":
		return "nothing is wrong"
	case rec.FailureCase == "" && rec.RootCause == "":
		return "not looked for"
	case rec.RootCause == "" || rec.RootCause == incident.UnknownCause:
		return "not told by what was found"
	}
	return rec.RootCause
}

// blamedWords says who is at fault, "" when nobody is.
func blamedWords(b incident.Blamed) string {
	if len(b.Names) == 0 {
		return b.Kind
	}
	return strings.TrimSpace(b.Kind + " " + few(b.Names, 6))
}

// few joins names, at most so many, and says how many more there are.
func few(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// reasons gives those of the cause that the record settled on.
func reasons(rec incident.Record) (best incident.Cause, others []incident.Cause) {
	at := slices.IndexFunc(rec.Causes, func(c incident.Cause) bool {
		return c.RootCause == rec.RootCause && c.FailureCase == rec.FailureCase
	})
	if at < 0 {
		return incident.Cause{}, rec.Causes
	}
	return rec.Causes[at], slices.Delete(slices.Clone(rec.Causes), at, at+1)
}

// voteWords says what somebody said.
func voteWords(v incident.Vote) string {
	who := strings.TrimSpace(v.By)
	if v.Via != "" {
		who += " via " + v.Via
	}
	text := map[string]string{incident.Approve: who + " approved", incident.Deny: who + " denied", incident.Expired: "nobody answered about"}[v.Verdict]
	text = cmp.Or(text, who+" said "+v.Verdict+" to") + " plan " + v.PlanHash
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	return text
}

// changeWords says what became of a change, and how good that is.
func changeWords(c incident.Change) (text, tone string) {
	undone := c.UndoComplete != nil && *c.UndoComplete
	switch {
	case c.Undone && undone:
		text, tone = "taken back; everything it touched is as it was before", "warn"
	case c.Undone && c.UndoComplete == nil:
		text, tone = "taken back, but it is not known whether wholly", "bad"
	case c.Undone:
		text, tone = "could not be taken back wholly; compare with the snapshot", "bad"
	case c.Verified:
		text, tone = "in place, and it was verified that the symptom is gone", "good"
	case c.AppliedAt.IsZero():
		text, tone = "it is not known whether it was applied", "bad"
	default:
		text, tone = "in place, but nothing shows that it helped", "bad"
	}
	if c.Note != "" {
		text += "; " + c.Note
	}
	return text, tone
}

// stage is a stage with its time. Seconds is -1 when it has not ended.
type stage struct {
	incident.Stage
	Seconds  float64
	Duration string
}

func stages(rec incident.Record) []stage {
	out := make([]stage, len(rec.Stages))
	for i, s := range rec.Stages {
		out[i] = stage{Stage: s, Seconds: -1, Duration: "not ended"}
		if !s.EndedAt.IsZero() {
			took := s.EndedAt.Sub(s.StartedAt)
			out[i].Seconds, out[i].Duration = took.Seconds(), duration(took)
		}
	}
	return out
}

// lasted tells how long the incident took, "" while it is open.
func lasted(rec incident.Record) string {
	if rec.ClosedAt.IsZero() || rec.OpenedAt.IsZero() {
		return ""
	}
	return duration(rec.ClosedAt.Sub(rec.OpenedAt))
}

// duration in words that a tired person reads at once.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "less than nothing (clocks differ)"
	case d == 0:
		return "0 s"
	case d < 10*time.Millisecond:
		return "under 10 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func seconds(s float64) string { return duration(time.Duration(s * float64(time.Second))) }

// size in binary units.
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 || value == math.Trunc(value) {
		return fmt.Sprintf("%.0f %s", value, units[unit])
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// clock is a time of day in UTC; stamp has the day, too.
func clock(at time.Time) string {
	if at.IsZero() {
		return "--:--:--"
	}
	return at.UTC().Format(time.TimeOnly)
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return "at an unknown time"
	}
	return at.UTC().Format(time.DateTime) + " UTC"
}

// outcomeWords tells what a group's test showed. An error says nothing about
// the nodes, and must not sound as if it did.
func outcomeWords(o incident.Outcome) string {
	text := map[incident.TestResult]string{
		incident.TestPass: "passed", incident.TestFail: "failed", incident.TestError: "could not be run (says nothing about the nodes)",
	}[o.Result]
	text = cmp.Or(text, "ended as "+string(o.Result))
	if o.BusBWGBps > 0 {
		text += fmt.Sprintf(", %.1f GB/s", o.BusBWGBps)
		if o.ExpectedGBps > 0 {
			text += fmt.Sprintf(" of %.1f expected", o.ExpectedGBps)
		}
	}
	if o.Transport != "" {
		text += " over " + o.Transport
	}
	return text
}

// verdictWords tells a test's end.
func verdictWords(v incident.Verdict) string {
	var bad []string
	for _, part := range v.Bad {
		if part.Kind == "infrastructure" {
			bad = append(bad, "nothing that crosses nodes works")
			continue
		}
		bad = append(bad, fmt.Sprintf("%s %s is bad (confidence %.2f)", part.Kind, part.ID, part.Confidence))
	}
	text := "no verdict"
	switch {
	case len(bad) > 0:
		text = few(bad, 6)
	case v.Inconclusive:
		text = "inconclusive, it is not known who is to blame"
	case v.Clean:
		text = "clean"
	}
	if v.Why != "" {
		text += ": " + v.Why
	}
	return text
}

// purposeWords names a test.
func purposeWords(test incident.CommTest) string {
	return cmp.Or(map[string]string{"diagnose": "before any change", "verify": "after the change"}[test.Purpose], test.Purpose)
}
