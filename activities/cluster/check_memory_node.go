package cluster

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
)

// shortageReasons are the kubelet's events about a node that ran out of memory.
// OOMKilling of the node problem detector is not among them: it is also said
// of a container that met its own limit.
var shortageReasons = []string{"SystemOOM", "EvictionThresholdMet"}

// nodesShort names every node of the ranks that is short of memory, or about
// which that could not be asked.
func (s scene) nodesShort(ctx context.Context) []incident.Finding {
	names := nodeNames(s.now)
	if len(names) == 0 {
		finding := s.finding(incident.NodeMemoryShort)
		finding.Why = fmt.Sprintf("no rank of %s is on a node now", s.now.Target)
		return []incident.Finding{finding}
	}
	nodes, unread, err := s.hands.readNodes(ctx, names)
	if err != nil {
		finding := s.finding(incident.NodeMemoryShort)
		finding.Why = err.Error()
		return []incident.Finding{finding}
	}
	said, eventsErr := s.hands.freshEvents(ctx, metav1.NamespaceDefault, "involvedObject.kind=Node", func(event corev1.Event) bool {
		return event.InvolvedObject.Kind == "Node" && slices.Contains(shortageReasons, event.Reason) && slices.Contains(names, event.InvolvedObject.Name)
	})
	var findings []incident.Finding
	for _, name := range names {
		if finding := s.nodeShort(name, nodes, unread, said); finding.State != incident.No {
			findings = append(findings, finding)
		}
	}
	if findings != nil {
		return findings
	}
	finding := s.finding(incident.NodeMemoryShort)
	if eventsErr != nil {
		finding.Why = fmt.Sprintf("no node of the ranks is under memory pressure now; whether one was is not known: %v", eventsErr)
		return []incident.Finding{finding}
	}
	finding.State, finding.Why = incident.No, fmt.Sprintf("none of the %d nodes of the ranks is or was short of memory in the last %s", len(names), incident.Short(recent))
	return []incident.Finding{finding}
}

// nodeShort answers for one node.
func (s scene) nodeShort(name string, nodes map[string]corev1.Node, unread map[string]string, said []eventLine) incident.Finding {
	finding := s.finding(incident.NodeMemoryShort)
	finding.Subject = "node/" + name
	node, read := nodes[name]
	pressure := nodeCondition(node, corev1.NodeMemoryPressure)
	last := slices.IndexFunc(said, func(line eventLine) bool { return line.Object == "node/"+name })
	gone := slices.IndexFunc(s.found.pods, func(pod corev1.Pod) bool {
		return pod.Spec.NodeName == name && pod.Status.Reason == evicted && forMemory(pod.Status.Message) && s.at.Sub(failedAt(pod)) <= recent
	})
	switch {
	case read && pressure != nil && pressure.Status == corev1.ConditionTrue:
		finding.State, finding.Value = incident.Yes, string(corev1.NodeMemoryPressure)
		finding.Why = fmt.Sprintf("node %s is under memory pressure since %s: %s", name, pressure.LastTransitionTime.UTC().Format("2006-01-02 15:04:05"), pressure.Message)
		finding.Evidence = []string{objectFile("Node", name)}
	case last >= 0:
		finding.State, finding.Value = incident.Yes, said[last].Reason
		finding.Why = fmt.Sprintf("the kubelet of node %s reported %s: %s", name, said[last].Reason, said[last].Message)
		finding.Evidence = []string{"events.json"}
	case gone >= 0:
		pod := s.found.pods[gone]
		finding.State, finding.Value = incident.Yes, evicted
		finding.Why = fmt.Sprintf("node %s evicted pod %s because it was low on memory", name, pod.Name)
		finding.Evidence = []string{objectFile("Pod", pod.Name)}
	case !read:
		finding.Why = unread[name]
	case pressure == nil || pressure.Status == corev1.ConditionUnknown:
		finding.Why = fmt.Sprintf("node %s does not say whether it is under memory pressure", name)
	default:
		finding.State = incident.No
	}
	return finding
}
