package report_test

import (
	"encoding/json"
	"fmt"
	"time"

	"gpumedic/incident"
)

// at is a time of the sample night, in seconds after three.
func at(seconds float64) time.Time {
	return time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

var lab = incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama-70b"}

const policyDiff = `--- networkpolicy/training/gpumedic-llama-70b (not there)
+++ networkpolicy/training/gpumedic-llama-70b (planned)
@@ -0,0 +1,14 @@
+apiVersion: networking.k8s.io/v1
+kind: NetworkPolicy
+metadata:
+  name: gpumedic-llama-70b
+  namespace: training
+spec:
+  podSelector:
+    matchLabels:
+      app: llama-70b
+  ingress:
+  - from:
+    - podSelector:
+        matchLabels:
+          app: llama-70b
--- job/training/llama-70b
+++ job/training/llama-70b (planned)
@@ -3,3 +3,3 @@
 spec:
-  suspend: false
+  suspend: true
`

// resolved is the record of an incident that went well.
func resolved() incident.Record {
	rec := incident.Record{
		IncidentID: lab.ID(), Target: lab, FailureCase: "nccl-failure", RootCause: "network-policy-blocks-ranks", Confidence: 0.96,
		Blamed: incident.Blamed{Kind: "policy", Names: []string{"default-deny", "training-isolation"}},
		Alerts: []incident.Alert{{Name: "NCCLErrors", Status: incident.AlertFiring, StartsAt: at(-120), ReceivedAt: at(0), Fingerprint: "0123456789abcdef",
			Labels: map[string]string{"namespace": "training", "job_name": "llama-70b"}}},
		Outcome:  incident.Resolved,
		Summary:  "Two network policies blocked the traffic between the ranks of llama-70b, so NCCL could not connect. A narrow policy for the job's own pods was added, the ranks were restarted, and all 8 train over InfiniBand again.",
		Next:     "Take the new policy into the repository that default-deny comes from.",
		OpenedAt: at(0), ClosedAt: at(133), HumanWaitSeconds: 61.2, GPUHoursLost: 1.6,
		Runbook: incident.RunbookRef{Name: "nccl-failure", SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
		Build:   "v0.1.0-3-gabc1234", Simulated: []string{"GPU nodes, NCCL and pod logs"},
	}
	rec.Causes = []incident.Cause{
		{FailureCase: "nccl-failure", RootCause: rec.RootCause, Confidence: rec.Confidence, Blamed: rec.Blamed,
			Reasons: []string{
				"56 of 56 directions between ranks are blocked by default-deny and training-isolation",
				"8 of 8 ranks said: connecting to a peer timed out (first rank 3, logs/rank-003.log#L214)",
				"the communication test between the nodes failed before any byte was exchanged",
			},
			For: []string{"policy-blocks-ranks", "nccl-connect-timeout"}, Against: []string{"rank 0 reached its rendezvous once"}},
		{FailureCase: "nccl-failure", RootCause: "wrong-interface", Confidence: 0.11, Reasons: []string{"NCCL_SOCKET_IFNAME is set"}, WouldDecide: []string{"interface-missing"}},
	}
	rec.Findings = []incident.Finding{
		{ID: incident.PolicyBlocksRanks, Check: "check-policies", State: incident.Yes, Subject: "networkpolicy/default-deny,training-isolation", Value: "56 of 56 directions", Why: "no policy allows ingress on the ports that NCCL picks", Evidence: []string{"objects/networkpolicy-default-deny.json"}},
		{ID: incident.RanksFailing, Check: "check-workload", State: incident.Yes, Subject: "job/llama-70b", Value: "8 of 8"},
		{ID: incident.RDMANotRequested, Check: "check-rdma", State: incident.No, Subject: "job/llama-70b", Why: "every rank requests rdma/hca_shared_devices_a"},
		{ID: incident.TransportUsed, Check: "check-rank-logs", State: incident.Unknown, Subject: "job/llama-70b", Why: "no line tells; the ranks never got that far"},
	}
	rec.CommTest = failedTest()
	rec.Verification = passedTest()
	plan := incident.Plan{Remedy: "allow-job-traffic", Risk: incident.RiskMedium, Target: lab, TargetUID: "0e1f", Summary: "Allow traffic between the pods of training/llama-70b, and restart its 8 ranks.",
		Diff: policyDiff, Restart: true, PodsRestarted: 8, GPUHoursLost: 1.6, Wanted: incident.Wanted{Transport: "IB", CommTest: true},
		Changes: []incident.ObjectChange{{Verb: "create", APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "training", Name: "gpumedic-llama-70b", Manifest: json.RawMessage(`{"kind":"NetworkPolicy"}`)}}}
	plan.Hash = "5f3a9c0d11e2b4a6"
	rec.Plan = &plan
	rec.Decisions = []incident.Decision{
		{At: at(9), What: "allow-job-traffic", Verdict: incident.Ask, Reasons: []string{"risk is medium, so 1 approval(s) are needed", "cause network-policy-blocks-ranks has confidence 0.96"}},
		{At: at(70), What: "allow-job-traffic", Verdict: incident.Allow, Reasons: []string{"plan 5f3a9c0d11e2b4a6 was approved by alice via slack"}},
	}
	rec.Approvals = []incident.Vote{{By: "alice", Via: "slack", PlanHash: plan.Hash, Verdict: incident.Approve, At: at(70)}}
	yes := true
	rec.Changes = []incident.Change{{Remedy: plan.Remedy, Risk: plan.Risk, PlanHash: plan.Hash, Diff: plan.Diff, OperationID: lab.ID() + "@1/allow-job-traffic", AppliedAt: at(73), Verified: true, UndoComplete: nil}}
	_ = yes
	rec.Stages = []incident.Stage{
		{Name: "resolve target", StartedAt: at(0.1), EndedAt: at(0.35)}, {Name: "collect evidence", StartedAt: at(0.35), EndedAt: at(1.6)},
		{Name: "check", StartedAt: at(1.6), EndedAt: at(2.2)}, {Name: "diagnose", StartedAt: at(2.2), EndedAt: at(2.204)},
		{Name: "comm test", StartedAt: at(2.3), EndedAt: at(8.5)}, {Name: "plan", StartedAt: at(8.6), EndedAt: at(8.9)},
		{Name: "approval", StartedAt: at(9), EndedAt: at(70.2)}, {Name: "change", StartedAt: at(70.3), EndedAt: at(74)},
		{Name: "verify", StartedAt: at(74), EndedAt: at(132)}, {Name: "write report", StartedAt: at(132.5), EndedAt: at(132.5)},
	}
	rec.Story = []incident.Event{
		{At: at(0), Kind: "alert", Text: "NCCLErrors fires"}, {At: at(0.3), Kind: "note", Text: "target is job training/llama-70b in lab with 8 ranks on 8 nodes"},
		{At: at(1.6), Kind: "evidence", Text: "kept 44 files, 182211 bytes"}, {At: at(2.2), Kind: "finding", Text: "cause: network-policy-blocks-ranks (nccl-failure), confidence 0.96"},
		{At: at(8.5), Kind: "test", Text: "communication test to diagnose: no rank could reach rank 0"}, {At: at(9), Kind: "human", Text: "asked for approval of plan 5f3a9c0d11e2b4a6"},
		{At: at(70), Kind: "human", Text: "alice says approve via slack"}, {At: at(74), Kind: "change", Text: "applied allow-job-traffic (1 objects, 0 had been applied by an earlier attempt)"},
		{At: at(131), Kind: "test", Text: "communication test to verify: every group passed"},
	}
	for i := range 8 {
		rec.Evidence = append(rec.Evidence, incident.EvidenceRef{Name: fmt.Sprintf("logs/rank-%03d.log", i), SHA256: fmt.Sprintf("%064x", i+171717171), Bytes: int64(20000 + 917*i), Cut: i == 3})
	}
	return rec
}

func failedTest() *incident.CommTest {
	return &incident.CommTest{Purpose: "diagnose", Rounds: 1, Tests: 1, StartedAt: at(2.3), EndedAt: at(8.5),
		Verdict: incident.Verdict{Bad: []incident.BadPart{{Kind: "infrastructure", ID: "*", Confidence: 0.9}}, Why: "no rank could reach rank 0", Tests: 1, Rounds: 1, NodeTests: 8},
		History: []incident.Round{{Number: 1, Groups: []incident.Group{{ID: "all", Nodes: nodeNames(8)}},
			Outcomes: []incident.Outcome{{ID: "all", Nodes: nodeNames(8), Result: incident.TestFail, ExpectedGBps: 360, FailedNodes: nodeNames(8), Why: "rendezvous: ranks 1-7 did not arrive within 5 s", Simulated: true, Evidence: []string{"commtest/all/rank-000.log"}, StartedAt: at(2.4), EndedAt: at(8.4)}}}}}
}

func passedTest() *incident.CommTest {
	outcome := incident.Outcome{ID: "all", Nodes: nodeNames(8), Result: incident.TestPass, BusBWGBps: 352.4, ExpectedGBps: 360, Transport: "IB", Why: "97.9% of the expected bandwidth", Simulated: true, StartedAt: at(74), EndedAt: at(90)}
	outcome.Points = sweep(352.4)
	return &incident.CommTest{Purpose: "verify", Rounds: 1, Tests: 1, StartedAt: at(74), EndedAt: at(90),
		Verdict: incident.Verdict{Clean: true, Why: "every group passed", Tests: 1, Rounds: 1, NodeTests: 8},
		History: []incident.Round{{Number: 1, Groups: []incident.Group{{ID: "all", Nodes: nodeNames(8)}}, Outcomes: []incident.Outcome{outcome}}}}
}

// sweep is a curve that saturates, as all-reduce does.
func sweep(top float64) []incident.BusBWPoint {
	var points []incident.BusBWPoint
	for bytes := int64(1 << 20); bytes <= 1<<30; bytes *= 2 {
		x := float64(bytes)
		points = append(points, incident.BusBWPoint{Bytes: bytes, BusBWGBps: top * x / (x + 16<<20)})
	}
	return points
}

func nodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("gpu-%02d", i)
	}
	return names
}

// workload has one rank per node, and a leaf switch for every so many nodes.
func workload(ranks, perLeaf int) incident.Workload {
	w := incident.Workload{Target: lab, UID: "0e1f", WantedRanks: ranks}
	for i, name := range nodeNames(ranks) {
		w.Nodes = append(w.Nodes, incident.Node{Name: name, Leaf: fmt.Sprintf("leaf-%c", 'a'+rune(i/perLeaf)), Rack: fmt.Sprintf("rack-%d", i/4+1), GPUs: 8, Ready: true})
		if perLeaf > 26 || ranks > 100 {
			w.Nodes[i].Leaf = fmt.Sprintf("leaf-%02d", i/perLeaf)
		}
		w.Ranks = append(w.Ranks, incident.Rank{Index: i, Pod: fmt.Sprintf("llama-70b-%d-x9k2p", i), UID: fmt.Sprint(i), Container: "trainer", Node: name, PodIP: fmt.Sprintf("10.0.%d.%d", i/250, i%250+2), Phase: "Running", GPUs: 4})
	}
	return w
}

// everythingFailed is the record of a night on which nothing worked, with text
// in it that nobody should trust.
func everythingFailed() incident.Record {
	return incident.Record{
		IncidentID: lab.ID(), Target: lab, Outcome: incident.Escalated, OpenedAt: at(0), ClosedAt: at(601),
		Alerts:  []incident.Alert{{Name: "NCCLErrors", Status: incident.AlertFiring, StartsAt: at(-30)}},
		Summary: "gpumedic could not go on: collecting evidence: listing pods of job training/llama-70b: connection refused",
		Next:    "Look at the target by hand; nothing was changed by gpumedic.",
		Errors: []string{
			"collecting evidence: listing pods of job training/llama-70b: Get \"https://10.96.0.1:443/api/v1/namespaces/training/pods?labelSelector=job-name%3Dllama-70b&limit=500\": dial tcp 10.96.0.1:443: connect: connection refused",
			"posting the card: Bearer abcdefghijklmnop1234567890 was refused",
		},
		Findings:  []incident.Finding{{ID: "check-policies", Check: "check-policies", State: incident.Unknown, Subject: "Job/llama-70b", Why: "could not ask: the API server did not answer"}},
		Decisions: []incident.Decision{{At: at(600), What: "change anything", Verdict: incident.Refuse, Reasons: []string{"nothing could be asked"}}},
		Stages:    []incident.Stage{{Name: "resolve target", StartedAt: at(0.1), EndedAt: at(0.4)}, {Name: "collect evidence", StartedAt: at(0.4)}},
		Story: []incident.Event{
			{At: at(0), Kind: "alert", Text: "NCCLErrors fires"},
			{At: at(600), Kind: "error", Text: `rank 3 said <script>alert("owned")</script> and "\u001b[31m" & WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567` + "\x1b[31mred"},
		},
	}
}
