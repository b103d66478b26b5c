package report

import (
	"cmp"
	"fmt"
	"strings"

	"gpumedic/incident"
)

// maxListed bounds long lists in the text; the page and the JSON have all.
const maxListed = 40

// Text gives the report for a terminal, at most 100 columns wide, in the order
// in which somebody who was just woken needs it. It may be asked of an
// incident that is still open.
func Text(rec incident.Record) string {
	rec = shown(rec)
	t := &text{}
	t.head(rec)
	t.happened(rec)
	t.cause(rec)
	t.proof(rec)
	t.decided(rec)
	t.changed(rec)
	t.wrong(rec)
	t.times(rec)
	t.story(rec)
	t.kept(rec)
	return t.String()
}

// text is a report while it is written.
type text struct{ strings.Builder }

func (t *text) lines(lines []string) {
	for _, line := range lines {
		t.WriteString(line)
		t.WriteByte('\n')
	}
}

func (t *text) section(title string) { t.WriteString("\n" + strings.ToUpper(title) + "\n") }

// say wraps a sentence after a mark: say("- ", "%s", ...).
func (t *text) say(mark, format string, args ...any) {
	t.lines(wrapped("  "+mark, fmt.Sprintf(format, args...)))
}

// more says that a list was cut.
func (t *text) more(all int) {
	if all > maxListed {
		t.say("", "... and %d more; report.html and report.json have all", all-maxListed)
	}
}

func (t *text) head(rec incident.Record) {
	end := ending(rec)
	t.lines(wrapped("", strings.ToUpper(end.Label)+": "+rec.Target.String()))
	t.lines(wrapped("", end.Meaning))
	t.lines(wrapped("", rec.IncidentID))
	times := "opened " + stamp(rec.OpenedAt)
	if took := lasted(rec); took != "" {
		times += ", closed after " + took
	}
	if rec.HumanWaitSeconds > 0 {
		times += fmt.Sprintf(", of which people were waited for %s", seconds(rec.HumanWaitSeconds))
	}
	t.lines(wrapped("", times))
	if len(rec.Simulated) > 0 {
		t.lines(wrapped("", "SIMULATED, no proof of real hardware: "+strings.Join(rec.Simulated, ", ")))
	}
}

func (t *text) happened(rec incident.Record) {
	t.section("What happened")
	t.say("", "%s", cmp.Or(rec.Summary, "There is no summary yet."))
	for i, alert := range rec.Alerts {
		if i == maxListed {
			break
		}
		t.say("- ", "alert %s is %s, started %s", alert.Name, alert.Status, stamp(alert.StartsAt))
	}
	t.more(len(rec.Alerts))
	t.section("What to do now")
	t.say("", "%s", nextWords(rec))
}

func (t *text) cause(rec incident.Record) {
	t.section("Cause")
	best, others := reasons(rec)
	line := causeWords(rec)
	if rec.FailureCase != "" {
		line += fmt.Sprintf(" (case %s), confidence %.2f", rec.FailureCase, rec.Confidence)
	}
	t.say("", "%s", line)
	if who := blamedWords(rec.Blamed); who != "" {
		t.say("", "at fault: %s", who)
	}
	for _, reason := range best.Reasons {
		t.say("+ ", "%s", reason)
	}
	for _, against := range best.Against {
		t.say("- ", "against it: %s", against)
	}
	for _, check := range best.WouldDecide {
		t.say("? ", "would decide: %s", check)
	}
	for _, other := range others {
		t.say("  or ", "%s (case %s), confidence %.2f", cmp.Or(other.RootCause, "nothing"), other.FailureCase, other.Confidence)
	}
}

func (t *text) proof(rec incident.Record) {
	t.section("Proof")
	if len(rec.Findings) == 0 {
		t.say("", "No check was made.")
	}
	for i, finding := range rec.Findings {
		if i == maxListed {
			break
		}
		line := finding.ID + " " + finding.Subject
		for _, part := range []string{finding.Value, finding.Why} {
			if part != "" {
				line += ": " + part
			}
		}
		t.say(fmt.Sprintf("%-7s ", finding.State), "%s", line)
	}
	t.more(len(rec.Findings))
	for _, test := range []*incident.CommTest{rec.CommTest, rec.Verification} {
		if test != nil {
			t.test(*test)
		}
	}
}

func (t *text) test(test incident.CommTest) {
	t.say("test    ", "%s: %s", purposeWords(test), verdictWords(test.Verdict))
	groups := 0
	for _, round := range test.History {
		groups += len(round.Groups)
	}
	if groups > listedGroups {
		t.lines(verbatim("          ", RoundsTable(test)))
	}
	listed := 0
	for _, round := range test.History {
		for _, outcome := range round.Outcomes {
			if groups > listedGroups && outcome.Result == incident.TestPass {
				continue // the table counts them
			}
			if listed++; listed > maxListed {
				continue
			}
			nodes := nodesOf(round, outcome)
			t.say("        ", "round %d, group %s (%d nodes: %s) %s", round.Number, outcome.ID, len(nodes), few(nodes, 4), outcomeWords(outcome))
		}
	}
	t.more(listed)
}

// listedGroups is how many groups of a test are listed one by one; of more
// there is a table, and only what did not pass is listed.
const listedGroups = 6

// nodesOf are an outcome's nodes, by its group where it names none.
func nodesOf(round incident.Round, outcome incident.Outcome) []string {
	if len(outcome.Nodes) > 0 {
		return outcome.Nodes
	}
	for _, group := range round.Groups {
		if group.ID == outcome.ID {
			return group.Nodes
		}
	}
	return nil
}

func (t *text) decided(rec incident.Record) {
	t.section("Who decided")
	if len(rec.Decisions)+len(rec.Approvals) == 0 {
		t.say("", "Nothing was decided.")
	}
	for _, d := range rec.Decisions {
		t.say(clock(d.At)+"  ", "%s: %s", d.Verdict, d.What)
		for _, reason := range d.Reasons {
			t.say("          - ", "%s", reason)
		}
	}
	for _, vote := range rec.Approvals {
		t.say(clock(vote.At)+"  ", "%s", voteWords(vote))
	}
}

func (t *text) changed(rec incident.Record) {
	t.section("What changed")
	if len(rec.Changes) == 0 {
		t.say("", "Nothing was changed.")
	}
	for _, change := range rec.Changes {
		words, _ := changeWords(change)
		t.say("", "%s (risk %s, plan %s, applied %s): %s", change.Remedy, change.Risk, change.PlanHash, stamp(change.AppliedAt), words)
		t.lines(verbatim("    ", change.Diff))
	}
	if rec.Plan != nil && len(rec.Changes) == 0 {
		t.say("", "Proposed, not carried out: %s (risk %s, plan %s)", rec.Plan.Summary, rec.Plan.Risk, cmp.Or(rec.Plan.Hash, "without a hash"))
		t.lines(verbatim("    ", rec.Plan.Diff))
	}
	if rec.GPUHoursLost > 0 {
		t.say("", "Cost: %.1f GPU-hours.", rec.GPUHoursLost)
	}
}

func (t *text) wrong(rec incident.Record) {
	if len(rec.Errors) == 0 {
		return
	}
	t.section("What went wrong on the way")
	for i, text := range rec.Errors {
		if i == maxListed {
			break
		}
		t.say("! ", "%s", text)
	}
	t.more(len(rec.Errors))
}

func (t *text) times(rec incident.Record) {
	t.section("Stages")
	if len(rec.Stages) == 0 {
		t.say("", "No stage was begun.")
	}
	for _, stage := range stages(rec) {
		t.say(fmt.Sprintf("%s  %-17s ", clock(stage.StartedAt), stage.Name), "%s", stage.Duration)
	}
}

func (t *text) story(rec incident.Record) {
	t.section("Timeline (UTC)")
	from := max(0, len(rec.Story)-2*maxListed)
	if from > 0 {
		t.say("", "... %d earlier lines are in report.html and report.json", from)
	}
	for _, event := range rec.Story[from:] {
		t.say(fmt.Sprintf("%s  %-9s", clock(event.At), event.Kind), "%s", event.Text)
	}
}

func (t *text) kept(rec incident.Record) {
	t.section("Evidence")
	var bytes int64
	for i, ref := range rec.Evidence {
		bytes += ref.Bytes
		if i < maxListed {
			t.say(fmt.Sprintf("%-12.12s  %9s  ", ref.SHA256, size(ref.Bytes)), "%s", ref.Name)
		}
	}
	t.more(len(rec.Evidence))
	t.say("", "%d files named here, %s; the bundle's manifest.json lists every file.", len(rec.Evidence), size(bytes))
	t.say("", "Runbook %s (%.12s), build %s.", cmp.Or(rec.Runbook.Name, "none"), cmp.Or(rec.Runbook.SHA256, "-"), cmp.Or(rec.Build, "unknown"))
}
