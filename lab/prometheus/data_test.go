package prometheus_test

import (
	"testing"
	"time"

	"gpumedic/incident"
	"gpumedic/lab/prometheus"
)

// rising is a counter with a rate per second.
func rising(rate float64) func(time.Time) (float64, bool) {
	return func(at time.Time) (float64, bool) { return rate * at.Sub(midday.Add(-24*time.Hour)).Seconds(), true }
}

// nodeCPU is node-exporter's counter of a node with two CPUs that wait for
// storage for a share of the time; names are the labels that name the node.
func nodeCPU(names map[string]string, waiting float64) []prometheus.Series {
	var all []prometheus.Series
	for _, cpu := range []string{"0", "1"} {
		for mode, share := range map[string]float64{"iowait": waiting, "user": 0.3, "system": 0.1, "idle": 0.6 - waiting} {
			labels := renamed(names, nil)
			labels["cpu"], labels["mode"] = cpu, mode
			all = append(all, prometheus.Series{Name: "node_cpu_seconds_total", Labels: labels, At: rising(share)})
		}
	}
	return all
}

func TestWaitingForStorage(t *testing.T) {
	for name, test := range map[string]struct {
		first, second map[string]string
		waiting       float64
		state         incident.State
		subject       string
		value, words  string
	}{
		"waits":                  {map[string]string{"node": "gpu-00"}, map[string]string{"node": "gpu-01"}, 0.35, incident.Yes, "node/gpu-01", "35 %", "spent 35 % of their time"},
		"does not wait":          {map[string]string{"node": "gpu-00"}, map[string]string{"node": "gpu-01"}, 0.01, incident.No, "job/llama", "1 %", "at most 1 %"},
		"instance with port":     {map[string]string{"instance": "gpu-00:9100"}, map[string]string{"instance": "gpu-01:9100"}, 0.35, incident.Yes, "node/gpu-01", "35 %", ""},
		"only an address":        {map[string]string{"instance": "10.0.0.1:9100"}, map[string]string{"instance": "10.0.0.2:9100"}, 0.35, incident.Yes, "node/gpu-01", "35 %", ""},
		"one node is missing":    {nil, map[string]string{"node": "gpu-01"}, 0.01, incident.Unknown, "job/llama", "", "1 of 2 nodes have no series node_cpu_seconds_total: gpu-00"},
		"other nodes' only":      {nil, map[string]string{"node": "gpu-77"}, 0.35, incident.Unknown, "job/llama", "", "node-exporter exports"},
		"nothing is there":       {nil, nil, 0, incident.Unknown, "job/llama", "", "node_cpu_seconds_total"},
		"missing, the other bad": {nil, map[string]string{"node": "gpu-01"}, 0.35, incident.Yes, "node/gpu-01", "35 %", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.first != nil {
				w.server.Feed(nodeCPU(test.first, 0.005)...)
			}
			if test.second != nil {
				w.server.Feed(nodeCPU(test.second, test.waiting)...)
			}
			for instance, node := range map[string]string{"10.0.0.1:9100": "gpu-00", "10.0.0.2:9100": "gpu-01"} {
				w.server.Feed(prometheus.Series{Name: "node_uname_info", At: prometheus.Always(1),
					Labels: map[string]string{"instance": instance, "nodename": node, "sysname": "Linux"}})
			}
			w.data().expect(incident.IOWaitHigh, test.state, test.subject, test.value, test.words)
		})
	}
}

// podCPU is what cAdvisor says of a rank: its container, the pod's sum, and the
// periods in which it was throttled.
func podCPU(rank int, cpus, throttled float64) []prometheus.Series {
	base := map[string]string{"namespace": "training", "pod": job.Ranks[rank].Pod, "node": job.Ranks[rank].Node, "instance": "10.0.0.1:10250"}
	trainer := renamed(base, nil)
	trainer["container"] = "trainer"
	return []prometheus.Series{
		{Name: "container_cpu_usage_seconds_total", Labels: trainer, At: rising(cpus)},
		{Name: "container_cpu_usage_seconds_total", Labels: base, At: rising(cpus)},
		{Name: "container_cpu_cfs_periods_total", Labels: trainer, At: rising(10)},
		{Name: "container_cpu_cfs_throttled_periods_total", Labels: trainer, At: rising(10 * throttled)},
		{Name: "container_network_receive_bytes_total", Labels: base, At: rising(6e6)},
	}
}

// cpuLimit is kube-state-metrics' word; quota is cAdvisor's.
func cpuLimit(rank int, cpus float64) []prometheus.Series {
	return []prometheus.Series{{Name: "kube_pod_container_resource_limits", At: prometheus.Always(cpus), Labels: map[string]string{
		"exported_namespace": "training", "exported_pod": job.Ranks[rank].Pod, "exported_container": "trainer", "resource": "cpu", "unit": "core",
		"namespace": "monitoring", "pod": "kube-state-metrics-0"}}}
}

func quota(rank int, cpus float64) []prometheus.Series {
	labels := map[string]string{"namespace": "training", "pod": job.Ranks[rank].Pod, "container": "trainer"}
	return []prometheus.Series{
		{Name: "container_spec_cpu_quota", Labels: labels, At: prometheus.Always(cpus * 100000)},
		{Name: "container_spec_cpu_period", Labels: labels, At: prometheus.Always(100000)},
	}
}

func TestCPUOfTheRanks(t *testing.T) {
	join := func(parts ...[]prometheus.Series) (all []prometheus.Series) {
		for _, part := range parts {
			all = append(all, part...)
		}
		return all
	}
	for name, test := range map[string]struct {
		series         []prometheus.Series
		state          incident.State
		subject, value string
		words          string
	}{
		"all of it": {join(podCPU(0, 7.85, 0.1), podCPU(1, 2, 0), cpuLimit(0, 8), cpuLimit(1, 8)), incident.Yes, "pod/llama-0-abcde", "98 % of 8 CPUs",
			"pod llama-0-abcde used 7.8 CPUs of its limit of 8 and was throttled in 10 % of the periods; 2 running ranks received 12.0 MB/s"},
		"in bursts":       {join(podCPU(0, 2, 0.4), podCPU(1, 2, 0), cpuLimit(0, 8), cpuLimit(1, 8)), incident.Yes, "pod/llama-0-abcde", "25 % of 8 CPUs", "throttled in 40 %"},
		"some of it":      {join(podCPU(0, 2, 0), podCPU(1, 3.2, 0), quota(0, 8), quota(1, 8)), incident.No, "job/llama", "40 % of 8 CPUs", "3.2 CPUs of its limit of 8"},
		"no limit":        {join(podCPU(0, 2, 0), podCPU(1, 3, 0)), incident.Unknown, "job/llama", "", "kube_pod_container_resource_limits"},
		"one rank unseen": {join(podCPU(0, 2, 0), cpuLimit(0, 8), cpuLimit(1, 8)), incident.Unknown, "job/llama", "25 % of 8 CPUs", "of 1 of 2 running ranks"},
		"nothing":         {cpuLimit(0, 8), incident.Unknown, "job/llama", "", "container_cpu_usage_seconds_total"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.Feed(test.series...)
			w.data().expect(incident.CPUSaturated, test.state, test.subject, test.value, test.words)
		})
	}
}

// volume is what the kubelet says of a claim.
func volume(claim string, bytes, inodes float64) []prometheus.Series {
	labels := map[string]string{"namespace": "training", "persistentvolumeclaim": claim, "node": "gpu-00", "instance": "10.0.0.1:10250"}
	of := func(name string, v float64) prometheus.Series {
		return prometheus.Series{Name: "kubelet_volume_stats_" + name, Labels: labels, At: prometheus.Always(v)}
	}
	all := []prometheus.Series{of("used_bytes", bytes*1e12), of("capacity_bytes", 1e12), of("available_bytes", (1-bytes)*1e12)}
	if inodes < 0 { // a file system without a fixed number of inodes
		return append(all, of("inodes", 0), of("inodes_used", 0), of("inodes_free", 0))
	}
	return append(all, of("inodes", 1e6), of("inodes_used", inodes*1e6), of("inodes_free", (1-inodes)*1e6))
}

// mounts keeps the pod of a rank as evidence, as the cluster's hand does.
func (w *world) mounts(claims ...string) {
	var volumes []map[string]any
	for _, claim := range claims {
		volumes = append(volumes, map[string]any{"name": "v-" + claim, "persistentVolumeClaim": map[string]any{"claimName": claim}})
	}
	volumes = append(volumes, map[string]any{"name": "scratch", "emptyDir": map[string]any{}})
	pod := map[string]any{"kind": "Pod", "metadata": map[string]any{"name": "llama-0-abcde"}, "spec": map[string]any{"volumes": volumes}}
	ref := w.put("objects/pod-llama-0-abcde.json", pod)
	w.params.Index = w.put("index.json", []incident.IndexEntry{{EvidenceRef: ref, Kind: "object", Rank: -1}})
}

func TestVolumes(t *testing.T) {
	info := prometheus.Series{Name: "kube_pod_spec_volumes_persistentvolumeclaims_info", At: prometheus.Always(1), Labels: map[string]string{
		"namespace": "training", "pod": "llama-0-abcde", "volume": "v", "persistentvolumeclaim": "data"}}
	for name, test := range map[string]struct {
		mounts         []string
		series         []prometheus.Series
		state          incident.State
		subject, value string
		words          string
	}{
		"bytes":            {[]string{"data", "out"}, append(volume("data", 0.2, 0.1), volume("out", 0.99, 0.1)...), incident.Yes, "pvc/out", "99 % of bytes", "claim out"},
		"inodes":           {[]string{"data"}, volume("data", 0.2, 0.99), incident.Yes, "pvc/data", "99 % of inodes", ""},
		"room":             {[]string{"data"}, volume("data", 0.5, 0.1), incident.No, "job/llama", "50 % of bytes", "of inodes at most 10 %"},
		"no inodes":        {[]string{"data"}, volume("data", 0.5, -1), incident.No, "job/llama", "50 % of bytes", "reports no inodes"},
		"no statistics":    {[]string{"data", "out"}, volume("data", 0.5, 0.1), incident.Unknown, "job/llama", "", "kubelet_volume_stats_used_bytes of claim out"},
		"no claims":        {[]string{}, nil, incident.No, "job/llama", "", "mount no claim"},
		"by state metrics": {nil, append(volume("data", 0.97, 0.1), info), incident.Yes, "pvc/data", "97 % of bytes", ""},
		"mounts not known": {nil, volume("data", 0.97, 0.1), incident.Unknown, "job/llama", "", "kube_pod_spec_volumes_persistentvolumeclaims_info"},
		"somebody else's":  {[]string{"data"}, volume("other", 0.99, 0.99), incident.Unknown, "job/llama", "", "of claim data"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.mounts != nil {
				w.mounts(test.mounts...)
			}
			w.server.Feed(test.series...)
			w.data().expect(incident.VolumeFull, test.state, test.subject, test.value, test.words)
		})
	}
}

func TestWhatWasAskedIsKept(t *testing.T) {
	w := newWorld(t)
	w.server.Feed(nodeCPU(map[string]string{"node": "gpu-00"}, 0.5)...)
	var asked []struct{ Query string }
	w.data().file("metrics/data-queries.json", &asked)
	if len(asked) < 5 {
		t.Errorf("asked: %+v", asked)
	}
}
