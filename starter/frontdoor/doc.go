// Package frontdoor is the HTTP server of gpumedic: alerts come in, clicks in
// Slack come in, and people look at the console. It decides nothing; it makes
// what arrives durable in Temporal and answers 200 only then.
//
// Alertmanager retries 5xx and nothing else. So 503 is the answer to what time
// can mend, and 4xx to what it cannot.
package frontdoor
