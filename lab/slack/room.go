package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Message is one message of a channel or thread.
type Message struct {
	Channel string
	// TS is the message's id and time, "1795478400.000100".
	TS string
	// ThreadTS is the parent's TS, "" for a message of the channel itself.
	ThreadTS string
	// User is the author: the bot, or "USLACKBOT" for Slack's own notes.
	User     string
	Text     string
	Blocks   json.RawMessage
	Metadata *Metadata
	Edited   bool
	// EphemeralTo is the only person who sees it, "" for everybody.
	EphemeralTo string
}

// Metadata is what an app attaches for programs to read.
type Metadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

// Button is a button of a message.
type Button struct {
	ActionID string
	BlockID  string
	Text     string
	Value    string
	Style    string
}

// Buttons lists the message's buttons in order.
func (m Message) Buttons() []Button {
	var blocks []struct {
		Type     string `json:"type"`
		BlockID  string `json:"block_id"`
		Elements []struct {
			Type     string          `json:"type"`
			ActionID string          `json:"action_id"`
			Value    string          `json:"value"`
			Style    string          `json:"style"`
			Text     json.RawMessage `json:"text"`
		} `json:"elements"`
	}
	if len(m.Blocks) == 0 || json.Unmarshal(m.Blocks, &blocks) != nil {
		return nil // blocks were checked when they came in
	}
	var buttons []Button
	for _, block := range blocks {
		for _, e := range block.Elements {
			if block.Type == "actions" && e.Type == "button" {
				var label struct{ Text string }
				_ = json.Unmarshal(e.Text, &label) // checked when it came in
				buttons = append(buttons, Button{ActionID: e.ActionID, BlockID: block.BlockID, Text: label.Text, Value: e.Value, Style: e.Style})
			}
		}
	}
	return buttons
}

// AllText is every text a reader sees in the message, block after block.
func (m Message) AllText() string {
	var blocks any
	if len(m.Blocks) == 0 || json.Unmarshal(m.Blocks, &blocks) != nil {
		return m.Text
	}
	var texts []string
	collectTexts(blocks, &texts)
	return strings.Join(texts, "\n")
}

// collectTexts walks keys in order, so that the result is always the same.
func collectTexts(v any, texts *[]string) {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			collectTexts(child, texts)
		}
	case map[string]any:
		if text, ok := v["text"].(string); ok {
			*texts = append(*texts, text)
		}
		for _, key := range []string{"text", "fields", "elements"} {
			if _, isText := v[key].(string); !isText {
				collectTexts(v[key], texts)
			}
		}
	}
}

// room keeps the messages of all channels, oldest first.
type room struct {
	now func() time.Time

	mu       sync.Mutex
	messages []*Message
	last     int64 // microseconds of the newest ts
	revision int
	changed  chan struct{} // closed and replaced at every change
}

func newRoom(now func() time.Time) *room { return &room{now: now, changed: make(chan struct{})} }

// stamp gives a ts later than all before. Callers hold mu.
func (r *room) stamp() string {
	r.last = max(r.last+1, r.now().UnixMicro())
	return fmt.Sprintf("%d.%06d", r.last/1e6, r.last%1e6)
}

func (r *room) touch() {
	r.revision++
	close(r.changed)
	r.changed = make(chan struct{})
}

// poke tells watchers that something beside the messages changed.
func (r *room) poke() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touch()
}

func (r *room) add(m Message) Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.TS = r.stamp()
	r.messages = append(r.messages, &m)
	r.touch()
	return m
}

// edit changes a message that everybody sees; false when there is none.
func (r *room) edit(channel, ts string, change func(*Message) *apiError) (Message, bool, *apiError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		if m.Channel == channel && m.TS == ts && m.EphemeralTo == "" {
			if problem := change(m); problem != nil {
				return *m, true, problem
			}
			m.Edited = true
			r.touch()
			return *m, true, nil
		}
	}
	return Message{}, false, nil
}

// list copies the messages that keep says yes to, oldest first.
func (r *room) list(keep func(*Message) bool) []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Message
	for _, m := range r.messages {
		if keep(m) {
			found = append(found, *m)
		}
	}
	return found
}

func (r *room) watch() (revision int, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision, r.changed
}

// Messages copies everything that was said, ephemeral notes too, oldest first.
func (s *Server) Messages() []Message { return s.room.list(func(*Message) bool { return true }) }

// Wait returns the newest message that fits, as soon as there is one.
func (s *Server) Wait(ctx context.Context, fits func(Message) bool) (Message, error) {
	for {
		_, changed := s.room.watch()
		messages := s.Messages()
		slices.Reverse(messages)
		for _, m := range messages {
			if fits(m) {
				return m, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, fmt.Errorf("waiting for a message among %d: %w", len(messages), ctx.Err())
		}
	}
}

// WaitForButtons returns the newest message that asks for a click.
func (s *Server) WaitForButtons(ctx context.Context) (Message, error) {
	return s.Wait(ctx, func(m Message) bool { return len(m.Buttons()) > 0 })
}
