package frontdoor

import (
	"gpumedic/config"
	"gpumedic/incident"
)

// HintOf is the target as an alert's labels name it. The labels are tried in
// the configured order, narrowest workload first. An alert that names no
// object is about its namespace, and one without a namespace about the whole
// cluster.
func HintOf(mapping config.Targets, cluster string, labels map[string]string) incident.Target {
	target := incident.Target{
		Cluster:   first(labels, mapping.Cluster, cluster),
		Namespace: first(labels, mapping.Namespace, ""),
	}
	for _, kind := range mapping.Kinds {
		if name := labels[kind.Label]; name != "" {
			target.Kind, target.Name = kind.Kind, name
			if kind.Kind == "Node" {
				target.Namespace = ""
			}
			return target
		}
	}
	target.Kind, target.Name = "Namespace", target.Namespace
	if target.Name == "" {
		target.Kind, target.Name = "Cluster", target.Cluster
	}
	target.Namespace = ""
	return target
}

func first(labels map[string]string, names []string, otherwise string) string {
	for _, name := range names {
		if value := labels[name]; value != "" {
			return value
		}
	}
	return otherwise
}

// delivery is what one call brought for one incident.
type delivery struct {
	hint   incident.Target
	alerts []incident.Alert
}

// group sorts the alerts of one call by incident, in the order they came.
func group(mapping config.Targets, cluster string, alerts []incident.Alert) []delivery {
	var order []delivery
	at := map[string]int{}
	for _, alert := range alerts {
		hint := HintOf(mapping, cluster, alert.Labels)
		i, known := at[hint.ID()]
		if !known {
			i = len(order)
			at[hint.ID()] = i
			order = append(order, delivery{hint: hint})
		}
		order[i].alerts = append(order[i].alerts, alert)
	}
	return order
}
