package metrics

import (
	"context"
	"slices"
	"strings"

	"gpumedic/incident"
	"gpumedic/steps"
)

// patients are the pods and nodes that a check asks about.
type patients struct {
	workload incident.Workload
	// pods are those of the ranks and of their earlier attempts, running only
	// those of ranks that run; nodes are where the ranks are.
	pods, running, nodes []string
}

// patients reads the workload that the target's resolution kept.
func (h *Hands) patients(ctx context.Context, params steps.CheckParams) (patients, error) {
	var p patients
	if err := incident.ReadJSON(ctx, h.Store, params.Workload, incident.MaxReadBack, &p.workload); err != nil {
		return patients{}, err
	}
	for _, rank := range slices.Concat(p.workload.Ranks, p.workload.Earlier) {
		p.pods = append(p.pods, rank.Pod)
	}
	for _, rank := range p.workload.Ranks {
		if rank.Phase == "Running" {
			p.running = append(p.running, rank.Pod)
		}
		if rank.Node != "" {
			p.nodes = append(p.nodes, rank.Node)
		}
	}
	for _, list := range []*[]string{&p.pods, &p.running, &p.nodes} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p, nil
}

// maxObjects is how many pods are read to learn which claims they mount: the
// ranks of a job are made from one or two templates.
const maxObjects = 16

// podObject is the part of a pod that names its claims.
type podObject struct {
	Metadata struct{ Name string }
	Spec     struct {
		Volumes []struct {
			Name                  string
			PersistentVolumeClaim *struct{ ClaimName string }
			// Ephemeral is a claim of the pod's own, named POD-VOLUME.
			Ephemeral *struct{}
		}
	}
}

// claims lists the claims that the ranks mount, from the pods' objects in the
// evidence. Known is false when no pod's object is there.
func (h *Hands) claims(ctx context.Context, index incident.EvidenceRef, pods []string) (claims []string, known bool, err error) {
	if index.SHA256 == "" {
		return nil, false, nil
	}
	var entries []incident.IndexEntry
	if err := incident.ReadJSON(ctx, h.Store, index, incident.MaxReadBack, &entries); err != nil {
		return nil, false, err
	}
	read := 0
	for _, entry := range entries {
		name, isPod := strings.CutPrefix(strings.TrimSuffix(entry.Name, ".json"), "objects/pod-")
		if !isPod || read >= maxObjects || !slices.Contains(pods, name) {
			continue
		}
		var pod podObject
		if err := incident.ReadJSON(ctx, h.Store, entry.EvidenceRef, incident.MaxReadBack, &pod); err != nil {
			return nil, false, err
		}
		read++
		claims = append(claims, pod.claims()...)
	}
	slices.Sort(claims)
	return slices.Compact(claims), read > 0, nil
}

func (p podObject) claims() []string {
	var names []string
	for _, volume := range p.Spec.Volumes {
		switch {
		case volume.PersistentVolumeClaim != nil:
			names = append(names, volume.PersistentVolumeClaim.ClaimName)
		case volume.Ephemeral != nil:
			names = append(names, p.Metadata.Name+"-"+volume.Name)
		}
	}
	return names
}
