package guard_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/guard"
	"gpumedic/incident"
)

var approval = incident.ApprovalSettings{
	Approvers: []incident.Approver{{Name: "alice", Slack: "U0ALICE", Login: "al"}, {Name: "bob", Slack: "U0BOB"}},
	Quorum:    map[incident.Risk]int{incident.RiskHigh: 2},
}

// good is a plan with nothing against it.
func good() guard.Input {
	plan := incident.Plan{
		Remedy: "allow-job-traffic", Risk: incident.RiskMedium, TargetUID: "uid-1",
		Target:  incident.Target{Cluster: "lab", Namespace: "training", Kind: "Job", Name: "llama"},
		Changes: []incident.ObjectChange{{Verb: "create", Kind: "NetworkPolicy", Namespace: "training", Name: "allow", Manifest: json.RawMessage(`{"a":1}`)}},
	}
	return guard.Input{
		Plan: plan.Seal(), Approval: approval, MinConfidence: 0.6, Workload: incident.WorkloadSummary{UID: "uid-1"},
		Cause:    incident.Cause{RootCause: "network-unreachable-or-port-blocked", Confidence: 0.9},
		Findings: []incident.Finding{{ID: incident.PolicyBlocksRanks, State: incident.Yes}},
	}
}

func finding(id string, state incident.State) incident.Finding {
	return incident.Finding{ID: id, State: state, Why: "because"}
}

func TestGoodPlanAsks(t *testing.T) {
	want := incident.Decision{What: "allow-job-traffic", Verdict: incident.Ask, Reasons: []string{
		"risk is medium, so one person must approve", "cause network-unreachable-or-port-blocked has confidence 0.90",
	}}
	if diff := cmp.Diff(want, guard.Judge(good())); diff != "" {
		t.Error(diff)
	}
}

// TestPromise4NothingGoesUnasked: whatever the risk, a plan is never allowed
// by itself.
func TestPromise4NothingGoesUnasked(t *testing.T) {
	for _, risk := range []incident.Risk{incident.RiskLow, incident.RiskMedium, incident.RiskHigh} {
		in := good()
		in.Plan.Risk = risk
		in.Plan = in.Plan.Seal()
		if got := guard.Judge(in); got.Verdict != incident.Ask {
			t.Errorf("risk %s: %s because %v", risk, got.Verdict, got.Reasons)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		alter  func(*guard.Input)
		reason string
	}{
		"low confidence":    {func(in *guard.Input) { in.Cause.Confidence = 0.59 }, "confidence 0.59 is under the runbook's minimum 0.60"},
		"confidence is NaN": {func(in *guard.Input) { in.Cause.Confidence = math.NaN() }, "confidence NaN"},
		"cause unknown":     {func(in *guard.Input) { in.Cause.RootCause = incident.UnknownCause }, "the cause is not known"},
		"no cause":          {func(in *guard.Input) { in.Cause.RootCause = "" }, "the cause is not known"},
		"no hash":           {func(in *guard.Input) { in.Plan.Hash = "" }, "hash does not match"},
		"altered plan":      {func(in *guard.Input) { in.Plan.Changes[0].Name = "other" }, "hash does not match"},
		"broken manifest":   {func(in *guard.Input) { in.Plan.Changes[0].Manifest = json.RawMessage(`{`) }, "hash does not match"},
		"no changes":        {func(in *guard.Input) { in.Plan.Changes = nil; in.Plan = in.Plan.Seal() }, "the plan changes nothing"},
		"odd risk":          {func(in *guard.Input) { in.Plan.Risk = "none"; in.Plan = in.Plan.Seal() }, `the risk "none" is unknown`},
		"other target":      {func(in *guard.Input) { in.Workload.UID = "uid-2" }, "another target (uid uid-1, now uid-2)"},
		"no target":         {func(in *guard.Input) { in.Workload.UID, in.Plan.TargetUID = "", ""; in.Plan = in.Plan.Seal() }, "does not say which target"},
		"no approvers":      {func(in *guard.Input) { in.Approval.Approvers = nil }, "nobody is configured"},
		"too few approvers": {func(in *guard.Input) {
			in.Approval.Approvers, in.Plan.Risk = in.Approval.Approvers[:1], incident.RiskHigh
			in.Plan = in.Plan.Seal()
		}, "2 people must approve, and only 1 may"},
		"protected namespace": {func(in *guard.Input) { in.Plan.Changes[0].Namespace = "kube-system"; in.Plan = in.Plan.Seal() }, "namespace kube-system is protected"},
		"protected target": {func(in *guard.Input) {
			in.Plan.Changes[0].Namespace, in.Plan.Target.Namespace = "kube-system", "kube-system"
			in.Plan = in.Plan.Seal()
		}, "namespace kube-system is protected"},
		"prepared by another remedy": {func(in *guard.Input) {
			in.Plan.Prepare = []incident.ObjectChange{{Verb: "create", APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: "training", Name: "new"}}
			in.Plan = in.Plan.Seal()
		}, "the plan prepares persistentvolumeclaim training/new (create), which is not for the remedy"},
		"prepared elsewhere": {func(in *guard.Input) {
			in.Plan.Remedy = "faster-storage"
			in.Plan.Prepare = []incident.ObjectChange{{Verb: "run", APIVersion: "batch/v1", Kind: "Job", Namespace: "prod", Name: "copy"}}
			in.Plan = in.Plan.Seal()
		}, "job prod/copy, outside of the target's namespace"},
		"other namespace": {func(in *guard.Input) { in.Plan.Changes[0].Namespace = "prod"; in.Plan = in.Plan.Seal() }, "networkpolicy prod/allow, outside of the target's namespace"},
		"unknown remedy":  {func(in *guard.Input) { in.Plan.Remedy = "reboot"; in.Plan = in.Plan.Seal() }, `what the remedy "reboot" rests on`},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			test.alter(&in)
			got := guard.Judge(in)
			if got.Verdict != incident.Refuse || !strings.Contains(strings.Join(got.Reasons, "\n"), test.reason) {
				t.Errorf("%s because %q, want refuse because %q", got.Verdict, got.Reasons, test.reason)
			}
		})
	}
}

func TestAllReasonsAreTold(t *testing.T) {
	if got := guard.Judge(guard.Input{}); got.Verdict != incident.Refuse || len(got.Reasons) < 6 {
		t.Errorf("%s because %q", got.Verdict, got.Reasons)
	}
}

// TestPromise7UnknownIsNoGround: a remedy needs its grounds seen.
func TestPromise7UnknownIsNoGround(t *testing.T) {
	const ranks, dns = incident.PolicyBlocksRanks, incident.PolicyBlocksDNS
	const asked, offered = incident.RDMANotRequested, incident.RDMAOffered
	for name, test := range map[string]struct {
		remedy   string
		findings []incident.Finding
		reason   string // "" = ask
	}{
		"nobody asked":          {"allow-job-traffic", nil, "nobody asked policy-blocks-ranks or policy-blocks-dns"},
		"could not ask":         {"allow-job-traffic", []incident.Finding{finding("check-policies", incident.Unknown)}, "nobody asked"},
		"unknown":               {"allow-job-traffic", []incident.Finding{finding(ranks, incident.Unknown)}, "policy-blocks-ranks is unknown, and the remedy rests on it: because"},
		"unknown beside a no":   {"allow-job-traffic", []incident.Finding{finding(dns, incident.No), finding(ranks, incident.Unknown)}, "is unknown"},
		"a no after an unknown": {"allow-job-traffic", []incident.Finding{finding(ranks, incident.Unknown), finding(dns, incident.No)}, "is unknown"},
		"no":                    {"allow-job-traffic", []incident.Finding{finding(ranks, incident.No)}, "the answer to policy-blocks-ranks is no"},
		"invalid state":         {"allow-job-traffic", []incident.Finding{finding(ranks, "")}, "is unknown"},
		"yes":                   {"allow-job-traffic", []incident.Finding{finding(ranks, incident.Yes)}, ""},
		"yes beside an unknown": {"allow-job-traffic", []incident.Finding{finding(ranks, incident.Unknown), finding(ranks, incident.Yes)}, ""},
		"either will do":        {"allow-job-traffic", []incident.Finding{finding(ranks, incident.No), finding(dns, incident.Yes)}, ""},
		"both are needed":       {"restore-rdma-resource", []incident.Finding{finding(asked, incident.Yes)}, "nobody asked rdma-offered"},
		"offered is unknown":    {"restore-rdma-resource", []incident.Finding{finding(asked, incident.Yes), finding(offered, incident.Unknown)}, "rdma-offered is unknown"},
		"both are there":        {"restore-rdma-resource", []incident.Finding{finding(asked, incident.Yes), finding(offered, incident.Yes)}, ""},
		"another remedy's yes":  {"restore-rdma-resource", []incident.Finding{finding(ranks, incident.Yes)}, "nobody asked rdma-not-requested"},
		"requested after all":   {"restore-rdma-resource", []incident.Finding{finding(asked, incident.No), finding(offered, incident.Yes)}, "rdma-not-requested is no"},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			in.Findings, in.Plan.Remedy = test.findings, test.remedy
			in.Plan = in.Plan.Seal()
			got := guard.Judge(in)
			if refused := got.Verdict == incident.Refuse; refused != (test.reason != "") || !strings.Contains(strings.Join(got.Reasons, "\n"), test.reason) {
				t.Errorf("%s because %q, want %q", got.Verdict, got.Reasons, test.reason)
			}
		})
	}
}

func vote(by, verdict string) incident.Vote {
	return incident.Vote{By: by, PlanHash: "h1", Verdict: verdict}
}

// TestPromise4OnlyAuthorisedVotesOnThisPlan counts votes.
func TestPromise4OnlyAuthorisedVotesOnThisPlan(t *testing.T) {
	other := vote("alice", incident.Approve)
	other.PlanHash = "h2"
	veto := vote("bob", incident.Deny)
	veto.PlanHash = "h2"
	for name, test := range map[string]struct {
		risk  incident.Risk
		votes []incident.Vote
		want  string
	}{
		"silence":                   {incident.RiskLow, nil, incident.Ask},
		"one is enough":             {incident.RiskMedium, []incident.Vote{vote("alice", incident.Approve)}, incident.Allow},
		"by login":                  {incident.RiskMedium, []incident.Vote{vote("al", incident.Approve)}, incident.Allow},
		"by Slack id":               {incident.RiskMedium, []incident.Vote{vote("U0BOB", incident.Approve)}, incident.Allow},
		"a stranger":                {incident.RiskMedium, []incident.Vote{vote("mallory", incident.Approve)}, incident.Ask},
		"nobody":                    {incident.RiskMedium, []incident.Vote{vote("", incident.Approve)}, incident.Ask}, // bob has no login
		"a stranger's no":           {incident.RiskMedium, []incident.Vote{vote("mallory", incident.Deny), vote("alice", incident.Approve)}, incident.Allow},
		"for another plan":          {incident.RiskMedium, []incident.Vote{other}, incident.Ask},
		"no for another plan":       {incident.RiskMedium, []incident.Vote{veto, vote("alice", incident.Approve)}, incident.Allow},
		"one no ends it":            {incident.RiskMedium, []incident.Vote{vote("alice", incident.Approve), vote("bob", incident.Deny)}, incident.Refuse},
		"no before yes":             {incident.RiskMedium, []incident.Vote{vote("bob", incident.Deny), vote("alice", incident.Approve)}, incident.Refuse},
		"neither yes nor no":        {incident.RiskMedium, []incident.Vote{vote("alice", "maybe")}, incident.Ask},
		"expired is no yes":         {incident.RiskMedium, []incident.Vote{vote("alice", incident.Expired)}, incident.Ask},
		"high needs two":            {incident.RiskHigh, []incident.Vote{vote("alice", incident.Approve)}, incident.Ask},
		"one person is one":         {incident.RiskHigh, []incident.Vote{vote("alice", incident.Approve), vote("al", incident.Approve), vote("U0ALICE", incident.Approve)}, incident.Ask},
		"two people":                {incident.RiskHigh, []incident.Vote{vote("alice", incident.Approve), vote("U0BOB", incident.Approve)}, incident.Allow},
		"a quorum of none is one":   {incident.RiskLow, nil, incident.Ask},
		"the last word of a person": {incident.RiskMedium, []incident.Vote{vote("alice", incident.Deny), vote("alice", incident.Approve)}, incident.Refuse},
	} {
		t.Run(name, func(t *testing.T) {
			settings := approval
			settings.Quorum = map[incident.Risk]int{incident.RiskHigh: 2, incident.RiskLow: 0}
			if got := guard.Tally(settings, incident.Plan{Hash: "h1", Risk: test.risk}, test.votes); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestAuthorisedSaysWhyNot(t *testing.T) {
	for by, want := range map[string]string{"mallory": "not an approver", "": "not an approver"} {
		if ok, why := guard.Authorised(approval, vote(by, incident.Approve)); ok || !strings.Contains(why, want) {
			t.Errorf("%q: %v, %q", by, ok, why)
		}
	}
	if ok, why := guard.Authorised(approval, vote("alice", "expired")); ok || !strings.Contains(why, "neither") {
		t.Errorf("expired: %v, %q", ok, why)
	}
}
