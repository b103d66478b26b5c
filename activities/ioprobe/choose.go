package ioprobe

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

// mostTries is how many ranks are looked at for one that runs.
const mostTries = 16

// place is where the probe goes and what it reads there.
type place struct {
	target incident.Target
	rank   incident.Rank
	pod    *corev1.Pod
	node   string
	// volumes are probed; refused says of each other one why it is not.
	volumes []dataVolume
	refused []string
}

// subject of a finding that is about no volume in particular.
func (p place) subject() string {
	if p.pod != nil {
		return "pod/" + p.pod.Name
	}
	return p.target.Kind + "/" + p.target.Name
}

// choose finds the rank that waits longest, else the first that runs. Why says
// that there is none.
func (h *Hands) choose(ctx context.Context, p steps.RunIOProbeParams) (found place, why string, err error) {
	var workload incident.Workload
	if err := incident.ReadJSON(ctx, h.Store, p.Workload, incident.MaxReadBack, &workload); err != nil {
		return place{}, "", err
	}
	found.target = workload.Target
	first, err := h.waiting(ctx, p)
	if err != nil {
		return found, "", err
	}
	for _, rank := range inOrder(workload.Ranks, first) {
		pod, err := h.Kube.CoreV1().Pods(p.Namespace).Get(ctx, rank.Pod, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return found, "", testpods.Fault(err, "reading pod %s/%s, whose storage is to be probed", p.Namespace, rank.Pod)
		}
		if string(pod.UID) != rank.UID || pod.Spec.NodeName == "" || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		found.rank, found.pod, found.node = rank, pod, pod.Spec.NodeName
		found.volumes, found.refused, err = h.dataVolumes(ctx, pod, rank.Container)
		return found, "", err
	}
	return found, "the storage was not probed: no rank runs, so that there is no node to probe it from", nil
}

// waiting are the pods whose logs tell of the longest waits, in that order.
func (h *Hands) waiting(ctx context.Context, p steps.RunIOProbeParams) ([]string, error) {
	if p.Index.SHA256 == "" || len(p.Logs) == 0 {
		return nil, nil
	}
	var entries []incident.IndexEntry
	if err := incident.ReadJSON(ctx, h.Store, p.Index, incident.MaxReadBack, &entries); err != nil {
		return nil, err
	}
	var pods []string
	for _, log := range p.Logs {
		if at := slices.IndexFunc(entries, func(e incident.IndexEntry) bool { return e.Name == log }); at >= 0 {
			pods = append(pods, entries[at].Pod)
		}
	}
	return pods, nil
}

// inOrder puts the ranks of the first pods first, the others by their index.
func inOrder(ranks []incident.Rank, first []string) []incident.Rank {
	at := func(r incident.Rank) int {
		if i := slices.Index(first, r.Pod); i >= 0 {
			return i - len(first)
		}
		return max(0, r.Index)
	}
	ordered := slices.SortedStableFunc(slices.Values(ranks), func(a, b incident.Rank) int { return at(a) - at(b) })
	return ordered[:min(len(ordered), mostTries)]
}
