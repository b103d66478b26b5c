package commtest

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"gpumedic/incident"
	"gpumedic/steps"
)

// keptOut says which taint of the node the test's pods do not tolerate, ""
// when they may go there. A cordoned node has a taint, too.
func keptOut(node *corev1.Node, s incident.CommTestSettings) string {
	hard := func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}
	taint, found := scheduling.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, tolerations(s.Tolerations), hard, true)
	switch {
	case found:
		return fmt.Sprintf("its taint %s is not tolerated by comm_test.tolerations", taint.ToString())
	case node.Spec.Unschedulable:
		return "it is cordoned"
	default:
		return ""
	}
}

// sumUp answers for all nodes. A node that lacks something decides, whatever
// is unknown of the others. Trouble says why the workload's pods are not known.
func sumUp(rooms []room, trouble error) steps.CheckTestRoomResult {
	result := steps.CheckTestRoomResult{Room: incident.Yes, Freed: incident.Yes}
	var short, never, unread []room
	for _, r := range rooms {
		if r.unread != "" {
			unread = append(unread, r)
			continue
		}
		if r.lacks != "" {
			short = append(short, r)
		}
		if r.missing != "" {
			never = append(never, r)
		}
	}
	if len(unread) > 0 {
		result.Room, result.Freed = incident.Unknown, incident.Unknown
	}
	if len(short) > 0 {
		result.Room = incident.No
		if trouble != nil {
			result.Freed = incident.Unknown
		}
	}
	if len(never) > 0 && (trouble == nil || result.Room != incident.No) {
		result.Freed = incident.No
	}
	for _, r := range short[:min(len(short), maxShort)] {
		result.Short = append(result.Short, r.NodeRoom)
	}
	result.Why = roomWords(len(rooms), short, never, unread, trouble)
	return result
}

func roomWords(all int, short, never, unread []room, trouble error) string {
	var words []string
	switch {
	case len(short) > 0:
		words = append(words, fmt.Sprintf("%d of %d nodes have no room for a test pod: %s", len(short), all, firstOf(short, func(r room) string { return r.lacks })))
	case len(unread) == 0:
		return fmt.Sprintf("all %d nodes have room for a test pod", all)
	}
	switch {
	case len(short) == 0:
	case trouble != nil:
		words = append(words, "which of their pods belong to the workload is not known: "+trouble.Error())
	case len(never) > 0:
		words = append(words, "stopping the workload's own ranks would not be enough: "+firstOf(never, func(r room) string { return r.missing + held(r) }))
	default:
		words = append(words, "the workload's own ranks hold it")
	}
	if len(unread) > 0 {
		words = append(words, fmt.Sprintf("%d nodes could not be read: %s", len(unread), firstOf(unread, func(r room) string { return r.unread })))
	}
	return strings.Join(words, "; ")
}

func firstOf(rooms []room, say func(room) string) string {
	text := rooms[0].Node + ": " + say(rooms[0])
	if len(rooms) > 1 {
		text += fmt.Sprintf(", and %d more", len(rooms)-1)
	}
	return text
}

func held(r room) string {
	const some = 3
	if len(r.holders) == 0 {
		return ""
	}
	text := ", held by " + strings.Join(r.holders[:min(some, len(r.holders))], ", ")
	if len(r.holders) > some {
		text += fmt.Sprintf(" and %d more pods", len(r.holders)-some)
	}
	return text
}
