package redact

import (
	"regexp"
	"strings"
)

// shape is one kind of secret.
type shape struct {
	kind string
	// hints are cheap literals (lower case); without one in the text the
	// expression is not tried.
	hints   []string
	pattern *regexp.Regexp
	replace string
	// is, when set, has the last word about a match; it gets the whole match.
	is func(match string) bool
}

// shapes are tried in order; those that know the issuer come first, so that
// the reader learns more than "secret". Formats are those the issuers publish.
var shapes = []shape{
	{kind: "private-key", hints: []string{"private key"}, pattern: regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|[A-Za-z0-9+/=\\ \t]*)`), replace: `[redacted:private-key]`},
	{kind: "slack-token", hints: []string{"xox", "xapp-"}, pattern: regexp.MustCompile(`\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}`), replace: `[redacted:slack-token]`},
	{kind: "slack-webhook", hints: []string{"hooks.slack.com"}, pattern: regexp.MustCompile(`https://hooks\.slack\.com/[^\s"']+`), replace: `[redacted:slack-webhook]`},
	{kind: "github-token", hints: []string{"gh", "github_pat_"}, pattern: regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`), replace: `[redacted:github-token]`},
	{kind: "aws-key", hints: []string{"akia", "asia"}, pattern: regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), replace: `[redacted:aws-key]`},
	{kind: "huggingface-token", hints: []string{"hf_"}, pattern: regexp.MustCompile(`\bhf_[A-Za-z0-9]{20,}`), replace: `[redacted:huggingface-token]`},
	{kind: "wandb-key", hints: []string{"wandb"}, pattern: regexp.MustCompile(`(?i)(wandb(?:\.login| login)[^\n]{0,60}?\b)[0-9a-f]{40}\b`), replace: `${1}[redacted:wandb-key]`},
	{kind: "api-key", hints: []string{"sk-"}, pattern: regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{20,}`), replace: `[redacted:api-key]`, is: hasDigit},
	{kind: "google-key", hints: []string{"aiza"}, pattern: regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`), replace: `[redacted:google-key]`},
	{kind: "nvidia-key", hints: []string{"nvapi-"}, pattern: regexp.MustCompile(`\bnvapi-[A-Za-z0-9_-]{20,}`), replace: `[redacted:nvidia-key]`},
	{kind: "jwt", hints: []string{"eyj"}, pattern: regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`), replace: `[redacted:jwt]`},
	{kind: "credentials", hints: []string{"authorization"}, pattern: regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*["']?(?:bearer|basic|token|digest|negotiate) )[^\s"',]+`), replace: `${1}[redacted:credentials]`},
	{kind: "credentials", hints: []string{"bearer ", "basic "}, pattern: regexp.MustCompile(`(?i)\b((?:bearer|basic) )[A-Za-z0-9._~+/=-]{12,}`), replace: `${1}[redacted:credentials]`, is: hasDigit},
	{kind: "cookie", hints: []string{"cookie"}, pattern: regexp.MustCompile(`(?i)\b((?:set-)?cookie["']?: ["']?)[A-Za-z0-9_.-]+=[^\s"',]+(?:; [^\s"',]+)*`), replace: `${1}[redacted:cookie]`},
	{kind: "url-password", hints: []string{"://"}, pattern: regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(@)`), replace: `${1}[redacted:url-password]${2}`},
	{kind: "signed-url", hints: []string{"signature=", "sig=", "security-token="}, pattern: regexp.MustCompile(`(?i)([?&](?:x-amz-signature|x-goog-signature|signature|sig|x-amz-security-token)=)[^&\s"']+`), replace: `${1}[redacted:signed-url]`},
	{kind: "docker-auth", hints: []string{`"auth"`}, pattern: regexp.MustCompile(`("auth"\s*:\s*")[A-Za-z0-9+/=]{8,}(")`), replace: `${1}[redacted:docker-auth]${2}`},
}

// hasDigit tells a random text from words ("basic configuration").
func hasDigit(match string) bool { return strings.ContainsAny(match, "0123456789") }

// secretWords are parts of names whose values are secret.
const secretWords = `secret|token|passw(?:or)?d|passphrase|api[_-]?key|apikey|access[_-]?key|account[_-]?key|auth[_-]?key|signing[_-]?key|encryption[_-]?key|credentials?|private[_-]?key`

// assignment is NAME=VALUE, NAME: VALUE and "name": "value" where the name says
// that the value is secret. A quote that never ends ends with the text.
var assignment = regexp.MustCompile(`(?i)(\\?["']?\b[A-Za-z0-9_.-]*(?:` + secretWords + `)[A-Za-z0-9_-]*\\?["']?\s*[=:]\s*)(\\"[^"\n]+?\\"|"[^"\n]+(?:"|$)|'[^'\n]+(?:'|$)|[^\s,;&"'}\])]+)`)

// flag is a command line's --name VALUE, where the value stands alone.
var flag = regexp.MustCompile(`(?i)(^|\s)(--?[a-z0-9-]*(?:` + secretWords + `)[a-z0-9-]*\s+)([^\s"'-][^\s"']*)`)

var assignmentHints = []string{"secret", "token", "passw", "passphrase", "key", "credential"}

// String takes secrets out of a text of any number of lines.
func String(s string) string {
	lower := strings.ToLower(s)
	if strings.Contains(lower, "private key") && strings.Contains(s, "\n") {
		s = withoutKeys(s)
	}
	for _, shape := range shapes {
		if hinted(lower, shape.hints) {
			s = shape.redact(s)
		}
	}
	if hinted(lower, assignmentHints) {
		s = assignment.ReplaceAllStringFunc(s, redactAssignment)
		s = flag.ReplaceAllStringFunc(s, redactFlag)
	}
	return s
}

func (s shape) redact(text string) string {
	if s.is == nil {
		return s.pattern.ReplaceAllString(text, s.replace)
	}
	return s.pattern.ReplaceAllStringFunc(text, func(match string) string {
		if !s.is(match) {
			return match
		}
		return s.pattern.ReplaceAllString(match, s.replace)
	})
}

// withoutKeys takes private keys over several lines out of a text.
func withoutKeys(s string) string {
	var out strings.Builder
	var keys keyLines
	for line := range strings.Lines(s) {
		out.WriteString(keys.line(line))
	}
	return out.String()
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
	bare := strings.Trim(value, `\"'`)
	if harmless(name, bare) {
		return match
	}
	start := strings.Index(value, bare)
	return name + value[:start] + "[redacted:secret]" + value[start+len(bare):]
}

func redactFlag(match string) string {
	parts := flag.FindStringSubmatch(match)
	if harmless(parts[2], parts[3]) || !hasDigit(parts[3]) { // "--token is required"
		return match
	}
	return parts[1] + parts[2] + "[redacted:secret]"
}

var (
	aNumber    = regexp.MustCompile(`^[\[({]?[-+]?[0-9][0-9.,_]*(?:[eE][-+]?[0-9]+)?[A-Za-z%/]{0,4}$`)
	countNames = regexp.MustCompile(`(?i)tokens|token_?(?:id|count|len|per|num)|(?:num|max|min|n|total|per|pad|eos|bos|unk)_?-?tokens?`)
	tokenizers = regexp.MustCompile(`(?i)^["'\\]*[a-z0-9_.-]*tokeni[sz]`)
	otherWords = regexp.MustCompile(`(?i)secret|passw|passphrase|key|credential`)
	specials   = regexp.MustCompile(`^(?:<[^<>]{1,40}>?|\[[A-Z_]{1,12}\]?)$`) // a model's own tokens: <pad>, [CLS]
	plainWords = regexp.MustCompile(`(?i)^(?:true|false|none|null|nil|yes|no|unset|required|missing|invalid|expired)$`)
	pathNames  = regexp.MustCompile(`(?i)(?:path|file|dir)["'\\]*\s*[=:]?\s*$`)
)

// harmless says that a value under a secret's name is plainly none.
func harmless(name, value string) bool {
	switch {
	case value == "" || plainWords.MatchString(value) || strings.HasPrefix(value, "[redacted:"):
		return true
	case aNumber.MatchString(value) && (len(value) < 8 || countNames.MatchString(name) && !otherWords.MatchString(name)):
		return true
	case tokenizers.MatchString(name) && !otherWords.MatchString(name), specials.MatchString(value):
		return true
	}
	return isPath(name, value)
}

// isPath tells a path to a file from a random text that starts with a slash;
// the secret keys of AWS have 40 characters, slashes among them.
func isPath(name, value string) bool {
	if !strings.HasPrefix(value, "/") || strings.Contains(value, "=") {
		return false
	}
	return pathNames.MatchString(name) || len(value) != 40 && strings.Count(value, "/") > 1
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

var secretName = regexp.MustCompile(`(?i)` + secretWords + `|_auth$|_dsn$|_key$`)
