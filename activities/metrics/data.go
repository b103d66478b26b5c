package metrics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// waitShare of a node's CPU time spent waiting for storage is high: one
	// process that waits all the time is one CPU, so that on a node of a hundred
	// CPUs eight loaders that only wait are 8 %.
	waitShare = 0.08
	// busyShare of the CPUs that the ranks may use counts as all of them: the
	// kernel throttles in periods of 100 ms, which an average does not show.
	busyShare = 0.95
	// rateWindow is what counters are averaged over.
	rateWindow = "10m"
)

var dataQuestions = []string{incident.IOWaitHigh, incident.CPUSaturated, incident.VolumeFull}

// CheckDataMetrics answers P2 as far as metrics can: whether the nodes' CPUs
// wait for storage, whether the ranks use all the CPU they may, and whether the
// volumes they mount are full. How much the ranks receive over the network is
// told beside.
func (h *Hands) CheckDataMetrics(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	return h.answer(ctx, steps.CheckDataMetrics, params, dataQuestions, func(ctx context.Context, a *asker, p patients) ([]incident.Finding, []file) {
		c := &dataCheck{asker: a, p: p}
		findings := append(c.waiting(ctx), c.saturated(ctx))
		findings = append(findings, c.volumes(ctx, params.Index)...)
		return findings, []file{{dataAsked, c.asked}}
	})
}

// dataCheck is one run of P2.
type dataCheck struct {
	*asker
	p patients
}

func (c *dataCheck) finding(id string, state incident.State) incident.Finding {
	return incident.Finding{ID: id, Check: steps.CheckDataMetrics, State: state, Subject: subjectOf(c.target), Evidence: []string{dataAsked}}
}

// unknown is an answer that could not be had; a broken way to Prometheus is
// always the better reason.
func (c *dataCheck) unknown(id, why string) incident.Finding {
	finding := c.finding(id, incident.Unknown)
	finding.Why = why
	if c.broken != nil {
		finding.Why = c.broken.Error()
	}
	return finding
}

// Questions about nodes. Counters are read by rate, the share is over all modes.
const (
	waitQuery = `sum by ($of) (rate(node_cpu_seconds_total{mode="iowait",$sel}[` + rateWindow + `]))` +
		` / sum by ($of) (rate(node_cpu_seconds_total{$sel}[` + rateWindow + `]))`
	unameQuery = `node_uname_info{$sel}`
)

// waiting answers whether the CPUs of the ranks' nodes wait for storage.
func (c *dataCheck) waiting(ctx context.Context) []incident.Finding {
	if len(c.p.nodes) == 0 {
		return []incident.Finding{c.unknown(incident.IOWaitHigh, "no rank was on a node")}
	}
	shares := c.nodeShares(ctx)
	var findings []incident.Finding
	for _, node := range byValue(shares) {
		if shares[node] >= waitShare {
			findings = append(findings, c.waits(node, shares[node]))
		}
	}
	missing := without(c.p.nodes, present(shares))
	switch {
	case len(findings) > 0:
		return bounded(findings)
	case len(shares) == 0:
		return []incident.Finding{c.unknown(incident.IOWaitHigh, "Prometheus has no node_cpu_seconds_total of the ranks' nodes, which node-exporter exports; "+
			"prometheus.labels.nodes must name the label in use")}
	case len(missing) > 0:
		return []incident.Finding{c.unknown(incident.IOWaitHigh, fmt.Sprintf("%d of %d nodes have no series node_cpu_seconds_total: %s; the others do not wait",
			len(missing), len(c.p.nodes), incident.Some(missing)))}
	}
	worst := byValue(shares)[0]
	finding := c.finding(incident.IOWaitHigh, incident.No)
	finding.Value = percent(shares[worst])
	finding.Why = fmt.Sprintf("the CPUs of %d nodes spend at most %s of their time waiting for storage (node %s); what waits inside FUSE or Lustre may not count",
		len(shares), percent(shares[worst]), worst)
	return []incident.Finding{finding}
}

func (c *dataCheck) waits(node string, share float64) incident.Finding {
	finding := c.finding(incident.IOWaitHigh, incident.Yes)
	finding.Subject, finding.Value = "node/"+node, percent(share)
	finding.Why = fmt.Sprintf("over %s the CPUs of node %s spent %s of their time waiting for storage (iowait)", rateWindow, node, percent(share))
	return finding
}

// nodeShares maps the ranks' nodes to their share of iowait. Where no label
// names nodes, node_uname_info tells which instance is which node.
func (c *dataCheck) nodeShares(ctx context.Context) map[string]float64 {
	if found, way := c.first(ctx, waitQuery, c.nodes(c.p.nodes)); len(found) > 0 {
		return c.ofNodes(found, way, nil)
	}
	names := map[string]string{}
	selector := about{selector: c.selector("nodename=~" + anyOf(c.p.nodes, ""))}
	for _, sample := range c.vector(ctx, c.fill(unameQuery, selector)) {
		names[string(sample.Metric["instance"])] = string(sample.Metric["nodename"])
	}
	if len(names) == 0 {
		return nil
	}
	way := about{label: "instance", selector: c.selector("instance=~" + anyOf(sortedKeys(names), ""))}
	return c.ofNodes(c.vector(ctx, c.fill(waitQuery, way)), way, names)
}

// ofNodes maps nodes to values; instances are renamed where names are given.
func (c *dataCheck) ofNodes(found model.Vector, way about, names map[string]string) map[string]float64 {
	values := map[string]float64{}
	for _, sample := range found {
		name := string(sample.Metric[model.LabelName(way.label)])
		if names != nil {
			name = names[name]
		} else if !slices.Contains(c.p.nodes, name) {
			name, _, _ = strings.Cut(name, ":")
		}
		values[name] = max(values[name], float64(sample.Value))
	}
	return values
}

// byValue lists names, the highest value first.
func byValue(values map[string]float64) []string {
	names := sortedKeys(values)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(values[b], values[a]) })
	return names
}

func present(values map[string]float64) map[string]bool {
	there := map[string]bool{}
	for name := range values {
		there[name] = true
	}
	return there
}
