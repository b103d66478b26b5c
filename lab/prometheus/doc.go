// Package prometheus is the lab's Prometheus: the engine that evaluates PromQL
// is Prometheus's own, with its own defaults; what it evaluates is simulated.
// Series are functions of time that Go code feeds (the fault model's
// framebuffers, say), read as if they had been scraped at a steady pace: no
// sample lies in the future, and a series that ends gets a stale marker.
//
// Of the HTTP API it serves /api/v1/query and /api/v1/query_range, by GET and
// POST, with the answers, error types and status codes of Prometheus 3.13
// (web/api/v1). The rest is left out: metadata, labels, series, rules, targets,
// admin, remote read and write, exemplars, the parameters limit, stats and
// lookback_delta, and the web page. Every answer carries the info Simulated.
package prometheus
