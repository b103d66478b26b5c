package runbooks

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/matcher/parse"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/steps"
)

// Remedies returns the names of the remedies that a runbook may list.
func Remedies() []string {
	return append([]string{steps.AllowJobTraffic, steps.RestoreRDMAResource, steps.IsolateNode, steps.ReplaceRank}, steps.TemplateRemedies()...)
}

// decode reads one runbook; name is what the file is called without ".yaml".
// The runbook is of use only when there are no problems.
func decode(file, name string, data []byte) (Runbook, Problems) {
	r := &reading{file: file}
	sum := sha256.Sum256(data)
	book := Runbook{SHA256: hex.EncodeToString(sum[:])}
	root := r.root(data)
	if root == nil {
		return book, r.problems
	}
	m := r.mapping(root, "the runbook", "name", "title", "matches", "checks", "comm_test", "min_confidence", "causes")
	book.Name = m.text("name")
	if book.Name != "" && book.Name != name {
		m.wrong(m.lineOf("name"), "the name is %q, but the file is called %s.yaml", book.Name, name)
	}
	if book.Name != "" && !diagnosis.IsFailureCase(book.Name) {
		m.wrong(m.lineOf("name"), "the name %q is no failure case; known are %s", book.Name, strings.Join(diagnosis.FailureCases(), ", "))
	}
	book.Title = m.text("title")
	book.Matches = matches(m)
	book.Checks = checks(m)
	book.CommTest = m.flag("comm_test")
	book.MinConfidence = confidence(m)
	book.Causes = causes(m)
	return book, r.problems
}

func confidence(m mapping) float64 {
	const key = "min_confidence"
	value, ok := m.number(key)
	if ok && !(value > 0 && value <= 1) {
		m.wrong(m.lineOf(key), "%s must lie above 0 and not above 1", key)
	}
	return value
}

func matches(m mapping) []Matching {
	m.need("matches")
	var out []Matching
	for _, node := range m.list("matches") {
		entry := m.mapping(node, "an entry of matches", "matchers")
		entry.need("matchers")
		match := Matching{}
		for _, item := range entry.list("matchers") {
			text := m.scalar(item, "a matcher")
			if _, err := parse.Matcher(text); text != "" && err != nil {
				m.wrong(item.Line, "matcher %q: %v; write it as in Alertmanager's routes, alertname=\"X\"", text, err)
			}
			match.Matchers = append(match.Matchers, text)
		}
		out = append(out, match)
	}
	return out
}

func checks(m mapping) []string {
	m.need("checks")
	var out []string
	for _, node := range m.list("checks") {
		name := m.scalar(node, "a check")
		step, known := steps.ByName(name)
		switch {
		case name == "":
		case !known:
			m.wrong(node.Line, "there is no step %q; checks are %s", name, strings.Join(knownChecks(), ", "))
		case !slices.Contains(knownChecks(), name):
			m.wrong(node.Line, "step %q (kind %s) is no check of the target; checks are %s", name, step.Kind, strings.Join(knownChecks(), ", "))
		case slices.Contains(out, name):
			m.wrong(node.Line, "check %q is listed twice", name)
		}
		out = append(out, name)
	}
	return out
}

// knownChecks are the steps that take CheckParams: every check that does not
// wait for something.
func knownChecks() []string {
	var out []string
	for _, step := range steps.All() {
		if step.Kind == steps.Check && step.Intent != steps.Await {
			out = append(out, step.Name)
		}
	}
	return out
}

func causes(m mapping) []Cause {
	m.need("causes")
	var out []Cause
	seen := map[string]bool{}
	for _, node := range m.list("causes") {
		entry := m.mapping(node, "a cause", "root_cause", "remedies", "advice")
		if entry.broken {
			continue
		}
		cause := Cause{RootCause: entry.text("root_cause")}
		line := entry.lineOf("root_cause")
		switch {
		case cause.RootCause == "":
		case cause.RootCause != incident.UnknownCause && !diagnosis.IsRootCause(cause.RootCause):
			m.wrong(line, "root cause %q is not in the taxonomy", cause.RootCause)
		case seen[cause.RootCause]:
			m.wrong(line, "root cause %q is listed twice", cause.RootCause)
		}
		seen[cause.RootCause] = true
		cause.Remedies = remedies(entry)
		cause.Advice = strings.TrimSpace(entry.text("advice"))
		out = append(out, cause)
	}
	return out
}

func remedies(entry mapping) []Remedy {
	var out []Remedy
	for _, node := range entry.list("remedies") {
		m := entry.mapping(node, "a remedy", "name", "risk")
		if m.broken {
			continue
		}
		remedy := Remedy{Name: m.text("name"), Risk: incident.Risk(m.text("risk"))}
		if remedy.Name != "" && !slices.Contains(Remedies(), remedy.Name) {
			m.wrong(m.lineOf("name"), "there is no remedy %q; known are %s", remedy.Name, strings.Join(Remedies(), ", "))
		}
		risks := []incident.Risk{incident.RiskLow, incident.RiskMedium, incident.RiskHigh}
		if remedy.Risk != "" && !slices.Contains(risks, remedy.Risk) {
			m.wrong(m.lineOf("risk"), "risk %q is none of low, medium, high", remedy.Risk)
		}
		out = append(out, remedy)
	}
	return out
}
