package cluster

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// eventLine is one event, without what only machines need.
type eventLine struct {
	At      metav1.Time `json:"at"`
	Type    string      `json:"type"`
	Reason  string      `json:"reason"`
	Object  string      `json:"object"`
	Message string      `json:"message"`
	Count   int32       `json:"count,omitempty"`
	From    string      `json:"from,omitempty"`
}

// events keeps the events of the ranks, their owners and their nodes, in the
// order in which they were last seen.
func (c *collection) events(ctx context.Context, now incident.Workload, found kin) error {
	lines := []eventLine{}
	concerns := concerned(now, c.known, found)
	list := func(namespace, selector string) {
		err := eachPage(func(options metav1.ListOptions) (string, error) {
			options.FieldSelector = selector
			page, err := c.hands.Kube.CoreV1().Events(namespace).List(ctx, options)
			if err != nil {
				return "", classify(err, "listing events of namespace %s", namespace)
			}
			for _, event := range page.Items {
				if concerns(event.InvolvedObject) {
					lines = append(lines, lineOfEvent(event))
				}
			}
			return page.Continue, nil
		})
		if err != nil {
			c.gap("events/"+namespace, err, "events")
		}
	}
	list(c.known.Target.Namespace, "")
	list(metav1.NamespaceDefault, "involvedObject.kind=Node") // where events of nodes are kept
	slices.SortStableFunc(lines, func(a, b eventLine) int { return a.At.Compare(b.At.Time) })
	ref, err := c.hands.putJSON(ctx, "events.json", lines)
	if err == nil {
		c.keep(incident.IndexEntry{EvidenceRef: ref, Kind: "events", Rank: unknownIndex})
	}
	return err
}

// concerned tells events of the workload from others: those of its owners,
// nodes and pods, and of pods that are gone and were named after its jobs.
func concerned(now, known incident.Workload, found kin) func(corev1.ObjectReference) bool {
	names := map[string]bool{known.Target.Kind + "/" + known.Target.Name: true}
	for _, workload := range []incident.Workload{now, known} {
		for _, rank := range slices.Concat(workload.Ranks, workload.Earlier) {
			names["Pod/"+rank.Pod] = true
			names["Node/"+rank.Node] = true
		}
	}
	jobs := slices.Concat(now.JobNames, known.JobNames)
	return func(object corev1.ObjectReference) bool {
		if names[object.Kind+"/"+object.Name] || found.kinds[object.UID] != "" {
			return true
		}
		parts := podOfJob.FindStringSubmatch(object.Name)
		return object.Kind == "Pod" && parts != nil && slices.Contains(jobs, parts[1])
	}
}

func lineOfEvent(event corev1.Event) eventLine {
	line := eventLine{
		At: event.LastTimestamp, Type: event.Type, Reason: event.Reason, Count: event.Count,
		Object:  strings.ToLower(event.InvolvedObject.Kind) + "/" + event.InvolvedObject.Name,
		Message: redact.String(event.Message), From: orWord(event.ReportingController, event.Source.Component),
	}
	if line.At.IsZero() { // events.k8s.io/v1 leaves the old times empty
		line.At = metav1.NewTime(event.EventTime.Time)
	}
	if event.Series != nil {
		line.At, line.Count = metav1.NewTime(event.Series.LastObservedTime.Time), event.Series.Count
	}
	if line.At.IsZero() {
		line.At = event.CreationTimestamp
	}
	return line
}
