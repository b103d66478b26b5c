package chat

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/slack-go/slack"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Hands speaks with one bot token. Its methods may be repeated: they find what
// an earlier attempt posted.
type Hands struct {
	Client *slack.Client
	Log    hclog.Logger
	// Repeat says whether this call may be a repetition of an earlier one, for
	// story lines, which are many; nil means it always may. A card is always
	// looked for.
	Repeat func(context.Context) bool
}

var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{2,20}$`)

// PostCard posts the card, or rewrites the message at p.Ref or the one that
// an earlier call posted under the same key. A message that somebody deleted is posted
// anew. The errors are *incident.Fault.
func (h *Hands) PostCard(ctx context.Context, p steps.PostCardParams) (steps.PostCardResult, error) {
	doing := "posting the card of " + p.Card.Incident
	if p.Ref.TS != "" {
		doing = "rewriting the card of " + p.Card.Incident
	} else if err := checkChannel(p.Channel, doing); err != nil {
		return steps.PostCardResult{}, err
	}
	blocks, err := Blocks(p.Card)
	if err != nil {
		return steps.PostCardResult{}, err
	}
	ref, err := h.placeCard(ctx, p, blocks)
	if err != nil {
		return steps.PostCardResult{}, fault(err, doing)
	}
	if err := h.wholeDiff(ctx, ref, p.Card); err != nil {
		return steps.PostCardResult{}, fault(err, "adding the whole diff to the thread of "+p.Card.Incident)
	}
	return steps.PostCardResult{Ref: ref}, nil
}

// placeCard brings the blocks into the incident's one message.
func (h *Hands) placeCard(ctx context.Context, p steps.PostCardParams, blocks []slack.Block) (steps.MessageRef, error) {
	look := []slack.MsgOption{
		slack.MsgOptionText(Fallback(p.Card), false), slack.MsgOptionBlocks(blocks...),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(),
	}
	if p.Ref.TS != "" {
		if err := h.rewrite(ctx, p.Ref, look); !gone(err) {
			return p.Ref, err
		}
		h.Log.Warn("the incident's message is gone, posting a new one", "incident", p.Card.Incident)
	}
	channel := cmp.Or(p.Channel, p.Ref.Channel)
	found, err := h.findInChannel(ctx, channel, p.Key)
	if err != nil {
		return found, err
	}
	if found.TS != "" {
		if err := h.rewrite(ctx, found, look); !gone(err) {
			return found, err
		}
	}
	return h.post(ctx, channel, append(look, marker(p.Key)))
}

func gone(err error) bool { return isCode(err, "message_not_found") }

func (h *Hands) rewrite(ctx context.Context, ref steps.MessageRef, look []slack.MsgOption) error {
	_, _, _, err := h.Client.UpdateMessageContext(ctx, ref.Channel, ref.TS, look...)
	return err
}

func (h *Hands) post(ctx context.Context, channel string, options []slack.MsgOption) (steps.MessageRef, error) {
	channel, ts, err := h.Client.PostMessageContext(ctx, channel, options...)
	return steps.MessageRef{Channel: channel, TS: ts}, err
}

// maxDiffParts bounds the thread: what is longer is in the report.
const maxDiffParts = 12

// wholeDiff puts a diff that the card had to cut into the thread, once per
// plan. The card asks for a vote, so what is voted on must be readable here.
func (h *Hands) wholeDiff(ctx context.Context, ref steps.MessageRef, card steps.Card) error {
	if !card.Asking || card.Plan == nil {
		return nil
	}
	if _, rest := splitLines(clean(card.Plan.Diff), maxDiff); rest == "" {
		return nil
	}
	for _, part := range diffParts(card.Plan.Diff, "plan/"+card.Plan.Hash) {
		if _, err := h.reply(ctx, ref, part, true); err != nil {
			return err
		}
	}
	return nil
}

// PostStory adds lines to the thread of p.Ref, and calls the users in
// p.Mention, nobody else: names inside the lines stay text.
func (h *Hands) PostStory(ctx context.Context, p steps.PostStoryParams) (steps.PostStoryResult, error) {
	doing := "adding to the thread of message " + p.Ref.TS
	if p.Ref.TS == "" {
		return steps.PostStoryResult{}, incident.Faultf(incident.Invalid, nil, "adding to a thread: there is no message yet")
	}
	if err := checkChannel(p.Ref.Channel, doing); err != nil {
		return steps.PostStoryResult{}, err
	}
	ref, err := h.reply(ctx, p.Ref, h.storyPart(p), h.Repeat == nil || h.Repeat(ctx))
	if err != nil {
		return steps.PostStoryResult{}, fault(err, doing)
	}
	return steps.PostStoryResult{Ref: ref}, nil
}

// reply posts into the thread unless look is set and the part is there.
func (h *Hands) reply(ctx context.Context, parent steps.MessageRef, p part, look bool) (steps.MessageRef, error) {
	if look {
		found, err := h.findInThread(ctx, parent, p.key)
		if err != nil || found.TS != "" {
			return found, err
		}
	}
	return h.post(ctx, parent.Channel, []slack.MsgOption{
		slack.MsgOptionText(p.fallback, false), slack.MsgOptionBlocks(p.blocks...), slack.MsgOptionTS(parent.TS), marker(p.key),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(),
	})
}

// mentions gives "<@U1> <@U2>" for ids that are ids. A wrong one is a mistake
// of the configuration; it must not keep the others from being called.
func (h *Hands) mentions(ids []string) string {
	var calls []string
	for _, id := range ids {
		if !userID.MatchString(id) {
			h.Log.Warn("not a Slack user id, nobody is mentioned for it", "user", id)
			continue
		}
		calls = append(calls, "<@"+id+">")
	}
	return strings.Join(calls, " ")
}

func checkChannel(id, doing string) error {
	if channelID.MatchString(id) {
		return nil
	}
	return &incident.Fault{Kind: incident.Invalid, Doing: doing, Err: fmt.Errorf("%q is not a channel id", id),
		Next: "set slack_channel to the id that starts with C, at the foot of the channel's About tab"}
}
