package crds

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/discovery"

	"gpumedic/lab/cluster"
)

// servedWithin bounds how long the API server takes to serve what it accepted.
const servedWithin = 30 * time.Second

// Install applies all definitions to a cluster and waits until they are served.
func Install(ctx context.Context, c *cluster.Cluster) error {
	stream, err := Manifests(ctx)
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, stream); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(c.RESTConfig())
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, servedWithin)
	defer cancel()
	for {
		missing, err := unserved(client)
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the API server to serve %s: %w (%w)", missing, ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// unserved is a kind that the API server does not serve yet, "" when it serves
// all of them.
func unserved(client discovery.DiscoveryInterface) (string, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		return "anything", err
	}
	served := map[string]bool{}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			served[resource.Kind] = true
		}
	}
	for _, source := range Published {
		if !served[source.Kind] {
			return source.Kind, nil
		}
	}
	return "", nil
}
