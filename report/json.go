package report

import (
	"encoding/json"

	"gpumedic/incident"
)

// published is a record as report.json has it: blamed is a list with one
// entry for each that is at fault.
type published struct {
	incident.Record
	Blamed []blamedOne `json:"blamed"`
}

type blamedOne struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// JSON gives report.json. Lists that are empty are [], never null. An error
// is a defect of ours.
func JSON(rec incident.Record) ([]byte, error) {
	rec = filled(scrubbed(rec))
	out := published{Record: rec, Blamed: blamedOnes(rec.Blamed)}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "encoding the report of %s", rec.IncidentID)
	}
	return append(data, '\n'), nil
}

// blamedOnes lists who is at fault. A kind without names is told all the same.
func blamedOnes(blamed incident.Blamed) []blamedOne {
	out := []blamedOne{}
	for _, name := range blamed.Names {
		out = append(out, blamedOne{Kind: blamed.Kind, Name: name})
	}
	if len(out) == 0 && blamed.Kind != "" {
		out = append(out, blamedOne{Kind: blamed.Kind})
	}
	return out
}

// filled has no nil where the contract promises a list.
func filled(rec incident.Record) incident.Record {
	rec.Alerts = list(rec.Alerts)
	rec.Findings = list(rec.Findings)
	rec.Decisions = list(rec.Decisions)
	rec.Approvals = list(rec.Approvals)
	rec.Changes = list(rec.Changes)
	rec.Stages = list(rec.Stages)
	rec.Story = list(rec.Story)
	rec.Evidence = list(rec.Evidence)
	for i := range rec.Decisions {
		rec.Decisions[i].Reasons = list(rec.Decisions[i].Reasons)
	}
	for _, test := range []*incident.CommTest{rec.CommTest, rec.Verification} {
		if test != nil {
			test.Verdict.Bad = list(test.Verdict.Bad)
		}
	}
	return rec
}

func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
