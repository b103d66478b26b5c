package metrics

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// asker puts the questions of one check and keeps what was asked. After an
// error it asks no more: what is left is unknown for the same reason.
type asker struct {
	hands  *Hands
	target incident.Target
	now    time.Time
	broken error
	// warned is what Prometheus, or a Thanos that lacks a store, warned of.
	warned []string
	asked  []question
}

// question is one query with what came back, for the evidence.
type question struct {
	Query  string `json:"query"`
	Series int    `json:"series"`
	Error  string `json:"error,omitempty"`
	// Notes are Prometheus's warnings and infos.
	Notes []string `json:"notes,omitempty"`
}

func (h *Hands) asker(target incident.Target) *asker {
	return &asker{hands: h, target: target, now: h.Now().UTC()}
}

// vector asks for the values at one instant.
func (a *asker) vector(ctx context.Context, query string) model.Vector {
	found, _ := a.ask(ctx, query, func(ctx context.Context) (model.Value, v1.Warnings, v1.Infos, error) {
		return a.hands.API.Query(ctx, query, a.now, v1.WithTimeout(a.hands.Settings.Timeout))
	}).(model.Vector)
	return found
}

// matrix asks for curves over the window.
func (a *asker) matrix(ctx context.Context, query string) model.Matrix {
	step := a.step()
	// Prometheus answers from the first to the last instant, both inclusive.
	span := v1.Range{Start: a.now.Add(-step * (maxPoints - 1)), End: a.now, Step: step}
	found, _ := a.ask(ctx, query, func(ctx context.Context) (model.Value, v1.Warnings, v1.Infos, error) {
		return a.hands.API.QueryRange(ctx, query, span, v1.WithTimeout(a.hands.Settings.Timeout))
	}).(model.Matrix)
	return found
}

// step is the distance of a curve's points in whole seconds.
func (a *asker) step() time.Duration {
	return (a.hands.Settings.Window/(maxPoints-1) + time.Second - 1).Truncate(time.Second)
}

// answer is what the client gives for a query.
type answer func(ctx context.Context) (model.Value, v1.Warnings, v1.Infos, error)

func (a *asker) ask(ctx context.Context, query string, run answer) model.Value {
	if a.broken != nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, a.hands.Settings.Timeout)
	defer cancel()
	value, warnings, infos, err := run(bounded)
	asked := question{Query: query, Series: seriesOf(value), Notes: append(slices.Clone([]string(warnings)), infos...)}
	if err != nil {
		a.broken = classify(err, "asking Prometheus about "+a.target.String())
		asked.Error = redact.String(err.Error())
		a.hands.Log.Warn("Prometheus gave no answer", "target", a.target, "error", asked.Error)
	}
	a.asked, a.warned = append(a.asked, asked), append(a.warned, warnings...)
	return value
}

// doubted takes back every no that rests on answers with warnings: they may be
// only a part of what there is. A yes stays one.
func (a *asker) doubted(findings []incident.Finding) []incident.Finding {
	if len(a.warned) == 0 {
		return findings
	}
	slices.Sort(a.warned)
	for i := range findings {
		if findings[i].State == incident.No {
			findings[i].State = incident.Unknown
			findings[i].Why += "; but Prometheus warned that its answers are not whole: " + redact.String(incident.Some(slices.Compact(a.warned)))
		}
	}
	return findings
}

func seriesOf(value model.Value) int {
	switch found := value.(type) {
	case model.Vector:
		return len(found)
	case model.Matrix:
		return len(found)
	}
	return 0
}

// about is a set of things that series name by labels: a selector, and the
// label that tells which of them a series is of.
type about struct{ selector, label string }

// fill puts what is asked about into a template: $sel and $of.
func (a *asker) fill(template string, subject about) string {
	return strings.NewReplacer("$sel", subject.selector, "$of", subject.label,
		"$window", duration(a.hands.Settings.Window)).Replace(template)
}

// first fills a template with one label convention after the other until there
// is a series, and gives the values with the convention that fitted.
func (a *asker) first(ctx context.Context, template string, conventions []about) (model.Vector, about) {
	for _, subject := range conventions {
		if found := a.vector(ctx, a.fill(template, subject)); len(found) > 0 {
			return found, subject
		}
	}
	return nil, about{}
}

// pods are the ways to name these pods, each its own.
func (a *asker) pods(names []string) []about {
	var ways []about
	for _, labels := range a.hands.Settings.Pods {
		ways = append(ways, about{label: labels.Pod, selector: a.selector(
			labels.Namespace+"="+strconv.Quote(a.target.Namespace), labels.Pod+"=~"+anyOf(names, ""))})
	}
	return ways
}

// claimLabel is the kubelet's label of a claim.
const claimLabel = "persistentvolumeclaim"

// claimsOf are the ways to name claims of volumes: the namespace's label differs.
func (a *asker) claimsOf(names []string) []about {
	var ways []about
	for _, labels := range a.hands.Settings.Pods {
		ways = append(ways, about{label: claimLabel, selector: a.selector(
			labels.Namespace+"="+strconv.Quote(a.target.Namespace), claimLabel+"=~"+anyOf(names, ""))})
	}
	return ways
}

// nodes are the ways to name these nodes. The value may end in a port.
func (a *asker) nodes(names []string) []about {
	var ways []about
	for _, label := range a.hands.Settings.Nodes {
		ways = append(ways, about{label: label, selector: a.selector(label + "=~" + anyOf(names, "(:[0-9]+)?"))})
	}
	return ways
}

// selector joins matchers with those of the configuration.
func (a *asker) selector(matchers ...string) string {
	for _, label := range slices.Sorted(maps.Keys(a.hands.Settings.Matchers)) {
		matchers = append(matchers, label+"="+strconv.Quote(a.hands.Settings.Matchers[label]))
	}
	return strings.Join(matchers, ",")
}

// anyOf is a quoted regular expression for any of the names. Prometheus
// anchors it.
func anyOf(names []string, suffix string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return strconv.Quote("(" + strings.Join(quoted, "|") + ")" + suffix)
}

// duration writes a duration as PromQL does.
func duration(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
