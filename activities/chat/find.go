package chat

import (
	"context"

	"github.com/slack-go/slack"

	"gpumedic/steps"
)

// eventType marks our messages in their metadata.
const eventType = "gpumedic"

// How far back an earlier attempt is looked for: pages of pageSize messages.
// Attempts follow each other within minutes, so this is generous.
const (
	pageSize = 200
	maxPages = 5
)

// marker is the metadata by which a repeated attempt finds this message.
func marker(key string) slack.MsgOption {
	return slack.MsgOptionMetadata(slack.SlackMetadata{EventType: eventType, EventPayload: map[string]any{"key": key}})
}

// findInChannel looks for a message of an earlier attempt. The zero value
// means there is none.
func (h *Hands) findInChannel(ctx context.Context, channel, key string) (steps.MessageRef, error) {
	return h.find(ctx, channel, key, func(cursor string) ([]slack.Message, string, error) {
		r, err := h.Client.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
			ChannelID: channel, Cursor: cursor, Limit: pageSize, IncludeAllMetadata: true,
		})
		if err != nil {
			return nil, "", err
		}
		return r.Messages, r.ResponseMetaData.NextCursor, nil
	})
}

// findInThread does the same among a message's replies.
func (h *Hands) findInThread(ctx context.Context, parent steps.MessageRef, key string) (steps.MessageRef, error) {
	return h.find(ctx, parent.Channel, key, func(cursor string) ([]slack.Message, string, error) {
		messages, _, next, err := h.Client.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
			ChannelID: parent.Channel, Timestamp: parent.TS, Cursor: cursor, Limit: pageSize, IncludeAllMetadata: true,
		})
		return messages, next, err
	})
}

// find turns pages until the key is seen. A bot that may not read the channel
// can still post; it then may post twice, which beats not asking at all.
func (h *Hands) find(ctx context.Context, channel, key string, page func(cursor string) ([]slack.Message, string, error)) (steps.MessageRef, error) {
	cursor := ""
	for range maxPages {
		messages, next, err := page(cursor)
		if isCode(err, "missing_scope") {
			h.Log.Warn("cannot look for an earlier attempt, a message may appear twice", "channel", channel, "reason", err.Error())
			return steps.MessageRef{}, nil
		}
		if err != nil {
			return steps.MessageRef{}, err
		}
		for _, message := range messages {
			if hasKey(message, key) {
				return steps.MessageRef{Channel: channel, TS: message.Timestamp}, nil
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	return steps.MessageRef{}, nil
}

func hasKey(m slack.Message, key string) bool {
	return m.Metadata.EventType == eventType && m.Metadata.EventPayload["key"] == key
}
