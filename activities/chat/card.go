package chat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"gpumedic/incident"
	"gpumedic/steps"
)

// look is how a state is announced: an emoji of every Slack and its words.
type look struct{ emoji, words string }

// looks covers the states of steps.Card and the outcomes of an incident.
var looks = map[string]look{
	"investigating":       {"mag", "Investigating"},
	"testing":             {"test_tube", "Testing the network"},
	"asking":              {"raised_hand", "Approval needed"},
	"changing":            {"wrench", "Changing"},
	"verifying":           {"hourglass_flowing_sand", "Verifying"},
	"undoing":             {"rewind", "Undoing"},
	"reporting":           {"memo", "Writing the report"},
	incident.Resolved:     {"white_check_mark", "Resolved"},
	incident.RolledBack:   {"rewind", "Rolled back"},
	incident.Refused:      {"no_entry", "Not carried out"},
	incident.Escalated:    {"sos", "A person must take over"},
	incident.SelfResolved: {"white_check_mark", "Went away by itself"},
	incident.NoCause:      {"white_circle", "Nothing wrong was found"},
	incident.Cancelled:    {"black_square_for_stop", "Cancelled"},
}

func lookOf(state string) look {
	if l, ok := looks[state]; ok {
		return l
	}
	return look{"information_source", oneLine(orDash(state))}
}

// Blocks draws a card. Its size is bounded whatever the card holds. The only
// error is an incident id too long for a button.
func Blocks(card steps.Card) ([]slack.Block, error) {
	d := drawing{card: card, revision: revision(card)}
	d.header()
	d.cause()
	d.evidence()
	d.plan()
	d.votes()
	d.next()
	if err := d.buttons(); err != nil {
		return nil, err
	}
	d.footer()
	return d.blocks, nil
}

// Fallback is the card's one line for notifications and screen readers.
func Fallback(card steps.Card) string {
	return escapeTo(lookOf(card.State).words+": "+oneLine(card.Target.String())+". "+oneLine(card.Headline), maxFallback)
}

// revision names a card's content, so that block ids change whenever it does,
// as Slack asks for.
func revision(card steps.Card) string {
	data, err := json.Marshal(card)
	if err != nil { // a plan's raw manifest may be broken; the text still tells cards apart
		data = fmt.Append(nil, card)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:4])
}

// drawing collects the blocks of one card.
type drawing struct {
	card     steps.Card
	revision string
	blocks   []slack.Block
}

func (d *drawing) add(block slack.Block) { d.blocks = append(d.blocks, block) }

// id is unique inside the message, and new for every state and content.
func (d *drawing) id(part string) string {
	return fmt.Sprintf("%s-%s-%s", part, cut(oneLine(d.card.State), 40), d.revision)
}

func (d *drawing) section(part string, text *slack.TextBlockObject, fields ...*slack.TextBlockObject) {
	d.add(slack.NewSectionBlock(text, fields, nil, slack.SectionBlockOptionBlockID(d.id(part))))
}

func (d *drawing) context(part string, text *slack.TextBlockObject) {
	d.add(slack.NewContextBlock(d.id(part), text))
}

func (d *drawing) header() {
	l := lookOf(d.card.State)
	title := slack.NewTextBlockObject(slack.PlainTextType,
		cut(":"+l.emoji+": "+l.words+": "+oneLine(d.card.Target.String()), maxHeader), true, false)
	d.add(slack.NewHeaderBlock(title, slack.HeaderBlockOptionBlockID(d.id("header"))))
	if d.card.Headline != "" {
		d.section("headline", plain(d.card.Headline, maxSentence))
	}
	if d.card.Progress != "" {
		d.section("progress", plain(oneLine(d.card.Progress), maxProgress))
	}
}

// cause says what it is and how sure we are; nothing before there is a cause.
func (d *drawing) cause() {
	c := d.card.Cause
	if c.FailureCase == "" {
		return
	}
	root := c.RootCause
	if root == "" {
		root = "none"
	}
	fields := []*slack.TextBlockObject{
		field("Cause", fmt.Sprintf("%s (%.0f %% sure)", root, c.Confidence*100)),
		field("Failure case", c.FailureCase),
	}
	if len(c.Blamed.Names) > 0 {
		fields = append(fields, field("Blamed", blamed(c.Blamed)))
	}
	d.section("cause", nil, fields...)
}

// blamed names at most five; the report names all.
func blamed(b incident.Blamed) string {
	shown := b.Names[:min(5, len(b.Names))]
	text := strings.TrimSpace(b.Kind + " " + strings.Join(shown, ", "))
	if more := len(b.Names) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// evidence is rich text: lines of logs are shown, never interpreted.
func (d *drawing) evidence() {
	if len(d.card.Evidence) == 0 {
		return
	}
	var items []slack.RichTextElement
	for _, line := range d.card.Evidence[:min(5, len(d.card.Evidence))] {
		items = append(items, slack.NewRichTextSection(richText(cut(orDash(oneLine(line)), maxEvidenceLine), false)))
	}
	d.add(slack.NewRichTextBlock(d.id("evidence"),
		slack.NewRichTextSection(richText("Why", true)),
		slack.NewRichTextList(slack.RTEListBullet, 0, items...)))
}

func richText(s string, bold bool) *slack.RichTextSectionTextElement {
	var style *slack.RichTextSectionTextStyle
	if bold {
		style = &slack.RichTextSectionTextStyle{Bold: true}
	}
	return slack.NewRichTextSectionTextElement(s, style)
}

// plan shows what would be done, at what price, and the exact diff.
func (d *drawing) plan() {
	p := d.card.Plan
	if p == nil {
		return
	}
	d.add(slack.NewDividerBlock())
	d.section("plan", markdown("*Plan* "+escapeTo(oneLine(p.Summary), maxSentence), maxSection))
	fields := []*slack.TextBlockObject{
		field("Risk", string(p.Risk)), field("Pods restarted", fmt.Sprint(p.PodsRestarted)),
		field("GPU-hours lost", fmt.Sprintf("%.1f", p.GPUHoursLost)), field("Plan", p.Hash),
	}
	if d.card.Asking && d.card.Deadline != "" {
		fields = append(fields, deadline(d.card.Deadline))
	}
	d.section("price", nil, fields...)
	d.diff(p.Diff)
}

// deadline is shown in the reader's own time zone when it is a full time.
func deadline(s string) *slack.TextBlockObject {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return field("Deadline, silence means no", s)
	}
	shown := fmt.Sprintf("<!date^%d^{date_short_pretty} {time}|%s>", at.Unix(), at.UTC().Format("2006-01-02 15:04 UTC"))
	return markdown("*Deadline, silence means no*\n"+shown, maxField)
}

func (d *drawing) diff(diff string) {
	if strings.TrimSpace(diff) == "" {
		return
	}
	shown, rest := splitLines(clean(diff), maxDiff)
	d.add(preformatted(d.id("diff"), shown))
	if rest != "" {
		d.context("diff-cut", markdown(fmt.Sprintf("The diff is cut here, %d more lines; the whole of it is in the thread and in the report.", lines(rest)), maxField))
	}
}

func lines(s string) int { return strings.Count(strings.TrimRight(s, "\n"), "\n") + 1 }

// splitLines takes whole lines up to limit off the front; a single line longer
// than that is cut through.
func splitLines(s string, limit int) (head, rest string) {
	s = strings.TrimRight(s, "\n")
	head, rest = split(s, limit)
	if rest == "" {
		return head, ""
	}
	if i := strings.LastIndexByte(head, '\n'); i > 0 {
		return head[:i], s[i+1:]
	}
	return head, rest
}

func preformatted(id, text string) *slack.RichTextBlock {
	return slack.NewRichTextBlock(id, &slack.RichTextPreformatted{
		Type: slack.RTEPreformatted, Elements: []slack.RichTextSectionElement{richText(orDash(text), false)},
	})
}

func (d *drawing) votes() {
	if len(d.card.Votes) == 0 {
		return
	}
	var said []string
	for _, vote := range d.card.Votes[:min(6, len(d.card.Votes))] {
		said = append(said, voteLine(vote))
	}
	d.context("votes", markdown(strings.Join(said, "\n"), maxField))
}

func voteLine(v incident.Vote) string {
	verb := map[string]string{incident.Approve: "approved", incident.Deny: "denied", incident.Expired: "expired"}[v.Verdict]
	if verb == "" {
		verb = oneLine(v.Verdict)
	}
	line := fmt.Sprintf("*%s* by %s via %s, %s", escapeTo(verb, 20), voter(v), escapeTo(oneLine(v.Via), 20), v.At.UTC().Format("15:04:05 UTC"))
	if v.Reason != "" {
		line += ": " + escapeTo(oneLine(v.Reason), 80)
	}
	return line
}

var userID = regexp.MustCompile(`^[UW][A-Z0-9]{2,20}$`)

// voter lets Slack show the name of one of its own users; nobody else can
// become a mention.
func voter(v incident.Vote) string {
	if v.Via == "slack" && userID.MatchString(v.By) {
		return "<@" + v.By + ">"
	}
	return escapeTo(orDash(oneLine(v.By)), 60)
}

func (d *drawing) next() {
	if d.card.Next != "" {
		d.section("next", markdown("*Next* "+escapeTo(oneLine(d.card.Next), maxSentence), maxSection))
	}
}

// footer names the incident, and says so when the cluster is a rehearsal.
func (d *drawing) footer() {
	text := escapeTo(oneLine(d.card.Incident), 700)
	if len(d.card.Simulated) > 0 {
		text += "\n*Simulated, not real:* " + escapeTo(oneLine(strings.Join(d.card.Simulated, ", ")), 400)
	}
	d.context("footer", markdown(text, maxField))
}

func field(name, value string) *slack.TextBlockObject {
	return markdown("*"+name+"*\n"+escapeTo(orDash(oneLine(value)), maxValue), maxField)
}
