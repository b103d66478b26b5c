package clicks

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"
)

// handle does one click's work and tells the person how it went.
func (r *Receiver) handle(ctx context.Context, click Click) {
	ctx, cancel := context.WithTimeout(ctx, handleWithin)
	defer cancel()
	log := r.opts.Log.With("incident", click.Incident, "user", click.UserID, "action", string(click.Action))
	var blocks []slack.Block
	text, err := r.ask(ctx, click)
	switch {
	case err != nil:
		log.Error("a click had no effect", "error", err)
		text = fmt.Sprintf("Your click had no effect: %s. Try again, or use gpumedic show %s.", err, click.Incident)
		blocks = sections(text)
	case click.Action == Evidence:
		blocks = listing(text)
	default:
		log.Info("a vote was answered", "answer", text)
		blocks = sections(text)
	}
	if err := r.whisper(ctx, click, text, blocks); err != nil {
		log.Warn("the answer to a click could not be shown", "error", err)
	}
}

func (r *Receiver) ask(ctx context.Context, click Click) (string, error) {
	if click.Action == Evidence {
		return r.opts.Sink.Evidence(ctx, click)
	}
	return r.opts.Sink.Vote(ctx, click)
}

// whisper shows a note only to the person who clicked.
func (r *Receiver) whisper(ctx context.Context, click Click, text string, blocks []slack.Block) error {
	fallback, _ := cutAt(text, maxFallback)
	_, err := r.opts.Client.PostEphemeralContext(ctx, click.Channel, click.UserID,
		slack.MsgOptionText(fallback, true), slack.MsgOptionBlocks(blocks...))
	return err
}

// Sizes in bytes, which are never fewer than the characters Slack counts.
const (
	maxFallback = 300
	maxPart     = 2900
	maxParts    = 4
)

// sections shows a sentence as plain text, so that nothing in it is a mention.
func sections(text string) []slack.Block {
	text, _ = cutAt(text, maxPart)
	return []slack.Block{slack.NewSectionBlock(slack.NewTextBlockObject(slack.PlainTextType, orDash(text), false, false), nil, nil)}
}

// listing shows longer text as it is, in a fixed pitch.
func listing(text string) []slack.Block {
	var blocks []slack.Block
	for len(blocks) < maxParts {
		var part string
		part, text = cutAt(text, maxPart)
		element := slack.NewRichTextSectionTextElement(orDash(part), nil)
		blocks = append(blocks, slack.NewRichTextBlock("", &slack.RichTextPreformatted{Type: slack.RTEPreformatted, Elements: []slack.RichTextSectionElement{element}}))
		if text == "" {
			return blocks
		}
	}
	more := slack.NewTextBlockObject(slack.PlainTextType, "Cut here; the rest is in the report.", false, false)
	return append(blocks, slack.NewContextBlock("", more))
}

// cutAt takes at most limit bytes off the front, whole lines if it can and
// never half a character.
func cutAt(text string, limit int) (head, rest string) {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= limit {
		return text, ""
	}
	end := limit
	for !utf8.RuneStart(text[end]) {
		end--
	}
	if i := strings.LastIndexByte(text[:end], '\n'); i > 0 {
		return text[:i], text[i+1:]
	}
	return text[:end], text[end:]
}

func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}
