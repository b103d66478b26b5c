package guard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

const (
	isolateNode = "isolate-node"
	replaceRank = "replace-rank"
	verbIsolate = "isolate"
	verbEvict   = "evict"
	// isolatedTaint is the one taint that a plan may set.
	isolatedTaint = "gpumedic.io/isolated"
	// commTestNodeBad is the finding of a communication test that convicts a node.
	commTestNodeBad = "comm-test-node-bad"

	// enough is the confidence from which a communication test's verdict alone
	// is proof against a node.
	enough = 0.95
	// twoSignals is how many checks must speak against a node without it.
	twoSignals = 2
)

// signals are the findings that speak against the node that is their subject.
var signals = []string{incident.NodeNotReady, commTestNodeBad}

func isNode(change incident.ObjectChange) bool {
	return change.Kind == "Node" && change.APIVersion == "v1"
}

// outOfService refuses a plan that takes other nodes out of service than those
// that are blamed, or does anything else to a node.
func outOfService(in Input) []string {
	plan := in.Plan
	if plan.Remedy != isolateNode {
		if plan.Isolation != nil {
			return []string{fmt.Sprintf("the remedy %s isolates nodes, which is not for it to do", plan.Remedy)}
		}
		return nil
	}
	var reasons, touched []string
	for _, change := range plan.Changes {
		if !isNode(change) {
			continue
		}
		touched = append(touched, change.Name)
		if change.Verb != verbIsolate || !onlyIsolates(change.Manifest) {
			reasons = append(reasons, fmt.Sprintf("the plan does more to node %s than cordon it and set the taint %s", change.Name, isolatedTaint))
		}
		if in.Cause.Blamed.Kind != "node" || !slices.Contains(in.Cause.Blamed.Names, change.Name) {
			reasons = append(reasons, fmt.Sprintf("the plan isolates node %s, which is not blamed", change.Name))
		}
	}
	slices.Sort(touched)
	if plan.Isolation == nil || len(touched) == 0 || !slices.Equal(touched, sorted(plan.Nodes)) {
		return append(reasons, "the plan does not say truly which nodes it isolates")
	}
	for _, why := range plan.Isolation.Protected {
		reasons = append(reasons, why+"; such nodes are never touched")
	}
	return reasons
}

// isolated is all that may be set on a node.
type isolated struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Unschedulable bool `json:"unschedulable"`
		Taints        []struct {
			Key    string `json:"key"`
			Value  string `json:"value"`
			Effect string `json:"effect"`
		} `json:"taints"`
	} `json:"spec"`
}

// onlyIsolates reads what is to be set on a node; any other field is too much.
func onlyIsolates(manifest json.RawMessage) bool {
	var node isolated
	decoder := json.NewDecoder(bytes.NewReader(manifest))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&node) != nil || node.Kind != "Node" || !node.Spec.Unschedulable || len(node.Spec.Taints) != 1 {
		return false
	}
	return node.Spec.Taints[0].Key == isolatedTaint && node.Spec.Taints[0].Effect == "NoSchedule"
}

// notProved says of each node why it may not be isolated: neither does the
// communication test convict exactly these nodes, nor do two checks speak
// against it. What is unknown, or healthy, never counts.
func notProved(in Input) []string {
	_, why := convicted(in)
	if why == "" {
		return nil
	}
	var reasons []string
	for _, node := range in.Plan.Nodes {
		if checks := against(in.Findings, node); len(checks) < twoSignals {
			reasons = append(reasons, fmt.Sprintf("node %s is not proved bad: %s, and %s; it takes a verdict with confidence %.2f or %d independent signals",
				node, why, signalWords(checks), enough, twoSignals))
		}
	}
	return reasons
}

// convicted gives the nodes that the communication test found bad beyond
// doubt, by name; why says that they are not those of the plan.
func convicted(in Input) (sure []incident.BadPart, why string) {
	if in.CommTest == nil {
		return nil, "no communication test ran"
	}
	for _, part := range in.CommTest.Verdict.Bad {
		if part.Kind == "node" && part.Confidence >= enough { // false for NaN
			sure = append(sure, part)
		}
	}
	slices.SortFunc(sure, func(a, b incident.BadPart) int { return strings.Compare(a.ID, b.ID) })
	var names []string
	for _, part := range sure {
		names = append(names, part.ID)
	}
	switch {
	case len(names) == 0:
		return sure, "the communication test convicts no node with enough confidence"
	case !slices.Equal(slices.Compact(names), sorted(in.Plan.Nodes)):
		return sure, "the communication test convicts " + strings.Join(names, ", ")
	}
	return sure, ""
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return names
}

// against names the checks with a finding that speaks against a node, each
// once: what one check says twice is one signal.
func against(findings []incident.Finding, node string) []string {
	var checks []string
	for _, finding := range findings {
		if finding.State == incident.Yes && finding.Subject == "node/"+node && slices.Contains(signals, finding.ID) && !slices.Contains(checks, finding.Check) {
			checks = append(checks, finding.Check)
		}
	}
	return checks
}

func signalWords(checks []string) string {
	switch len(checks) {
	case 0:
		return "no check speaks against it"
	case 1:
		return "only one check speaks against it (" + checks[0] + ")"
	}
	return strings.Join(checks, " and ") + " speak against it"
}

// proofs say why a node may be isolated, for the people who are asked.
func proofs(in Input) []string {
	if in.Plan.Remedy != isolateNode {
		return nil
	}
	sure, why := convicted(in)
	var words []string
	for _, part := range sure {
		if why == "" {
			words = append(words, fmt.Sprintf("the communication test convicts node %s with confidence %.2f", part.ID, part.Confidence))
		}
	}
	for _, node := range in.Plan.Nodes {
		if why != "" {
			words = append(words, "against node "+node+": "+signalWords(against(in.Findings, node)))
		}
	}
	return words
}

// nobodyBlamed refuses to replace a rank that nothing speaks against, and a
// plan that does anything but evict.
func nobodyBlamed(in Input) []string {
	var reasons []string
	if blamed := in.Cause.Blamed; !slices.Contains([]string{"rank", "pod", "node"}, blamed.Kind) || len(blamed.Names) == 0 || len(in.Cause.For) == 0 {
		reasons = append(reasons, "no rank is blamed by anything that was seen, and the remedy rests on it")
	}
	for _, change := range in.Plan.Changes {
		if change.Verb != verbEvict || change.Kind != "Pod" || change.UID == "" {
			reasons = append(reasons, fmt.Sprintf("the plan does more than evict pods: %s of %s %s", change.Verb, strings.ToLower(change.Kind), change.Name))
		}
	}
	return reasons
}
