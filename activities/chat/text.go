package chat

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/slack-go/slack"
)

// Slack's limits, in UTF-16 units, which is the strictest way to count
// characters. docs.slack.dev/reference/block-kit
const (
	maxHeader       = 150
	maxSection      = 3000
	maxField        = 2000
	maxButtonText   = 75
	maxConfirmTitle = 100
	maxConfirmText  = 300
	// maxFallback is Slack's advice for the text beside the blocks; chat.update
	// refuses more.
	maxFallback = 4000
	// maxDiff bounds one preformatted block. Slack publishes no limit for rich
	// text; this is the one for sections, with room for the note of the cut.
	maxDiff = 2800
	// maxSentence and maxValue bound what is one sentence or one value, so that
	// the whole card stays far below what Slack takes in one message.
	maxSentence = 1000
	maxValue    = 250
	// maxProgress holds four suspects with long names.
	maxProgress = 400
	// maxEvidenceLine keeps five lines readable on a phone.
	maxEvidenceLine = 400
)

const ellipsis = "…"

// units counts a text as Slack does at its strictest.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}

// cut shortens a text to at most limit units and marks the cut.
func cut(s string, limit int) string {
	if units(s) <= limit {
		return s
	}
	head, _ := split(s, limit-units(ellipsis))
	return head + ellipsis
}

// split takes at most limit units off the front, never half a character.
func split(s string, limit int) (head, rest string) {
	used := 0
	for i, r := range s {
		used += max(1, utf16.RuneLen(r))
		if used > limit {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// clean drops what no text should carry: broken UTF-8 and control characters
// other than newline and tab.
func clean(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// oneLine is for names and sentences: any white space becomes one blank.
func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

var mrkdwnEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "`", "'")

// escape makes untrusted text safe inside mrkdwn: no mention, no link, and no
// backquote that could open or close a code block around other text.
func escape(s string) string { return mrkdwnEscaper.Replace(clean(s)) }

// escapeTo escapes and keeps within limit without cutting through an entity.
func escapeTo(s string, limit int) string {
	whole := escape(s)
	if units(whole) <= limit {
		return whole
	}
	var b strings.Builder
	room := limit - units(ellipsis)
	for _, r := range clean(s) {
		next := mrkdwnEscaper.Replace(string(r))
		if room -= units(next); room < 0 {
			break
		}
		b.WriteString(next)
	}
	return b.String() + ellipsis
}

// plain is a text object that Slack shows as it is.
func plain(s string, limit int) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, cut(orDash(clean(s)), limit), false, false)
}

// markdown is a text object of our own words; callers escape what is not ours.
func markdown(s string, limit int) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, cut(orDash(s), limit), false, true)
}

// orDash keeps empty text out of a message: Slack refuses it.
func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}
