package slack

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxBody bounds a call of the Web API.
const maxBody = 1 << 20

// apiError is an answer with ok:false.
type apiError struct {
	code  string
	extra map[string]any
}

func fail(code string) *apiError { return &apiError{code: code} }

func failWith(code string, extra map[string]any) *apiError {
	return &apiError{code: code, extra: extra}
}

// call is one call of the Web API, its arguments as strings whatever way they
// came.
type call struct {
	server *Server
	args   url.Values
}

func (c *call) arg(name string) string { return c.args.Get(name) }

func (c *call) flag(name string) bool {
	v := c.arg(name)
	return v == "1" || v == "true"
}

// method is one method of the Web API.
type method struct {
	// scope is what the bot token needs, "" for none.
	scope string
	// app methods take the app-level token, all others the bot token.
	app    bool
	answer func(*call) (map[string]any, *apiError)
}

var methods = map[string]method{
	"auth.test":             {answer: authTest},
	"apps.connections.open": {app: true, answer: openConnection},
	"chat.postMessage":      {scope: "chat:write", answer: postMessage},
	"chat.postEphemeral":    {scope: "chat:write", answer: postEphemeral},
	"chat.update":           {scope: "chat:write", answer: updateMessage},
	"conversations.history": {scope: "channels:history", answer: history},
	"conversations.replies": {scope: "channels:history", answer: replies},
	"conversations.info":    {scope: "channels:read", answer: conversationInfo},
	"users.info":            {scope: "users:read", answer: userInfo},
}

// allScopes is what a bot needs for every method above.
var allScopes = []string{"chat:write", "channels:history", "channels:read", "users:read"}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	outage, retryAfter := s.trouble()
	switch {
	case outage == Failing:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<html><body>Server Error</body></html>")
		return
	case retryAfter > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int((retryAfter+999_999_999)/1_000_000_000)))
		w.WriteHeader(http.StatusTooManyRequests)
		writeJSON(w, map[string]any{"ok": false, "error": "ratelimited"})
		return
	case outage == Erring:
		writeJSON(w, map[string]any{"ok": false, "error": "internal_error"})
		return
	}
	answer, problem := s.answer(w, r)
	if problem != nil {
		answer = map[string]any{}
		for key, value := range problem.extra {
			answer[key] = value
		}
		answer["error"] = problem.code
		s.opts.Log.Debug("refused a call", "method", r.PathValue("method"), "error", problem.code)
	}
	answer["ok"] = problem == nil
	writeJSON(w, answer)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // the client is gone; nobody is left to tell
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) (map[string]any, *apiError) {
	m, known := methods[r.PathValue("method")]
	if !known {
		return nil, fail("unknown_method")
	}
	args, problem := arguments(w, r)
	if problem != nil {
		return nil, problem
	}
	if problem := s.authorise(m, bearer(r, args)); problem != nil {
		return nil, problem
	}
	return m.answer(&call{server: s, args: args})
}

// arguments reads a form or a JSON object, as Slack takes both.
func arguments(w http.ResponseWriter, r *http.Request) (url.Values, *apiError) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // a kind that cannot be read is an unknown one
	switch kind {
	case "application/json":
		var object map[string]any
		if err := json.NewDecoder(r.Body).Decode(&object); err != nil && !errors.Is(err, io.EOF) {
			return nil, fail("invalid_json")
		}
		return flatten(object), nil
	case "application/x-www-form-urlencoded", "":
		if err := r.ParseForm(); err != nil {
			return nil, fail("invalid_form_data")
		}
		return r.Form, nil
	}
	return nil, fail("invalid_post_type")
}

func flatten(object map[string]any) url.Values {
	args := url.Values{}
	for key, value := range object {
		if s, ok := value.(string); ok {
			args.Set(key, s)
			continue
		}
		data, _ := json.Marshal(value) // it was JSON a moment ago
		args.Set(key, string(data))
	}
	return args
}

func bearer(r *http.Request, args url.Values) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	return args.Get("token")
}

// authorise wants the right kind of token, then the right token, then the
// scope.
func (s *Server) authorise(m method, token string) *apiError {
	want, wrong := s.opts.BotToken, s.opts.AppToken
	if m.app {
		want, wrong = wrong, want
	}
	switch token {
	case want:
	case "":
		return fail("not_authed")
	case wrong:
		return fail("not_allowed_token_type")
	default:
		return fail("invalid_auth")
	}
	scopes := s.opts.Scopes
	if scopes == nil {
		scopes = allScopes
	}
	if m.scope != "" && !slices.Contains(scopes, m.scope) {
		return failWith("missing_scope", map[string]any{"needed": m.scope, "provided": strings.Join(scopes, ",")})
	}
	return nil
}
