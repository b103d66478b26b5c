package guard_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"gpumedic/guard"
	"gpumedic/incident"
)

const isolating = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"gpu-03"},"spec":{"unschedulable":true,"taints":[{"key":"gpumedic.io/isolated","value":"ab","effect":"NoSchedule"}]}}`

func nodeChange(name, manifest string) incident.ObjectChange {
	return incident.ObjectChange{Verb: "isolate", APIVersion: "v1", Kind: "Node", Name: name, UID: "n", Manifest: json.RawMessage(strings.ReplaceAll(manifest, "gpu-03", name))}
}

// isolate is a plan against gpu-03 that the communication test proved bad.
func isolate() guard.Input {
	in := good()
	in.Plan.Remedy, in.Plan.Risk, in.Plan.Nodes = "isolate-node", incident.RiskHigh, []string{"gpu-03"}
	in.Plan.Changes = []incident.ObjectChange{nodeChange("gpu-03", isolating)}
	in.Plan.Isolation = &incident.Isolation{}
	in.Cause = incident.Cause{RootCause: "ib-link-error", Confidence: 0.9, Blamed: incident.Blamed{Kind: "node", Names: []string{"gpu-03"}}}
	in.CommTest = convicting(incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: 0.99})
	in.Findings = nil
	return in
}

func convicting(parts ...incident.BadPart) *incident.CommTest {
	return &incident.CommTest{Verdict: incident.Verdict{Bad: parts}}
}

func against(node, id, check string, state incident.State) incident.Finding {
	return incident.Finding{ID: id, Check: check, State: state, Subject: "node/" + node}
}

// judged seals the plan as it is now.
func judged(in guard.Input) (verdict, reasons string) {
	in.Plan = in.Plan.Seal()
	decision := guard.Judge(in)
	return decision.Verdict, strings.Join(decision.Reasons, "\n")
}

func TestIsolationAsksTwoPeopleAndSaysWhy(t *testing.T) {
	verdict, reasons := judged(isolate())
	if verdict != incident.Ask || !strings.Contains(reasons, "2 people must approve") || !strings.Contains(reasons, "convicts node gpu-03 with confidence 0.99") {
		t.Errorf("%s because %q", verdict, reasons)
	}
}

// TestPromise7IsolationNeedsProof: a verdict on exactly these nodes, or two
// independent signals about each.
func TestPromise7IsolationNeedsProof(t *testing.T) {
	const notReady, testBad = incident.NodeNotReady, "comm-test-node-bad"
	both := []incident.Finding{against("gpu-03", notReady, "check-placement", incident.Yes), against("gpu-03", testBad, "run-comm-test", incident.Yes)}
	for name, test := range map[string]struct {
		test     *incident.CommTest
		findings []incident.Finding
		reason   string // "" = ask
	}{
		"verdict":                    {convicting(incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: 0.95}), nil, ""},
		"verdict beside a link's":    {convicting(incident.BadPart{Kind: "link", ID: "gpu-01<->gpu-02", Confidence: 0.99}, incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: 0.95}), nil, ""},
		"two signals":                {nil, both, ""},
		"two signals, weak verdict":  {convicting(incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: 0.6}), both, ""},
		"nothing":                    {nil, nil, "no communication test ran, and no check speaks against it"},
		"inconclusive":               {&incident.CommTest{Verdict: incident.Verdict{Inconclusive: true}}, nil, "convicts no node with enough confidence"},
		"not sure enough":            {convicting(incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: 0.949}), nil, "convicts no node with enough confidence"},
		"NaN":                        {convicting(incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: math.NaN()}), nil, "convicts no node"},
		"another node":               {convicting(incident.BadPart{Kind: "node", ID: "gpu-04", Confidence: 1}), nil, "the communication test convicts gpu-04"},
		"one node of two":            {convicting(incident.BadPart{Kind: "node", ID: "gpu-03", Confidence: 1}, incident.BadPart{Kind: "node", ID: "gpu-04", Confidence: 1}), nil, "convicts gpu-03, gpu-04"},
		"a link to it":               {convicting(incident.BadPart{Kind: "link", ID: "gpu-03<->gpu-04", Confidence: 1}), nil, "convicts no node"},
		"its switch":                 {convicting(incident.BadPart{Kind: "switch", ID: "leaf-a", Confidence: 1}), nil, "convicts no node"},
		"everything":                 {convicting(incident.BadPart{Kind: "infrastructure", ID: "*", Confidence: 1}), nil, "convicts no node"},
		"one signal":                 {nil, both[:1], "only one check speaks against it (check-placement)"},
		"one check twice":            {nil, []incident.Finding{both[0], against("gpu-03", testBad, "check-placement", incident.Yes)}, "only one check"},
		"one is unknown":             {nil, []incident.Finding{both[0], against("gpu-03", testBad, "run-comm-test", incident.Unknown)}, "only one check"},
		"both are unknown":           {nil, []incident.Finding{against("gpu-03", notReady, "check-placement", incident.Unknown), against("gpu-03", testBad, "run-comm-test", incident.Unknown)}, "no check"},
		"both are healthy":           {nil, []incident.Finding{against("gpu-03", notReady, "check-placement", incident.No), against("gpu-03", testBad, "run-comm-test", incident.No)}, "no check"},
		"about another node":         {nil, []incident.Finding{both[0], against("gpu-04", testBad, "run-comm-test", incident.Yes)}, "only one check"},
		"findings that say no fault": {nil, []incident.Finding{against("gpu-03", incident.RDMAOffered, "check-rdma", incident.Yes), against("gpu-03", incident.TransportUsed, "check-rank-logs", incident.Yes)}, "no check"},
	} {
		t.Run(name, func(t *testing.T) {
			in := isolate()
			in.CommTest, in.Findings = test.test, test.findings
			verdict, reasons := judged(in)
			if (verdict == incident.Ask) != (test.reason == "") || !strings.Contains(reasons, test.reason) {
				t.Errorf("%s because %q, want %q", verdict, reasons, test.reason)
			}
		})
	}
}

// TestPromise7OnlyBlamedNodesAreTouched alters a plan that is good.
func TestPromise7OnlyBlamedNodesAreTouched(t *testing.T) {
	for name, test := range map[string]struct {
		alter  func(*guard.Input)
		reason string
	}{
		"not blamed":       {func(in *guard.Input) { in.Cause.Blamed.Names = []string{"gpu-04"} }, "isolates node gpu-03, which is not blamed"},
		"a rank is blamed": {func(in *guard.Input) { in.Cause.Blamed = incident.Blamed{Kind: "rank", Names: []string{"gpu-03"}} }, "which is not blamed"},
		"hidden node": {func(in *guard.Input) {
			in.Plan.Changes = append(in.Plan.Changes, nodeChange("gpu-04", isolating))
			in.Cause.Blamed.Names = append(in.Cause.Blamed.Names, "gpu-04")
		}, "does not say truly which nodes"},
		"no node":      {func(in *guard.Input) { in.Plan.Changes[0].Kind, in.Plan.Changes[0].Namespace = "Pod", "training" }, "does not say truly which nodes"},
		"no isolation": {func(in *guard.Input) { in.Plan.Isolation = nil }, "does not say truly which nodes"},
		"protected":    {func(in *guard.Input) { in.Plan.Isolation.Protected = []string{"node gpu-03 is of the control plane"} }, "control plane; such nodes are never touched"},
		"another verb": {func(in *guard.Input) { in.Plan.Changes[0].Verb = "apply" }, "does more to node gpu-03"},
		"another taint": {func(in *guard.Input) {
			in.Plan.Changes[0] = nodeChange("gpu-03", strings.ReplaceAll(isolating, "gpumedic.io/isolated", "x"))
		}, "does more to node gpu-03"},
		"evicting taint": {func(in *guard.Input) {
			in.Plan.Changes[0] = nodeChange("gpu-03", strings.ReplaceAll(isolating, "NoSchedule", "NoExecute"))
		}, "does more to node gpu-03"},
		"a label too": {func(in *guard.Input) {
			in.Plan.Changes[0] = nodeChange("gpu-03", strings.ReplaceAll(isolating, `"name":"gpu-03"`, `"name":"gpu-03","labels":{"a":"b"}`))
		}, "does more to node gpu-03"},
		"status too": {func(in *guard.Input) {
			in.Plan.Changes[0] = nodeChange("gpu-03", strings.ReplaceAll(isolating, `"spec"`, `"status":{},"spec"`))
		}, "does more to node gpu-03"},
		"a node of an API group": {func(in *guard.Input) { in.Plan.Changes[0].APIVersion = "x.io/v1" }, "outside of the target's namespace"},
		"pod of others": {func(in *guard.Input) {
			in.Plan.Changes = append(in.Plan.Changes, incident.ObjectChange{Verb: "evict", Kind: "Pod", Namespace: "prod", Name: "p"})
		}, "pod prod/p, outside of the target's namespace"},
		"over budget":           {func(in *guard.Input) { in.Budget = []string{"leaf leaf-a has already 1 isolated node"} }, "leaf leaf-a has already 1 isolated node"},
		"only one may approve":  {func(in *guard.Input) { in.Approval.Approvers = in.Approval.Approvers[:1] }, "2 people must approve"},
		"target of the cluster": {func(in *guard.Input) { in.Plan.Target.Namespace = "kube-system" }, "namespace kube-system, which is protected"},
		"another remedy":        {func(in *guard.Input) { in.Plan.Remedy = "allow-job-traffic" }, "isolates nodes, which is not for it to do"},
	} {
		t.Run(name, func(t *testing.T) {
			in := isolate()
			test.alter(&in)
			if verdict, reasons := judged(in); verdict != incident.Refuse || !strings.Contains(reasons, test.reason) {
				t.Errorf("%s because %q, want refuse because %q", verdict, reasons, test.reason)
			}
		})
	}
}

func TestReplacingARank(t *testing.T) {
	replace := func(alter func(*guard.Input)) guard.Input {
		in := good()
		in.Plan.Remedy, in.Plan.Nodes = "replace-rank", []string{"gpu-03"}
		in.Plan.Changes = []incident.ObjectChange{{Verb: "evict", APIVersion: "v1", Kind: "Pod", Namespace: "training", Name: "llama-3", UID: "p", Manifest: json.RawMessage(`{}`)}}
		in.Cause = incident.Cause{RootCause: "rank-straggler-timeout", Confidence: 0.8, Blamed: incident.Blamed{Kind: "rank", Names: []string{"3"}}, For: []string{"torch-watchdog"}}
		if alter != nil {
			alter(&in)
		}
		return in
	}
	if verdict, reasons := judged(replace(nil)); verdict != incident.Ask {
		t.Errorf("a good plan: %s because %q", verdict, reasons)
	}
	for name, test := range map[string]struct {
		alter  func(*guard.Input)
		reason string
	}{
		"nobody is blamed":  {func(in *guard.Input) { in.Cause.Blamed = incident.Blamed{Kind: "rank"} }, "no rank is blamed"},
		"a policy is":       {func(in *guard.Input) { in.Cause.Blamed.Kind = "policy" }, "no rank is blamed"},
		"nothing was seen":  {func(in *guard.Input) { in.Cause.For = nil }, "no rank is blamed"},
		"it deletes":        {func(in *guard.Input) { in.Plan.Changes[0].Verb = "delete" }, "does more than evict pods"},
		"it touches a node": {func(in *guard.Input) { in.Plan.Changes = append(in.Plan.Changes, nodeChange("gpu-03", isolating)) }, "outside of the target's namespace"},
		"any pod":           {func(in *guard.Input) { in.Plan.Changes[0].UID = "" }, "does more than evict pods"},
		"evicts for others": {func(in *guard.Input) { in.Plan.Remedy = "allow-job-traffic" }, "not for the remedy allow-job-traffic to do"},
	} {
		t.Run(name, func(t *testing.T) {
			if verdict, reasons := judged(replace(test.alter)); verdict != incident.Refuse || !strings.Contains(reasons, test.reason) {
				t.Errorf("%s because %q, want refuse because %q", verdict, reasons, test.reason)
			}
		})
	}
}
