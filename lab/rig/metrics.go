package rig

import (
	"context"
	"fmt"
	"maps"
	"time"

	"gpumedic/lab/faults"
	"gpumedic/lab/prometheus"
	"gpumedic/lab/scenarios"
)

// startMetrics starts the Prometheus that knows the fault model's gauges.
func (r *Rig) startMetrics(context.Context) error {
	server, err := prometheus.Start(prometheus.Options{})
	if err != nil {
		return err
	}
	r.Metrics = server
	r.later(func() {
		if err := server.Close(); err != nil {
			r.opts.Log.Debug("the lab's Prometheus did not close cleanly", "error", err)
		}
	})
	return nil
}

// measure lets exporters tell of a scenario's ranks, where it has any.
func (r *Rig) measure(s scenarios.Scenario) {
	r.Metrics.Forget()
	if s.Unmeasured {
		return
	}
	r.Metrics.FeedFrom(func() []prometheus.Series {
		var all []prometheus.Series
		nodes, claims := map[string]faults.Gauges{}, map[string]faults.Gauges{}
		for _, g := range r.Model.Gauges() {
			all = append(append(all, gpuSeries(g)...), podSeries(g)...)
			nodes[g.Node] = after(nodes[g.Node], g)
			for _, claim := range g.Claims {
				claims[claim] = after(claims[claim], g)
			}
		}
		for _, g := range nodes {
			all = append(all, nodeSeries(g)...)
		}
		for claim, g := range claims {
			all = append(all, claimSeries(g, claim)...)
		}
		return all
	})
}

// after tells of a node or claim what its ranks tell, the earlier one's word first.
func after(first, then faults.Gauges) faults.Gauges {
	if first.At == nil {
		return then
	}
	both := first
	both.At = func(t time.Time) (faults.Gauge, bool) {
		if g, ok := first.At(t); ok {
			return g, true
		}
		return then.At(t)
	}
	return both
}

// names are labels, from pairs.
func names(pairs ...string) map[string]string {
	labels := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		labels[pairs[i]] = pairs[i+1]
	}
	return labels
}

func with(labels map[string]string, pairs ...string) map[string]string {
	all := maps.Clone(labels)
	maps.Copy(all, names(pairs...))
	return all
}

// gauge is a series that reads a rank's gauges.
func gauge(g faults.Gauges, name string, labels map[string]string, of func(faults.Gauge) float64) prometheus.Series {
	return prometheus.Series{Name: name, Labels: labels, At: func(t time.Time) (float64, bool) {
		sample, ok := g.At(t)
		return of(sample), ok
	}}
}

// counter is one that grows at a pace that the gauges tell; the pace of one series
// does not change.
func counter(g faults.Gauges, name string, labels map[string]string, pace func(faults.Gauge) float64) prometheus.Series {
	return prometheus.Series{Name: name, Labels: labels, At: func(t time.Time) (float64, bool) {
		sample, ok := g.At(t)
		return pace(sample) * float64(t.Unix()-epoch), ok
	}}
}

// epoch is when the counters of the lab began, in seconds since 1970.
const epoch = 1_750_000_000

// gpuSeries are those of dcgm-exporter 4.4, scraped without honorLabels: MiB and percent.
func gpuSeries(g faults.Gauges) []prometheus.Series {
	const mib = 1 << 20
	var all []prometheus.Series
	for n := range g.GPUs {
		labels := names("gpu", fmt.Sprint(n), "device", fmt.Sprintf("nvidia%d", n), "modelName", "NVIDIA H100 80GB HBM3", "Hostname", g.Node,
			"exported_namespace", g.Namespace, "exported_pod", g.Pod, "exported_container", g.Container)
		all = append(all,
			gauge(g, "DCGM_FI_DEV_FB_USED", labels, func(s faults.Gauge) float64 { return s.Used / mib }),
			gauge(g, "DCGM_FI_DEV_FB_FREE", labels, func(s faults.Gauge) float64 { return s.Free / mib }),
			gauge(g, "DCGM_FI_DEV_FB_RESERVED", labels, func(s faults.Gauge) float64 { return s.Reserved / mib }),
			gauge(g, "DCGM_FI_DEV_GPU_UTIL", labels, func(s faults.Gauge) float64 { return s.Busy }))
	}
	return all
}

// podSeries are those of cAdvisor and kube-state-metrics.
func podSeries(g faults.Gauges) []prometheus.Series {
	pod := names("namespace", g.Namespace, "pod", g.Pod, "node", g.Node)
	container := with(pod, "container", g.Container)
	throttled := func(s faults.Gauge) float64 {
		if s.CPUs >= 0.98*g.MaxCPUs {
			return 6
		}
		return 0.1
	}
	return []prometheus.Series{
		counter(g, "container_cpu_usage_seconds_total", container, func(s faults.Gauge) float64 { return s.CPUs }),
		counter(g, "container_cpu_cfs_periods_total", container, func(faults.Gauge) float64 { return 10 }),
		counter(g, "container_cpu_cfs_throttled_periods_total", container, throttled),
		counter(g, "container_network_receive_bytes_total", with(pod, "interface", "eth0"), func(s faults.Gauge) float64 { return s.Read }),
		gauge(g, "kube_pod_container_resource_limits", with(container, "resource", "cpu", "unit", "core"), func(faults.Gauge) float64 { return g.MaxCPUs }),
	}
}

// nodeSeries are those of node-exporter. All CPUs of the node are told as one.
func nodeSeries(g faults.Gauges) []prometheus.Series {
	const cpus = 192
	labels := names("node", g.Node, "instance", g.Node+":9100", "cpu", "0")
	share := func(mode string, of func(faults.Gauge) float64) prometheus.Series {
		return counter(g, "node_cpu_seconds_total", with(labels, "mode", mode), of)
	}
	return []prometheus.Series{
		share("iowait", func(s faults.Gauge) float64 { return s.Waiting / cpus }),
		share("user", func(s faults.Gauge) float64 { return s.CPUs / cpus }),
		share("idle", func(s faults.Gauge) float64 { return 1 - (s.Waiting+s.CPUs)/cpus }),
	}
}

// claimSeries are the kubelet's of a node that mounts a claim: a third is free.
func claimSeries(g faults.Gauges, claim string) []prometheus.Series {
	labels := names("namespace", g.Namespace, "persistentvolumeclaim", claim, "node", g.Node)
	var all []prometheus.Series
	for name, value := range map[string]float64{
		"kubelet_volume_stats_capacity_bytes": 8 << 40, "kubelet_volume_stats_used_bytes": 5.3 * (1 << 40), "kubelet_volume_stats_available_bytes": 2.7 * (1 << 40),
		"kubelet_volume_stats_inodes": 4e8, "kubelet_volume_stats_inodes_used": 1.1e8, "kubelet_volume_stats_inodes_free": 2.9e8,
	} {
		all = append(all, gauge(g, name, labels, func(faults.Gauge) float64 { return value }))
	}
	return all
}
