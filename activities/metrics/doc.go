// Package metrics is the hand that asks a Prometheus. It answers the checks
// G1 (memory and utilisation of GPUs) and P2 (waiting for storage, CPU, fill of
// volumes) from what dcgm-exporter, node-exporter, the kubelet and
// kube-state-metrics export, and keeps the curves that a report plots.
//
// It changes nothing. No Prometheus, no answer, no series: each is a finding
// that is unknown and says which metric is missing and what exports it. Facts
// about the metrics (names, kinds, units) are those of dcgm-exporter 3.3 to 4.5
// (etc/default-counters.csv), node_exporter 1.9, kubelet and cAdvisor of
// Kubernetes 1.34, kube-state-metrics 2.15.
package metrics
