package rig

import (
	"context"
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"gpumedic/lab/scenarios"
)

// compared are the kinds that a remedy may touch, and what a test leaves.
var compared = []schema.GroupVersionResource{
	{Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "persistentvolumeclaims"},
}

// counted are fields that the server counts or stamps: they may differ
// although nothing was changed. An object that was put back by being created
// again has another identity, which a Job's selector and pods carry too.
var counted = [][]string{
	{"metadata", "managedFields"}, {"metadata", "resourceVersion"}, {"metadata", "generation"}, {"status"},
	{"metadata", "uid"}, {"metadata", "creationTimestamp"},
	{"spec", "selector", "matchLabels", batchv1.ControllerUidLabel},
	{"metadata", "labels", batchv1.ControllerUidLabel}, {"metadata", "labels", "controller-uid"},
	{"spec", "template", "metadata", "labels", batchv1.ControllerUidLabel}, {"spec", "template", "metadata", "labels", "controller-uid"},
}

// objects are the namespace's objects and all nodes, as JSON by kind and name.
func (r *Rig) objects(ctx context.Context) (map[string]string, error) {
	client, err := dynamic.NewForConfig(r.Cluster.RESTConfig())
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	found := map[string]string{}
	for _, kind := range compared {
		list, err := client.Resource(kind).Namespace(scenarios.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", kind.Resource, err)
		}
		if err := keep(found, kind.Resource, list.Items); err != nil {
			return nil, err
		}
	}
	nodes, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	return found, keep(found, "nodes", nodes.Items)
}

func keep(found map[string]string, kind string, items []unstructured.Unstructured) error {
	for _, item := range items {
		if item.GetDeletionTimestamp() != nil {
			continue // on its way out
		}
		for _, field := range counted {
			unstructured.RemoveNestedField(item.Object, field...)
		}
		data, err := json.MarshalIndent(item.Object, "", " ")
		if err != nil {
			return fmt.Errorf("reading %s %s: %w", kind, item.GetName(), err)
		}
		found[kind+"/"+item.GetName()] = string(data)
	}
	return nil
}
