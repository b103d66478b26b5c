package frontdoor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"gpumedic/incident"
)

// payload is Alertmanager's webhook body, version 4 (notify/webhook of
// Alertmanager 0.2x to 0.34). Newer releases add fields, so unknown ones are
// accepted; wrong types are not.
type payload struct {
	Version         string         `json:"version"`
	GroupKey        string         `json:"groupKey"`
	TruncatedAlerts uint64         `json:"truncatedAlerts"`
	Status          string         `json:"status"`
	Receiver        string         `json:"receiver"`
	Alerts          []payloadAlert `json:"alerts"`
}

type payloadAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// refusal is an answer that a retry cannot change.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, why: fmt.Sprintf(format, args...)}
}

// housekeeping alerts fire always, by design; they are no incidents.
var housekeeping = map[string]bool{"Watchdog": true, "InfoInhibitor": true}

// decode reads a delivery within the limits. Alerts that are house-keeping
// are left out.
func decode(body io.Reader, maxAlerts int, now time.Time) ([]incident.Alert, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, tooLarge(err)
	}
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is not an Alertmanager webhook: %s", jsonPlace(data, err))
	}
	if p.Version != "4" {
		return nil, refuse(http.StatusBadRequest, "version is %q, want \"4\"; a receiver with a custom payload cannot be read", p.Version)
	}
	if len(p.Alerts) == 0 {
		return nil, refuse(http.StatusBadRequest, "alerts is empty")
	}
	if len(p.Alerts) > maxAlerts {
		return nil, refuse(http.StatusRequestEntityTooLarge, "%d alerts in one delivery, at most %d are taken; set max_alerts on the receiver", len(p.Alerts), maxAlerts)
	}
	return convert(p.Alerts, now)
}

func convert(in []payloadAlert, now time.Time) ([]incident.Alert, error) {
	var alerts []incident.Alert
	for i, a := range in {
		name := a.Labels["alertname"]
		switch {
		case name == "":
			return nil, refuse(http.StatusBadRequest, "alerts[%d] has no label alertname", i)
		case a.Status != string(incident.AlertFiring) && a.Status != string(incident.AlertResolved):
			return nil, refuse(http.StatusBadRequest, "alerts[%d].status is %q, want firing or resolved", i, a.Status)
		case a.Fingerprint == "" || a.StartsAt.IsZero():
			return nil, refuse(http.StatusBadRequest, "alerts[%d] needs fingerprint and startsAt", i)
		case housekeeping[name]:
			continue
		}
		alert := incident.Alert{
			Name: name, Status: incident.AlertStatus(a.Status), Labels: a.Labels, Annotations: a.Annotations,
			StartsAt: a.StartsAt.UTC(), Fingerprint: a.Fingerprint, ReceivedAt: now.UTC(),
		}
		if alert.Status == incident.AlertResolved {
			alert.EndsAt = a.EndsAt.UTC()
		}
		alerts = append(alerts, alert)
	}
	return alerts, nil
}

// tooLarge tells a body over the limit from one that broke off.
func tooLarge(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", large.Limit)
	}
	return refuse(http.StatusBadRequest, "the body broke off: %v", err)
}

// jsonPlace says what is wrong and where, as line and column.
func jsonPlace(data []byte, err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return place(data, syntax.Offset) + ": " + err.Error()
	case errors.As(err, &wrong):
		return fmt.Sprintf("%s: %s is a %s, want %s", place(data, wrong.Offset), wrong.Field, wrong.Value, wrong.Type)
	default:
		return err.Error()
	}
}

func place(data []byte, offset int64) string {
	before := data[:min(int(offset), len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return fmt.Sprintf("line %d, column %d", line, column)
}
