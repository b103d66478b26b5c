package redact

import (
	"regexp"
	"strings"
)

// shape is one kind of secret. Groups named keep stay as they are.
type shape struct {
	kind string
	// hints are cheap literals (lower case); without one in the text the
	// expression is not tried.
	hints   []string
	pattern *regexp.Regexp
	replace string
}

// shapes are tried in order; those that know the issuer come first, so that
// the reader learns more than "secret". Formats are those the issuers publish.
var shapes = []shape{
	{"private-key", []string{"private key"}, regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), `[redacted:private-key]`},
	{"slack-token", []string{"xox", "xapp-"}, regexp.MustCompile(`\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}`), `[redacted:slack-token]`},
	{"slack-webhook", []string{"hooks.slack.com"}, regexp.MustCompile(`https://hooks\.slack\.com/\S+`), `[redacted:slack-webhook]`},
	{"github-token", []string{"gh", "github_pat_"}, regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`), `[redacted:github-token]`},
	{"aws-key", []string{"akia", "asia"}, regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), `[redacted:aws-key]`},
	{"huggingface-token", []string{"hf_"}, regexp.MustCompile(`\bhf_[A-Za-z0-9]{20,}`), `[redacted:huggingface-token]`},
	{"api-key", []string{"sk-"}, regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{20,}`), `[redacted:api-key]`},
	{"google-key", []string{"aiza"}, regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`), `[redacted:google-key]`},
	{"nvidia-key", []string{"nvapi-"}, regexp.MustCompile(`\bnvapi-[A-Za-z0-9_-]{20,}`), `[redacted:nvidia-key]`},
	{"jwt", []string{"eyj"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`), `[redacted:jwt]`},
	{"credentials", []string{"bearer ", "basic "}, regexp.MustCompile(`(?i)\b((?:bearer|basic) )[A-Za-z0-9._~+/=-]{12,}`), `${1}[redacted:credentials]`},
	{"url-password", []string{"://"}, regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(@)`), `${1}[redacted:url-password]${2}`},
	{"signed-url", []string{"signature=", "sig="}, regexp.MustCompile(`(?i)([?&](?:x-amz-signature|x-goog-signature|signature|sig|x-amz-security-token)=)[^&\s"']+`), `${1}[redacted:signed-url]`},
	{"docker-auth", []string{`"auth"`}, regexp.MustCompile(`("auth"\s*:\s*")[A-Za-z0-9+/=]{8,}(")`), `${1}[redacted:docker-auth]${2}`},
}

// assignment is NAME=VALUE, NAME: VALUE and "name": "value" where the name says
// that the value is secret.
var assignment = regexp.MustCompile(`(?i)(["']?\b[A-Za-z0-9_.-]*(?:secret|token|passw(?:or)?d|api[_-]?key|apikey|access[_-]?key|credentials?|private[_-]?key)[A-Za-z0-9_-]*["']?\s*[=:]\s*)("[^"\n]+"|'[^'\n]+'|[^\s,;&"'}\])]+)`)

var assignmentHints = []string{"secret", "token", "passw", "key", "credential"}

// String takes secrets out of a text of any number of lines.
func String(s string) string {
	lower := strings.ToLower(s)
	for _, shape := range shapes {
		if hinted(lower, shape.hints) {
			s = shape.pattern.ReplaceAllString(s, shape.replace)
		}
	}
	if hinted(lower, assignmentHints) {
		s = assignment.ReplaceAllStringFunc(s, redactAssignment)
	}
	return s
}

func hinted(lower string, hints []string) bool {
	for _, hint := range hints {
		if strings.Contains(lower, hint) {
			return true
		}
	}
	return false
}

// redactAssignment keeps the name, and the value where it is plainly none:
// counts ("tokens/s: 98304"), booleans, paths to where a secret lies.
func redactAssignment(match string) string {
	parts := assignment.FindStringSubmatch(match)
	name, value := parts[1], parts[2]
	if harmless(name, strings.Trim(value, `"'`)) {
		return match
	}
	quote := ""
	if value[0] == '"' || value[0] == '\'' {
		quote = value[:1]
	}
	return name + quote + "[redacted:secret]" + quote
}

var (
	number     = regexp.MustCompile(`^[-+]?[0-9][0-9.,_]*(?:[eE][-+]?[0-9]+)?[A-Za-z%/]{0,4}$`)
	countNames = regexp.MustCompile(`(?i)tokens|token_?(?:s|id|count|len|per|num)|(?:num|max|min|n|total|per|pad|eos|bos|unk)_?-?tokens?|keys?_?(?:value|len|dim|size)|tokeniz`)
	plainWords = regexp.MustCompile(`(?i)^(?:true|false|none|null|nil|yes|no|unset|required|missing|invalid|expired)$`)
)

func harmless(name, value string) bool {
	switch {
	case value == "" || plainWords.MatchString(value) || strings.HasPrefix(value, "[redacted:"):
		return true
	case countNames.MatchString(name):
		return true
	case number.MatchString(value) && len(value) < 8:
		return true
	}
	return strings.HasPrefix(value, "/") && !strings.Contains(value, "=") // a path to a file
}

// Env redacts an environment variable's value by its name, and by its shape.
func Env(name, value string) string {
	if strings.HasPrefix(value, "[redacted:") {
		return value
	}
	if secretName.MatchString(name) && !harmless(name, value) {
		return "[redacted:secret]"
	}
	return String(value)
}

var secretName = regexp.MustCompile(`(?i)secret|token|passw(?:or)?d|api_?key|access_?key|credential|private_?key|_auth$|_dsn$|_key$`)
