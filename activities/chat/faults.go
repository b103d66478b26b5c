package chat

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/slack-go/slack"

	"gpumedic/incident"
)

// RetryAfter is how long Slack asked us to wait, 0 when it did not say.
func RetryAfter(err error) time.Duration {
	var limited *slack.RateLimitedError
	if errors.As(err, &limited) {
		return limited.RetryAfter
	}
	return 0
}

// answer is what a code of the Web API means for us.
type answer struct {
	kind incident.Kind
	next string
}

const (
	inviteBot = "invite the bot into the channel with /invite"
	newToken  = "put a valid bot token (xoxb-) into the configuration"
	addScope  = "add the scope to the Slack app and install it again"
)

// answers holds the codes that people can do something about.
var answers = map[string]answer{
	"not_in_channel":         {incident.Forbidden, inviteBot},
	"channel_not_found":      {incident.Missing, "check the channel id; a private channel is only seen after /invite"},
	"is_archived":            {incident.Conflict, "the channel is archived; choose another one"},
	"invalid_auth":           {incident.Forbidden, newToken},
	"not_authed":             {incident.Forbidden, newToken},
	"token_revoked":          {incident.Forbidden, newToken},
	"token_expired":          {incident.Forbidden, newToken},
	"account_inactive":       {incident.Forbidden, "the app was removed from the workspace; install it again"},
	"not_allowed_token_type": {incident.Forbidden, newToken},
	"missing_scope":          {incident.Forbidden, addScope},
	"no_permission":          {incident.Forbidden, addScope},
	"restricted_action":      {incident.Forbidden, "a workspace rule forbids posting there; ask its administrators"},
	"cant_update_message":    {incident.Forbidden, "the message was posted with another token"},
	"edit_window_closed":     {incident.Conflict, "the workspace forbids editing messages of this age"},
	"message_not_found":      {incident.Missing, "the message was deleted"},
	"thread_not_found":       {incident.Missing, "the message was deleted"},
	"msg_too_long":           {incident.Invalid, ""},
	"msg_blocks_too_long":    {incident.Invalid, ""},
	"no_text":                {incident.Invalid, ""},
	"invalid_blocks":         {incident.Invalid, ""},
	"invalid_blocks_format":  {incident.Invalid, ""},
	"ratelimited":            {incident.Unreachable, ""},
	"fatal_error":            {incident.Unreachable, ""},
	"internal_error":         {incident.Unreachable, ""},
	"service_unavailable":    {incident.Unreachable, ""},
	"team_added_to_org":      {incident.Unreachable, ""},
	"request_timeout":        {incident.TimedOut, ""},
}

// fault classifies an error of the Slack client. A *incident.Fault passes as
// it is.
func fault(err error, doing string) *incident.Fault {
	var known *incident.Fault
	if errors.As(err, &known) {
		return known
	}
	kind, next := classify(err)
	return &incident.Fault{Kind: kind, Doing: doing, Next: next, Err: scrub(explain(err))}
}

func classify(err error) (incident.Kind, string) {
	var code slack.SlackErrorResponse
	var status slack.StatusCodeError
	var limited *slack.RateLimitedError
	switch {
	case errors.As(err, &code):
		if a, ok := answers[code.Err]; ok {
			return a.kind, a.next
		}
		return incident.Invalid, ""
	case errors.As(err, &limited):
		return incident.Unreachable, ""
	case errors.As(err, &status):
		return kindOfStatus(status.Code), ""
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return incident.TimedOut, ""
	}
	return incident.Unreachable, "check that slack.com can be reached from here"
}

func kindOfStatus(code int) incident.Kind {
	switch {
	case code >= http.StatusInternalServerError, code == http.StatusTooManyRequests:
		return incident.Unreachable
	case code == http.StatusRequestTimeout:
		return incident.TimedOut
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return incident.Forbidden
	}
	return incident.Invalid
}

// explain adds the details that Slack sent with its code, which the code
// alone does not tell: which block is wrong, which scope is missing.
func explain(err error) error {
	var code slack.SlackErrorResponse
	if !errors.As(err, &code) {
		return err
	}
	switch {
	case code.Needed != "":
		return &detailed{err, "needs scope " + code.Needed}
	case len(code.ResponseMetadata.Messages) > 0:
		return &detailed{err, code.ResponseMetadata.Messages[len(code.ResponseMetadata.Messages)-1]}
	}
	return err
}

type detailed struct {
	err    error
	detail string
}

func (d *detailed) Error() string { return d.err.Error() + ", " + d.detail }
func (d *detailed) Unwrap() error { return d.err }

var token = regexp.MustCompile(`x(ox[a-z]|app)[-.][0-9A-Za-z.%-]+`)

// scrub keeps a token that found its way into an error's text out of logs,
// histories and reports.
func scrub(err error) error {
	text := err.Error()
	if !token.MatchString(text) {
		return err
	}
	return errors.New(token.ReplaceAllString(text, "[token]"))
}

// isCode says whether Slack answered with this code.
func isCode(err error, code string) bool {
	var response slack.SlackErrorResponse
	return errors.As(err, &response) && response.Err == code
}
