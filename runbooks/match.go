package runbooks

import (
	"strings"

	"github.com/prometheus/alertmanager/matcher/parse"

	"gpumedic/incident"
)

// Match finds the runbook for an alert: the first, in the order of books, one of
// whose entries matches with all its matchers. It also says which entry that
// was. A label that is missing has the value "", as in Alertmanager.
func Match(books []Runbook, alert incident.Alert) (book Runbook, matcher string, ok bool) {
	for _, book := range books {
		for _, entry := range book.Matches {
			if entry.holds(alert) {
				return book, strings.Join(entry.Matchers, ", "), true
			}
		}
	}
	return Runbook{}, "", false
}

// holds says whether all matchers do. A matcher that does not parse, which the
// loader refuses, holds for nothing.
func (m Matching) holds(alert incident.Alert) bool {
	for _, text := range m.Matchers {
		matcher, err := parse.Matcher(text)
		if err != nil || !matcher.Matches(label(alert, matcher.Name)) {
			return false
		}
	}
	return len(m.Matchers) > 0
}

func label(alert incident.Alert, name string) string {
	if value, ok := alert.Labels[name]; ok {
		return value
	}
	if name == "alertname" {
		return alert.Name
	}
	return ""
}
