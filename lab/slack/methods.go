package slack

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sizes of a message's text: chat.postMessage cuts, chat.update refuses.
const (
	maxPostText   = 40000
	maxUpdateText = 4000
)

func authTest(c *call) (map[string]any, *apiError) {
	o := c.server.opts
	return map[string]any{"url": c.server.URL() + "/", "team": "Lab", "team_id": o.TeamID, "user": o.BotName, "user_id": o.BotUser, "bot_id": botID(o), "is_enterprise_install": false}, nil
}

// botID is the id of the app's bot, beside the one of its user.
func botID(o Options) string { return "B" + strings.TrimPrefix(o.BotUser, "U") }

func openConnection(c *call) (map[string]any, *apiError) {
	url, ok := c.server.hub.ticket(strings.Replace(c.server.URL(), "http://", "ws://", 1))
	if !ok {
		return nil, fail("too_many_websockets")
	}
	return map[string]any{"url": url}, nil
}

// place finds the channel a bot wants to write to.
func (c *call) place() (Channel, *apiError) {
	id := c.arg("channel")
	channel, ok := c.server.channel(id)
	if !ok { // chat.postMessage takes names too
		for _, ch := range c.server.opts.Channels {
			if strings.TrimPrefix(id, "#") == ch.Name {
				channel, ok = ch, true
			}
		}
	}
	switch {
	case !ok:
		return channel, fail("channel_not_found")
	case channel.BotAway:
		return channel, fail("not_in_channel")
	case channel.Archived:
		return channel, fail("is_archived")
	}
	return channel, nil
}

// content reads text, blocks and metadata into m. Blocks that are not sent
// stay as they are.
func (c *call) content(m *Message) *apiError {
	m.Text = c.arg("text")
	if raw := c.arg("blocks"); raw != "" {
		blocks, problem := checkBlocks(raw)
		if problem != nil {
			return problem
		}
		m.Blocks = blocks
	}
	if m.Text == "" && (len(m.Blocks) == 0 || string(m.Blocks) == "[]") {
		return fail("no_text")
	}
	if c.arg("attachments") != "" {
		return failWith("invalid_arguments", map[string]any{"response_metadata": map[string]any{"messages": []string{"[ERROR] the stand-in knows no attachments, use blocks"}}})
	}
	return c.metadata(m)
}

func (c *call) metadata(m *Message) *apiError {
	raw := c.arg("metadata")
	if raw == "" {
		return nil
	}
	var meta Metadata
	if err := json.Unmarshal([]byte(raw), &meta); err != nil {
		return fail("invalid_metadata_format")
	}
	if meta.EventType == "" || meta.EventPayload == nil {
		return fail("invalid_metadata_schema")
	}
	m.Metadata = &meta
	return nil
}

var tsPattern = regexp.MustCompile(`^[0-9]+\.[0-9]{6}$`)

// parent finds the message a reply hangs under, for replies to replies too.
func (c *call) parent(channel, ts string) (string, *apiError) {
	if !tsPattern.MatchString(ts) {
		return "", fail("invalid_thread_ts")
	}
	found := c.server.room.list(func(m *Message) bool { return m.Channel == channel && m.TS == ts && m.EphemeralTo == "" })
	if len(found) == 0 {
		return "", fail("thread_not_found")
	}
	if found[0].ThreadTS != "" {
		return found[0].ThreadTS, nil
	}
	return ts, nil
}

func postMessage(c *call) (map[string]any, *apiError) {
	channel, problem := c.place()
	if problem != nil {
		return nil, problem
	}
	m := Message{Channel: channel.ID, User: c.server.opts.BotUser}
	if problem := c.content(&m); problem != nil {
		return nil, problem
	}
	if runes := []rune(m.Text); len(runes) > maxPostText {
		m.Text = string(runes[:maxPostText])
	}
	if ts := c.arg("thread_ts"); ts != "" {
		if m.ThreadTS, problem = c.parent(channel.ID, ts); problem != nil {
			return nil, problem
		}
	}
	m = c.server.room.add(m)
	return map[string]any{"channel": m.Channel, "ts": m.TS, "message": c.server.wire(m, true)}, nil
}

func postEphemeral(c *call) (map[string]any, *apiError) {
	channel, problem := c.place()
	if problem != nil {
		return nil, problem
	}
	user, ok := c.server.user(c.arg("user"))
	if !ok || user.Deleted {
		return nil, fail("user_not_in_channel")
	}
	m := Message{Channel: channel.ID, User: c.server.opts.BotUser, EphemeralTo: user.ID}
	if problem := c.content(&m); problem != nil {
		return nil, problem
	}
	m = c.server.room.add(m)
	return map[string]any{"message_ts": m.TS}, nil
}

// updateMessage changes only the bot's own messages.
func updateMessage(c *call) (map[string]any, *apiError) {
	channel, ok := c.server.channel(c.arg("channel")) // ids only
	if !ok {
		return nil, fail("channel_not_found")
	}
	if units(c.arg("text")) > maxUpdateText {
		return nil, fail("msg_too_long")
	}
	m, found, problem := c.server.room.edit(channel.ID, c.arg("ts"), func(m *Message) *apiError {
		if m.User != c.server.opts.BotUser {
			return fail("cant_update_message")
		}
		changed := *m
		if problem := c.content(&changed); problem != nil {
			return problem
		}
		*m = changed
		return nil
	})
	if !found {
		return nil, fail("message_not_found")
	}
	if problem != nil {
		return nil, problem
	}
	return map[string]any{"channel": m.Channel, "ts": m.TS, "text": m.Text, "message": c.server.wire(m, true)}, nil
}

// history lists a channel's messages, newest first, replies left out.
func history(c *call) (map[string]any, *apiError) {
	channel, problem := c.readable()
	if problem != nil {
		return nil, problem
	}
	messages := c.server.room.list(func(m *Message) bool {
		return m.Channel == channel.ID && m.ThreadTS == "" && m.EphemeralTo == "" && c.inRange(m.TS)
	})
	slices.Reverse(messages)
	return c.page(messages)
}

// replies lists a thread, the parent first.
func replies(c *call) (map[string]any, *apiError) {
	channel, problem := c.readable()
	if problem != nil {
		return nil, problem
	}
	parent, problem := c.parent(channel.ID, c.arg("ts"))
	if problem != nil {
		return nil, fail("thread_not_found")
	}
	return c.page(c.server.room.list(func(m *Message) bool {
		return m.Channel == channel.ID && m.EphemeralTo == "" && (m.TS == parent || m.ThreadTS == parent && c.inRange(m.TS))
	}))
}

func (c *call) readable() (Channel, *apiError) {
	channel, ok := c.server.channel(c.arg("channel"))
	switch {
	case !ok:
		return channel, fail("channel_not_found")
	case channel.BotAway:
		return channel, fail("not_in_channel")
	}
	return channel, nil
}

// inRange compares as text: a ts has the same number of digits for centuries.
func (c *call) inRange(ts string) bool {
	oldest, latest := c.arg("oldest"), c.arg("latest")
	return (oldest == "" || ts > oldest || c.flag("inclusive") && ts == oldest) &&
		(latest == "" || ts < latest || c.flag("inclusive") && ts == latest)
}

// page cuts one page; the cursor is the place to go on from.
func (c *call) page(messages []Message) (map[string]any, *apiError) {
	limit, from := 100, 0
	if s := c.arg("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 999 {
			return nil, fail("invalid_limit")
		}
		limit = n
	}
	if s := c.arg("cursor"); s != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(s, "at-"))
		if err != nil || n < 0 || n > len(messages) || !strings.HasPrefix(s, "at-") {
			return nil, fail("invalid_cursor")
		}
		from = n
	}
	end, next := min(from+limit, len(messages)), ""
	if end < len(messages) {
		next = "at-" + strconv.Itoa(end)
	}
	wires := []any{}
	for _, m := range messages[from:end] {
		wires = append(wires, c.server.wire(m, c.flag("include_all_metadata")))
	}
	return map[string]any{"messages": wires, "has_more": next != "", "response_metadata": map[string]any{"next_cursor": next}}, nil
}

// wire is a message as the Web API and payloads show it.
func (s *Server) wire(m Message, metadata bool) map[string]any {
	wire := map[string]any{"type": "message", "ts": m.TS, "user": m.User, "text": m.Text, "team": s.opts.TeamID}
	if m.User == s.opts.BotUser {
		wire["bot_id"], wire["app_id"] = botID(s.opts), s.opts.AppID
	}
	if len(m.Blocks) > 0 {
		wire["blocks"] = m.Blocks
	}
	if m.ThreadTS != "" {
		wire["thread_ts"] = m.ThreadTS
	}
	if m.Edited {
		wire["edited"] = map[string]any{"user": m.User, "ts": m.TS}
	}
	if metadata && m.Metadata != nil {
		wire["metadata"] = m.Metadata
	}
	return wire
}

func conversationInfo(c *call) (map[string]any, *apiError) {
	channel, ok := c.server.channel(c.arg("channel"))
	if !ok {
		return nil, fail("channel_not_found")
	}
	return map[string]any{"channel": map[string]any{
		"id": channel.ID, "name": channel.Name, "is_channel": true, "is_member": !channel.BotAway, "is_archived": channel.Archived,
	}}, nil
}

func userInfo(c *call) (map[string]any, *apiError) {
	user, ok := c.server.user(c.arg("user"))
	if !ok {
		return nil, fail("user_not_found")
	}
	return map[string]any{"user": map[string]any{
		"id": user.ID, "team_id": c.server.teamOf(user), "name": user.Name, "real_name": user.RealName, "deleted": user.Deleted,
		"is_bot": false, "is_restricted": user.Restricted, "is_ultra_restricted": user.UltraRestricted,
	}}, nil
}

func (s *Server) teamOf(user User) string {
	if user.TeamID != "" {
		return user.TeamID
	}
	return s.opts.TeamID
}
