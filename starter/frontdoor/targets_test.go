package frontdoor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/starter/frontdoor"
)

func TestHintOf(t *testing.T) {
	type labels = map[string]string
	hint := func(namespace, kind, name string) incident.Target {
		return incident.Target{Cluster: "lab", Namespace: namespace, Kind: kind, Name: name}
	}
	for name, test := range map[string]struct {
		labels labels
		want   incident.Target
	}{
		"job":                          {labels{"namespace": "training", "job_name": "llama"}, hint("training", "Job", "llama")},
		"job's own label":              {labels{"namespace": "training", "label_batch_kubernetes_io_job_name": "llama"}, hint("training", "Job", "llama")},
		"namespace of the exporter":    {labels{"exported_namespace": "training", "job_name": "llama"}, hint("training", "Job", "llama")},
		"own namespace first":          {labels{"namespace": "a", "exported_namespace": "b", "job_name": "llama"}, hint("a", "Job", "llama")},
		"jobset above its job":         {labels{"namespace": "n", "job_name": "llama-worker-0", "jobset_name": "llama"}, hint("n", "JobSet", "llama")},
		"PyTorchJob":                   {labels{"namespace": "n", "pytorchjob": "llama", "pod": "llama-0"}, hint("n", "PyTorchJob", "llama")},
		"job above its pod":            {labels{"namespace": "n", "job_name": "llama", "pod": "llama-0-x"}, hint("n", "Job", "llama")},
		"pod of the exporter first":    {labels{"namespace": "n", "pod": "dcgm-exporter-9", "exported_pod": "llama-0-x"}, hint("n", "Pod", "llama-0-x")},
		"pod above its node":           {labels{"namespace": "n", "pod": "llama-0-x", "node": "gpu-07"}, hint("n", "Pod", "llama-0-x")},
		"deployment":                   {labels{"namespace": "n", "deployment": "server"}, hint("n", "Deployment", "server")},
		"node has no namespace":        {labels{"namespace": "monitoring", "node": "gpu-07"}, hint("", "Node", "gpu-07")},
		"node as DCGM names it":        {labels{"Hostname": "gpu-07", "gpu": "3"}, hint("", "Node", "gpu-07")},
		"empty label is no label":      {labels{"namespace": "n", "job_name": "", "node": "gpu-07"}, hint("", "Node", "gpu-07")},
		"only a namespace":             {labels{"namespace": "n", "alertname": "A"}, hint("", "Namespace", "n")},
		"nothing":                      {labels{"alertname": "A"}, hint("", "Cluster", "lab")},
		"the job label of a scrape":    {labels{"namespace": "n", "job": "kube-state-metrics"}, hint("", "Namespace", "n")},
		"another cluster":              {labels{"cluster": "west", "namespace": "n", "job_name": "llama"}, incident.Target{Cluster: "west", Namespace: "n", Kind: "Job", Name: "llama"}},
		"another cluster, all of it":   {labels{"k8s_cluster": "west"}, incident.Target{Cluster: "west", Kind: "Cluster", Name: "west"}},
		"instance tells of the scrape": {labels{"instance": "10.0.0.1:9100", "namespace": "n"}, hint("", "Namespace", "n")},
	} {
		t.Run(name, func(t *testing.T) {
			got := frontdoor.HintOf(config.Default().Targets, "lab", test.labels)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHintOfOwnMapping(t *testing.T) {
	mapping := config.Targets{Namespace: []string{"team"}, Kinds: []config.KindOfLabel{{Label: "training_run", Kind: "TrainJob"}}}
	got := frontdoor.HintOf(mapping, "lab", map[string]string{"cluster": "ignored", "team": "nlp", "training_run": "r1", "job_name": "x"})
	want := incident.Target{Cluster: "lab", Namespace: "nlp", Kind: "TrainJob", Name: "r1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
