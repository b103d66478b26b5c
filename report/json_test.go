package report_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
	"gpumedic/report"
)

// contract is report.json as the published contract lists it, with every
// field that is promised, and no other knowledge of our types.
type contract struct {
	IncidentID  *string                                           `json:"incident_id"`
	Target      *struct{ Cluster, Namespace, Kind, Name *string } `json:"target"`
	Alerts      *[]any                                            `json:"alerts"`
	FailureCase *string                                           `json:"failure_case"`
	RootCause   *string                                           `json:"root_cause"`
	Confidence  *float64                                          `json:"confidence"`
	Blamed      *[]any                                            `json:"blamed"`
	Findings    *[]struct {
		ID, State, Subject *string
		Value              string
		Evidence           []string
	} `json:"findings"`
	CommTest *struct {
		Rounds, Tests *int
		Verdict       *struct {
			Bad *[]struct {
				Kind, ID   *string
				Confidence *float64
			}
			Clean, Inconclusive *bool
			Why                 *string
			Tests, Rounds       *int
			NodeTests           *int `json:"node_tests"`
		}
	} `json:"comm_test"`
	Decisions *[]struct {
		At, What, Verdict *string
		Reasons           *[]string
	} `json:"decisions"`
	Approvals *[]struct {
		By, Via  *string
		PlanHash *string `json:"plan_hash"`
		Verdict  *string
		At       *string
	} `json:"approvals"`
	Changes *[]struct {
		Remedy, Risk, Diff *string
		PlanHash           *string `json:"plan_hash"`
		AppliedAt          *string `json:"applied_at"`
		Verified, Undone   *bool
		UndoComplete       *bool `json:"undo_complete"`
	} `json:"changes"`
	Outcome *string `json:"outcome"`
	Stages  *[]struct {
		Name      *string
		StartedAt *string `json:"started_at"`
		EndedAt   *string `json:"ended_at"`
	} `json:"stages"`
	HumanWaitSeconds *float64 `json:"human_wait_seconds"`
	GPUHoursLost     *float64 `json:"gpu_hours_lost"`
	Evidence         *[]struct {
		Name, SHA256 *string
		Bytes        *int64
	} `json:"evidence"`
	Runbook *struct{ Name, SHA256 *string } `json:"runbook"`
	Build   *string                         `json:"build"`
}

func TestJSONKeepsTheContract(t *testing.T) {
	for name, rec := range records() {
		data, err := report.JSON(rec)
		if err != nil {
			t.Fatal(err)
		}
		var got contract
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for field, missing := range map[string]bool{
			"incident_id": got.IncidentID == nil, "target": got.Target == nil || got.Target.Cluster == nil || got.Target.Namespace == nil || got.Target.Kind == nil || got.Target.Name == nil,
			"alerts": got.Alerts == nil, "failure_case": got.FailureCase == nil, "root_cause": got.RootCause == nil, "confidence": got.Confidence == nil,
			"blamed": got.Blamed == nil, "findings": got.Findings == nil, "decisions": got.Decisions == nil, "approvals": got.Approvals == nil,
			"changes": got.Changes == nil, "outcome": got.Outcome == nil, "stages": got.Stages == nil, "human_wait_seconds": got.HumanWaitSeconds == nil,
			"gpu_hours_lost": got.GPUHoursLost == nil, "evidence": got.Evidence == nil, "runbook": got.Runbook == nil || got.Runbook.SHA256 == nil, "build": got.Build == nil,
		} {
			if missing {
				t.Errorf("%s: %s is missing or null", name, field)
			}
		}
	}
}

func TestJSONKeepsTheContractInside(t *testing.T) {
	rec := resolved()
	no := false
	rec.Changes[0].UndoComplete = &no
	data, err := report.JSON(rec)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "resolved.json", data)
	var got contract
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	test := got.CommTest
	change, vote, decision := (*got.Changes)[0], (*got.Approvals)[0], (*got.Decisions)[0]
	for field, missing := range map[string]bool{
		"comm_test":  test == nil || test.Rounds == nil || test.Tests == nil || test.Verdict == nil || test.Verdict.Bad == nil || test.Verdict.NodeTests == nil || test.Verdict.Clean == nil,
		"changes":    change.Remedy == nil || change.Risk == nil || change.PlanHash == nil || change.Diff == nil || change.AppliedAt == nil || change.Verified == nil || change.Undone == nil || change.UndoComplete == nil,
		"approvals":  vote.By == nil || vote.Via == nil || vote.PlanHash == nil || vote.Verdict == nil || vote.At == nil,
		"decisions":  decision.At == nil || decision.What == nil || decision.Verdict == nil || decision.Reasons == nil,
		"findings":   (*got.Findings)[0].ID == nil || (*got.Findings)[0].State == nil || (*got.Findings)[0].Subject == nil,
		"stages":     (*got.Stages)[0].Name == nil || (*got.Stages)[0].StartedAt == nil || (*got.Stages)[0].EndedAt == nil,
		"evidence":   (*got.Evidence)[0].Name == nil || (*got.Evidence)[0].SHA256 == nil || (*got.Evidence)[0].Bytes == nil,
		"blamed two": len(*got.Blamed) != 2,
	} {
		if missing {
			t.Errorf("%s lacks a promised field", field)
		}
	}
}

// TestRecordComesBack: what a program reads is what was written.
func TestRecordComesBack(t *testing.T) {
	want := resolved()
	data, err := report.JSON(want)
	if err != nil {
		t.Fatal(err)
	}
	var got incident.Record
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want.CommTest.Verdict.Bad, want.Verification.Verdict.Bad = got.CommTest.Verdict.Bad, []incident.BadPart{}
	compact := cmp.Transformer("compact", func(raw json.RawMessage) string {
		var value any
		_ = json.Unmarshal(raw, &value) // what is no JSON compares as nothing
		return fmt.Sprint(value)
	})
	if diff := cmp.Diff(want, got, compact); diff != "" {
		t.Error(diff)
	}
}

func TestBlamedReadsBothForms(t *testing.T) {
	want := incident.Blamed{Kind: "node", Names: []string{"a", "b"}}
	for _, text := range []string{`{"kind":"node","names":["a","b"]}`, `[{"kind":"node","name":"a"},{"kind":"node","name":"b"}]`} {
		var got incident.Blamed
		if err := json.Unmarshal([]byte(text), &got); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestJSONOfBrokenData(t *testing.T) {
	rec := resolved()
	rec.Confidence = math.NaN()
	rec.Plan.Changes[0].Manifest = json.RawMessage(`{"password": "hunter22`)
	rec.Plan.Changes[0].Before = json.RawMessage{}
	data, err := report.JSON(rec)
	if err != nil || !json.Valid(data) {
		t.Errorf("error %v, %d bytes", err, len(data))
	}
}
