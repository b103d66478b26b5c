package slack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	maxConnections = 10
	ticketLife     = time.Minute
	pingEvery      = 5 * time.Second
	pongWithin     = 20 * time.Second
	writeWithin    = 5 * time.Second
)

// hub holds the Socket Mode connections and what waits for an acknowledgement.
type hub struct {
	opts    Options
	changed func() // called without mu when a connection comes or goes
	away    func() bool

	mu      sync.Mutex
	tickets map[string]time.Time
	conns   []*conn // oldest first
	next    int
	waiting map[string]chan struct{}
	strange int
	closed  bool
	serving sync.WaitGroup // guarded by closed
}

// conn is one connection; writes of one message at a time.
type conn struct {
	socket *websocket.Conn
	mu     sync.Mutex
}

// newHub makes a hub; away says whether Slack is away and is called without mu.
func newHub(opts Options, changed func(), away func() bool) *hub {
	return &hub{opts: opts, changed: changed, away: away, tickets: map[string]time.Time{}, waiting: map[string]chan struct{}{}}
}

func random() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ticket makes an address that works once.
func (h *hub) ticket(base string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conns) >= maxConnections {
		return "", false
	}
	ticket := random()
	h.tickets[ticket] = h.opts.Now()
	return base + "/link/?ticket=" + ticket + "&app_id=" + h.opts.AppID, true
}

func (h *hub) redeem(ticket string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	issued, ok := h.tickets[ticket]
	delete(h.tickets, ticket)
	return ok && h.opts.Now().Sub(issued) < ticketLife
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !s.hub.redeem(r.URL.Query().Get("ticket")) {
		http.Error(w, "the ticket was used before or never issued", http.StatusForbidden)
		return
	}
	// The ticket is the proof; slack-go names api.slack.com as its origin.
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade answered
	}
	s.hub.serve(r.Context(), &conn{socket: socket})
}

// serve greets and reads until the connection ends. It is the handler's
// goroutine; the one that pings ends with it.
func (h *hub) serve(ctx context.Context, c *conn) {
	defer func() { _ = c.socket.Close() }() // the other side may have closed it
	if !h.join(c) {
		return
	}
	defer h.leave(c)
	ctx, cancel := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	defer pinging.Wait()
	defer cancel()
	pinging.Go(func() { c.ping(ctx) })
	c.socket.SetReadLimit(20 * 1024) // Slack drops larger acknowledgements
	_ = c.socket.SetReadDeadline(time.Now().Add(pongWithin))
	c.socket.SetPongHandler(func(string) error { return c.socket.SetReadDeadline(time.Now().Add(pongWithin)) })
	for {
		_, data, err := c.socket.ReadMessage()
		if err != nil {
			return
		}
		h.acknowledge(data)
	}
}

// join adds the connection and says hello.
func (h *hub) join(c *conn) bool {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return false
	}
	h.serving.Add(1)
	h.conns = append(h.conns, c)
	n := len(h.conns)
	h.mu.Unlock()
	h.changed()
	if h.away() { // an outage began since the ticket was issued; it did not see this connection
		h.leave(c)
		return false
	}
	hello := map[string]any{"type": "hello", "num_connections": n, "connection_info": map[string]any{"app_id": h.opts.AppID},
		"debug_info": map[string]any{"host": "stand-in", "build_number": 1, "approximate_connection_time": 3600}}
	if err := c.write(hello); err != nil {
		h.leave(c)
		return false
	}
	return true
}

func (h *hub) leave(c *conn) {
	defer h.changed()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, other := range h.conns {
		if other == c {
			h.conns = append(h.conns[:i:i], h.conns[i+1:]...)
			h.serving.Done()
			return
		}
	}
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// close ends every connection for good and waits for them.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.closeAll()
	h.serving.Wait()
}

func (h *hub) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.socket.Close() // its reader notices and leaves
	}
}

func (c *conn) write(v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.socket.SetWriteDeadline(time.Now().Add(writeWithin)) // the write tells
	return c.socket.WriteJSON(v)
}

func (c *conn) ping(ctx context.Context) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		if err := c.socket.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(writeWithin)); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// acknowledge takes {"envelope_id": "..."}; anything else is noted.
func (h *hub) acknowledge(data []byte) {
	var ack struct {
		EnvelopeID string `json:"envelope_id"`
	}
	err := json.Unmarshal(data, &ack)
	h.mu.Lock()
	defer h.mu.Unlock()
	done, ok := h.waiting[ack.EnvelopeID]
	if err != nil || !ok {
		h.strange++
		return
	}
	delete(h.waiting, ack.EnvelopeID)
	close(done)
}

// pick takes the connections in turn.
func (h *hub) pick() (*conn, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.conns) == 0 {
		return nil, false
	}
	h.next++
	return h.conns[h.next%len(h.conns)], true
}

// deliver sends an interaction over one connection and waits for the
// acknowledgement. Like Slack, it does not send it again.
func (h *hub) deliver(ctx context.Context, payload map[string]any) error {
	c, ok := h.pick()
	if !ok {
		return fmt.Errorf("the app has no Socket Mode connection")
	}
	id := random()
	done := make(chan struct{})
	h.mu.Lock()
	h.waiting[id] = done
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting, id)
	}()
	envelope := map[string]any{"type": "interactive", "envelope_id": id, "accepts_response_payload": false, "payload": payload}
	if err := c.write(envelope); err != nil {
		return fmt.Errorf("sending envelope %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.AckWithin)
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("envelope %s was not acknowledged within %s", id, h.opts.AckWithin)
	}
}

// Connections is how many Socket Mode connections are open.
func (s *Server) Connections() int { return s.hub.count() }

// Strays counts acknowledgements of envelopes that were never sent or were
// acknowledged before, or too late.
func (s *Server) Strays() int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.hub.strange
}

// Refresh asks every connection to come again on a new address, as Slack does
// every few hours.
func (s *Server) Refresh() {
	s.hub.mu.Lock()
	conns := append([]*conn(nil), s.hub.conns...)
	s.hub.mu.Unlock()
	for _, c := range conns {
		if err := c.write(map[string]any{"type": "disconnect", "reason": "refresh_requested", "debug_info": map[string]any{"host": "stand-in"}}); err != nil {
			s.opts.Log.Debug("asking a connection to refresh", "error", err)
		}
	}
}
