package slack

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

//go:embed page.html
var pageHTML []byte

// pageRoutes serves the channel as a web page. The page acts as any person it
// likes; it is for one machine and its user.
func (s *Server) pageRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", local(s.servePage))
	mux.HandleFunc("GET /state", local(s.serveState))
	mux.HandleFunc("GET /changes", local(s.serveChanges))
	mux.HandleFunc("POST /click", local(s.serveClick))
}

// local refuses requests under another name than loopback's, so that no page
// of the internet can reach this one through a name that points here.
func local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this page is for this machine only", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(pageHTML) // the browser is gone; nobody is left to tell
}

// pageUser, pageChannel and pageMessage are what the page draws.
type pageUser struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	RealName string `json:"real_name"`
	Approver bool   `json:"approver"`
}

type pageChannel struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type pageMessage struct {
	Channel   string          `json:"channel"`
	TS        string          `json:"ts"`
	ThreadTS  string          `json:"thread_ts,omitempty"`
	User      string          `json:"user"`
	Text      string          `json:"text"`
	Blocks    json.RawMessage `json:"blocks,omitempty"`
	Edited    bool            `json:"edited,omitempty"`
	Ephemeral bool            `json:"ephemeral,omitempty"`
}

type pageState struct {
	Revision    int           `json:"revision"`
	Bot         pageUser      `json:"bot"`
	Users       []pageUser    `json:"users"`
	Channels    []pageChannel `json:"channels"`
	Messages    []pageMessage `json:"messages"`
	Connections int           `json:"connections"`
	HTTP        bool          `json:"http"`
}

// serveState is all that the person sees, in one piece: a lab's channel is
// small.
func (s *Server) serveState(w http.ResponseWriter, r *http.Request) {
	viewer := r.URL.Query().Get("user")
	revision, _ := s.room.watch()
	state := pageState{Revision: revision, Connections: s.hub.count(), HTTP: s.opts.InteractionsURL != "", Messages: []pageMessage{},
		Bot: pageUser{ID: s.opts.BotUser, Name: s.opts.BotName, RealName: s.opts.BotName}}
	for _, u := range s.opts.Users {
		state.Users = append(state.Users, pageUser{ID: u.ID, Name: u.Name, RealName: u.RealName, Approver: u.Approver})
	}
	for _, c := range s.opts.Channels {
		state.Channels = append(state.Channels, pageChannel{ID: c.ID, Name: c.Name})
	}
	for _, m := range s.room.list(func(m *Message) bool { return m.EphemeralTo == "" || m.EphemeralTo == viewer }) {
		state.Messages = append(state.Messages, pageMessage{Channel: m.Channel, TS: m.TS, ThreadTS: m.ThreadTS, User: m.User,
			Text: m.Text, Blocks: m.Blocks, Edited: m.Edited, Ephemeral: m.EphemeralTo != ""})
	}
	writeJSON(w, state)
}

// serveChanges tells the page, as server-sent events, that there is something
// new.
func (s *Server) serveChanges(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	beat := time.NewTicker(10 * time.Second)
	defer beat.Stop()
	for {
		revision, changed := s.room.watch()
		if _, err := fmt.Fprintf(w, "data: %d\n\n", revision); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-beat.C:
		case <-r.Context().Done():
			return
		}
	}
}

// serveClick presses a button for the person the page stands for. JSON is
// asked for so that no other page can post here without asking first.
func (s *Server) serveClick(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "send JSON", http.StatusUnsupportedMediaType)
		return
	}
	var click struct {
		User      string `json:"user"`
		MessageTS string `json:"message_ts"`
		ActionID  string `json:"action_id"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&click); err != nil {
		http.Error(w, "this is no click: "+err.Error(), http.StatusBadRequest)
		return
	}
	// The click counts even when the browser goes away while it is delivered.
	err := s.Click(context.WithoutCancel(r.Context()), click.User, click.MessageTS, click.ActionID)
	answer := map[string]any{"ok": err == nil}
	if err != nil {
		answer["error"] = err.Error()
	}
	writeJSON(w, answer)
}
