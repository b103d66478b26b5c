package slack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Delivery is one click on its way to the app.
type Delivery struct {
	At       time.Time
	UserID   string
	ActionID string
	// Via is "socket" or "http".
	Via string
	// Error is "" when the app acknowledged in time.
	Error string
}

// deliveries remembers clicks and the response addresses given out with them.
type deliveries struct {
	mu        sync.Mutex
	all       []Delivery
	responses map[string]*response
}

// response is a response_url: five uses within thirty minutes.
type response struct {
	channel, ts, user string
	uses              int
	until             time.Time
}

// Click presses a button as a person would, confirming when asked. It returns
// when the app acknowledged. When it does not, the person sees a note and the error
// says why; Slack does not press again.
func (s *Server) Click(ctx context.Context, userID, messageTS, actionID string) error {
	user, ok := s.user(userID)
	if !ok {
		return fmt.Errorf("clicking %s: there is no user %s", actionID, userID)
	}
	message, button, err := s.findButton(messageTS, actionID)
	if err != nil {
		return err
	}
	payload := s.payload(user, message, button)
	delivery := Delivery{At: s.opts.Now(), UserID: userID, ActionID: actionID, Via: "socket"}
	if s.hub.count() == 0 && s.opts.InteractionsURL != "" {
		delivery.Via = "http"
		err = s.deliverHTTP(ctx, payload)
	} else {
		err = s.hub.deliver(ctx, payload)
	}
	if err != nil {
		delivery.Error = err.Error()
		s.room.add(Message{Channel: message.Channel, User: "USLACKBOT", EphemeralTo: userID, Text: "This app did not respond. Your click was not delivered; try it again."})
		err = fmt.Errorf("clicking %s as %s: %w", actionID, userID, err)
	}
	s.clicks.mu.Lock()
	defer s.clicks.mu.Unlock()
	s.clicks.all = append(s.clicks.all, delivery)
	return err
}

// Deliveries lists all clicks, oldest first.
func (s *Server) Deliveries() []Delivery {
	s.clicks.mu.Lock()
	defer s.clicks.mu.Unlock()
	return append([]Delivery(nil), s.clicks.all...)
}

func (s *Server) findButton(ts, actionID string) (Message, Button, error) {
	found := s.room.list(func(m *Message) bool { return m.TS == ts && m.EphemeralTo == "" })
	if len(found) == 0 {
		return Message{}, Button{}, fmt.Errorf("clicking %s: there is no message %s", actionID, ts)
	}
	for _, b := range found[0].Buttons() {
		if b.ActionID == actionID {
			return found[0], b, nil
		}
	}
	return Message{}, Button{}, fmt.Errorf("clicking %s: message %s has no such button", actionID, ts)
}

// payload is a block_actions interaction in Slack's shape.
func (s *Server) payload(user User, m Message, b Button) map[string]any {
	channel, _ := s.channel(m.Channel) // the message is in it
	now := s.opts.Now()
	stamp := fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000)
	action := map[string]any{"action_id": b.ActionID, "block_id": b.BlockID, "type": "button", "action_ts": stamp, "value": b.Value,
		"text": map[string]any{"type": "plain_text", "text": b.Text, "emoji": true}}
	if b.Style != "" {
		action["style"] = b.Style
	}
	container := map[string]any{"type": "message", "message_ts": m.TS, "channel_id": m.Channel, "is_ephemeral": false}
	if m.ThreadTS != "" {
		container["thread_ts"] = m.ThreadTS
	}
	return map[string]any{
		"type": "block_actions", "token": "deprecated", "api_app_id": s.opts.AppID, "trigger_id": stamp + "." + random(),
		"team":       map[string]any{"id": s.opts.TeamID, "domain": "lab"},
		"enterprise": nil, "is_enterprise_install": false,
		"user":      map[string]any{"id": user.ID, "username": user.Name, "name": user.Name, "team_id": s.teamOf(user)},
		"container": container,
		"channel":   map[string]any{"id": channel.ID, "name": channel.Name},
		"message":   s.wire(m, false), "state": map[string]any{"values": map[string]any{}},
		"response_url": s.responseURL(m, user), "actions": []any{action},
	}
}

// deliverHTTP posts the payload with Slack's signature and wants 200 in time.
func (s *Server) deliverHTTP(ctx context.Context, payload map[string]any) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encoding the payload: %w", err)
	}
	body := url.Values{"payload": {string(data)}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, s.opts.AckWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opts.InteractionsURL, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("reading the interactions address: %w", err)
	}
	s.sign(req.Header, body)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("posting the interaction: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read only
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("posting the interaction: the app answered %s", resp.Status)
	}
	return nil
}

func (s *Server) sign(header http.Header, body string) {
	stamp := strconv.FormatInt(s.opts.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.opts.SigningSecret))
	fmt.Fprintf(mac, "v0:%s:%s", stamp, body)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("X-Slack-Request-Timestamp", stamp)
	header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
}

func (s *Server) responseURL(m Message, user User) string {
	id := random()
	s.clicks.mu.Lock()
	defer s.clicks.mu.Unlock()
	if s.clicks.responses == nil {
		s.clicks.responses = map[string]*response{}
	}
	s.clicks.responses[id] = &response{channel: m.Channel, ts: m.TS, user: user.ID, until: s.opts.Now().Add(30 * time.Minute)}
	return s.URL() + "/actions/" + id
}

// serveResponse takes an answer to a click: a note for the person, a message
// for all, or a new look of the message.
func (s *Server) serveResponse(w http.ResponseWriter, r *http.Request) {
	target, ok := s.useResponse(r.PathValue("id"))
	if !ok {
		http.Error(w, "used_url", http.StatusNotFound)
		return
	}
	args, problem := arguments(w, r)
	c := &call{server: s, args: args}
	if problem == nil {
		problem = c.respond(target)
	}
	if problem != nil {
		http.Error(w, problem.code, http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, "ok")
}

func (s *Server) useResponse(id string) (response, bool) {
	s.clicks.mu.Lock()
	defer s.clicks.mu.Unlock()
	found, ok := s.clicks.responses[id]
	if !ok || found.uses >= 5 || s.opts.Now().After(found.until) {
		return response{}, false
	}
	found.uses++
	return *found, true
}

func (c *call) respond(to response) *apiError {
	if c.flag("replace_original") {
		_, _, problem := c.server.room.edit(to.channel, to.ts, func(m *Message) *apiError {
			changed := *m
			if problem := c.content(&changed); problem != nil {
				return problem
			}
			*m = changed
			return nil
		})
		return problem
	}
	m := Message{Channel: to.channel, User: c.server.opts.BotUser, EphemeralTo: to.user}
	if c.arg("response_type") == "in_channel" {
		m.EphemeralTo = ""
	}
	if problem := c.content(&m); problem != nil {
		return problem
	}
	c.server.room.add(m)
	return nil
}
