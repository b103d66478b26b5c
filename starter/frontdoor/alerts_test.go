package frontdoor_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gpumedic/config"
	"gpumedic/incident"
)

// alert is one alert of a payload, as Alertmanager writes it.
func alert(status, name string, labels ...string) string {
	pairs := []string{fmt.Sprintf("%q:%q", "alertname", name)}
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, fmt.Sprintf("%q:%q", labels[i], labels[i+1]))
	}
	ends := "0001-01-01T00:00:00Z"
	if status == "resolved" {
		ends = "2026-11-24T11:30:00+01:00"
	}
	return fmt.Sprintf(`{"status":%q,"labels":{%s},"annotations":{"summary":"ranks fail"},"startsAt":"2026-11-24T11:00:00.5+01:00","endsAt":%q,"generatorURL":"http://prometheus/graph","fingerprint":"0123456789abcdef"}`,
		status, strings.Join(pairs, ","), ends)
}

// payloadOf is a delivery of version 4.
func payloadOf(alerts ...string) string {
	return `{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":"firing","receiver":"gpumedic","groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://alertmanager","alerts":[` +
		strings.Join(alerts, ",") + `]}`
}

func firing(labels ...string) string {
	return payloadOf(alert("firing", "DistributedTrainingFailure", append([]string{"namespace", "training"}, labels...)...))
}

// accepted is a desk that takes everything and remembers it.
type accepted struct {
	hints  []string
	alerts [][]incident.Alert
}

func (a *accepted) desk() *desk {
	return &desk{deliver: func(hint incident.Target, alerts []incident.Alert) (string, error) {
		a.hints = append(a.hints, hint.ID())
		a.alerts = append(a.alerts, alerts)
		return hint.ID(), nil
	}}
}

// TestBadDeliveriesAreRefused sends what a retry cannot mend: 4xx with the
// reason and its place, and nothing is delivered.
func TestBadDeliveriesAreRefused(t *testing.T) {
	good := alert("firing", "A", "job_name", "a")
	for name, test := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"nothing":            {"", 400, "not an Alertmanager webhook"},
		"not JSON":           {"alerts!", 400, "line 1, column 1"},
		"JSON that breaks":   {"{\n \"version\": \"4\",\n \"alerts\": [}", 400, "line 3, column 13"},
		"two objects":        {payloadOf(good) + "{}", 400, "not an Alertmanager webhook"},
		"a list":             {"[]", 400, "not an Alertmanager webhook"},
		"wrong type":         {`{"version":"4","alerts":"none"}`, 400, "alerts is a string"},
		"wrong label type":   {`{"version":"4","alerts":[{"labels":{"a":1}}]}`, 400, "alerts.labels"},
		"wrong time":         {strings.Replace(payloadOf(good), "2026-11-24T11:00:00.5+01:00", "yesterday", 1), 400, "yesterday"},
		"version 3":          {strings.Replace(payloadOf(good), `"version":"4"`, `"version":"3"`, 1), 400, `version is "3"`},
		"version as number":  {strings.Replace(payloadOf(good), `"version":"4"`, `"version":4`, 1), 400, "version is a number"},
		"custom payload":     {`{"text":"job llama-70b is ill"}`, 400, "custom payload"},
		"no alerts":          {payloadOf(), 400, "alerts is empty"},
		"too many alerts":    {payloadOf(good, good, good, good), 413, "set max_alerts"},
		"too large":          {payloadOf(strings.Repeat(" ", 5000) + good), 413, "larger than 4096 bytes"},
		"no alertname":       {payloadOf(good, `{"status":"firing","labels":{}}`), 400, "alerts[1] has no label alertname"},
		"unknown status":     {payloadOf(alert("suppressed", "A")), 400, `alerts[0].status is "suppressed"`},
		"no fingerprint":     {strings.Replace(payloadOf(good), "0123456789abcdef", "", 1), 400, "alerts[0] needs fingerprint"},
		"no start":           {strings.Replace(payloadOf(good), "2026-11-24T11:00:00.5+01:00", "0001-01-01T00:00:00Z", 1), 400, "startsAt"},
		"one bad spoils all": {payloadOf(good, alert("maybe", "B")), 400, "alerts[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, server, _ := open(t, &desk{}, func(cfg *config.Config) { cfg.FrontDoor.MaxBodyBytes, cfg.FrontDoor.MaxAlerts = 4096, 3 })
			status, body := post(t, server, test.body)
			if status != test.status || !strings.Contains(body, test.says) {
				t.Errorf("got %d %q, want %d with %q", status, body, test.status, test.says)
			}
			if _, metrics := get(t, server, "/metrics"); !strings.Contains(metrics, `gpumedic_deliveries_total{result="refused"} 1`) {
				t.Errorf("the refusal is not counted:\n%s", metrics)
			}
		})
	}
}

// TestBodyThatBreaksOff is a sender that promises more than it sends.
func TestBodyThatBreaksOff(t *testing.T) {
	door, _, _ := open(t, &desk{}, nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/alerts", brokenReader{})
	if err != nil {
		t.Fatal(err)
	}
	answer := newRecorder()
	door.Handler().ServeHTTP(answer, request)
	if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "broke off") {
		t.Errorf("got %d %q", answer.Code, answer.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestToken(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"none":            {nil, 401},
		"empty":           {[]string{"Authorization", ""}, 401},
		"wrong":           {[]string{"Authorization", "Bearer s3cres"}, 401},
		"beginning of it": {[]string{"Authorization", "Bearer s3"}, 401},
		"without scheme":  {[]string{"Authorization", "s3cret"}, 401},
		"other scheme":    {[]string{"Authorization", "Basic s3cret"}, 401},
		"other header":    {[]string{"X-Token", "s3cret"}, 401},
		"right":           {[]string{"Authorization", "Bearer s3cret"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var got accepted
			_, server, log := open(t, got.desk(), func(cfg *config.Config) { cfg.FrontDoor.Token = config.Secret{File: token} })
			status, body := post(t, server, firing("job_name", "a"), test.header...)
			if status != test.status || (status == 200) != (len(got.hints) == 1) {
				t.Errorf("got %d %q and %d deliveries, want %d", status, body, len(got.hints), test.status)
			}
			if strings.Contains(body, "s3cret") || log.count("s3cret") > 0 {
				t.Error("the token shows")
			}
		})
	}
}

// TestPromise1NothingIsAnswered200BeforeItIsDurable takes Temporal away and
// brings it back: 503 all the while, said once, and 200 only for what was
// stored.
func TestPromise1NothingIsAnswered200BeforeItIsDurable(t *testing.T) {
	var got accepted
	d, away := got.desk(), true
	take := d.deliver
	d.deliver = func(hint incident.Target, alerts []incident.Alert) (string, error) {
		if away {
			return "", errors.New("connection refused")
		}
		return take(hint, alerts)
	}
	_, server, log := open(t, d, nil)
	for range 3 {
		if status, _ := post(t, server, firing("job_name", "a")); status != http.StatusServiceUnavailable {
			t.Fatalf("got %d while Temporal is away", status)
		}
	}
	// A delivery that needs no Temporal proves nothing about it.
	if status, _ := post(t, server, payloadOf(alert("firing", "Watchdog"))); status != http.StatusOK {
		t.Errorf("Watchdog: %d", status)
	}
	if n := log.count("Temporal takes alerts again"); n != 0 {
		t.Error("said that Temporal is back, and it is not")
	}
	away = false
	for range 2 {
		if status, _ := post(t, server, firing("job_name", "a")); status != http.StatusOK {
			t.Fatalf("got %d after Temporal came back", status)
		}
	}
	if down, up := log.count("Temporal takes nothing"), log.count("Temporal takes alerts again"); down != 1 || up != 1 {
		t.Errorf("said %d times that Temporal is away and %d times that it is back, want once each", down, up)
	}
	if len(got.hints) != 2 {
		t.Errorf("%d deliveries were stored, want 2", len(got.hints))
	}
}

// TestPromise1PartOfADelivery: when one target's alerts are not stored, the
// whole delivery must come again.
func TestPromise1PartOfADelivery(t *testing.T) {
	var got accepted
	d := got.desk()
	take := d.deliver
	d.deliver = func(hint incident.Target, alerts []incident.Alert) (string, error) {
		if hint.Name == "b" {
			return "", errors.New("deadline exceeded")
		}
		return take(hint, alerts)
	}
	_, server, _ := open(t, d, nil)
	body := payloadOf(alert("firing", "A", "namespace", "n", "job_name", "a"), alert("firing", "A", "namespace", "n", "job_name", "b"))
	if status, text := post(t, server, body); status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", status, text)
	}
	if diff := cmp.Diff([]string{"incident/lab/n/job/a"}, got.hints); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPromise1OneThatCanNeverBeStored neither blocks the others nor is it
// asked for again for ever.
func TestPromise1OneThatCanNeverBeStored(t *testing.T) {
	var got accepted
	d := got.desk()
	take := d.deliver
	d.deliver = func(hint incident.Target, alerts []incident.Alert) (string, error) {
		if hint.Name == "poison" {
			return "", incident.Faultf(incident.Invalid, errors.New("the id is too long"), "handing over")
		}
		return take(hint, alerts)
	}
	_, server, _ := open(t, d, nil)
	body := payloadOf(alert("firing", "A", "namespace", "n", "job_name", "poison"), alert("firing", "A", "namespace", "n", "job_name", "b"))
	if status, text := post(t, server, body); status != http.StatusUnprocessableEntity || !strings.Contains(text, "too long") {
		t.Errorf("got %d %s", status, text)
	}
	if diff := cmp.Diff([]string{"incident/lab/n/job/b"}, got.hints); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPromise2AlertsOfOneTargetAreOneDelivery groups by target, whatever the
// alerts are called, in the order they came.
func TestPromise2AlertsOfOneTargetAreOneDelivery(t *testing.T) {
	var got accepted
	_, server, _ := open(t, got.desk(), nil)
	body := payloadOf(
		alert("firing", "NCCLErrors", "namespace", "training", "job_name", "llama"),
		alert("firing", "NodeSick", "node", "gpu-07"),
		alert("firing", "JobStuck", "exported_namespace", "training", "job_name", "llama", "severity", "page"),
		alert("firing", "NCCLErrors", "namespace", "other", "job_name", "llama"),
	)
	status, text := post(t, server, body)
	if want := `{"incidents":["incident/lab/training/job/llama","incident/lab/-/node/gpu-07","incident/lab/other/job/llama"]}` + "\n"; status != 200 || text != want {
		t.Errorf("got %d %s", status, text)
	}
	names := [][]string{}
	for _, alerts := range got.alerts {
		var of []string
		for _, a := range alerts {
			of = append(of, a.Name)
		}
		names = append(names, of)
	}
	if diff := cmp.Diff([][]string{{"NCCLErrors", "JobStuck"}, {"NodeSick"}, {"NCCLErrors"}}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPromise2Duplicates are handed on as they are: the same incident, the
// same episode, which the incident counts once.
func TestPromise2Duplicates(t *testing.T) {
	var got accepted
	_, server, _ := open(t, got.desk(), nil)
	for range 3 {
		if status, text := post(t, server, firing("job_name", "llama")); status != 200 {
			t.Fatalf("got %d %s", status, text)
		}
	}
	for i, hint := range got.hints {
		if hint != got.hints[0] || got.alerts[i][0].Episode() != got.alerts[0][0].Episode() {
			t.Errorf("delivery %d is %s %s", i, hint, got.alerts[i][0].Episode())
		}
	}
}

// TestResolvedBeforeFiring: what is resolved is delivered too, also when its
// firing was never seen; the incident knows what to do with it.
func TestResolvedBeforeFiring(t *testing.T) {
	var got accepted
	_, server, _ := open(t, got.desk(), nil)
	for _, status := range []string{"resolved", "firing"} {
		if code, text := post(t, server, payloadOf(alert(status, "A", "namespace", "n", "job_name", "a"))); code != 200 {
			t.Fatalf("%s: got %d %s", status, code, text)
		}
	}
	want := func(status incident.AlertStatus, ends time.Time) []incident.Alert {
		return []incident.Alert{{
			Name: "A", Status: status, Labels: map[string]string{"alertname": "A", "namespace": "n", "job_name": "a"},
			Annotations: map[string]string{"summary": "ranks fail"}, Fingerprint: "0123456789abcdef",
			StartsAt: time.Date(2026, 11, 24, 10, 0, 0, 5e8, time.UTC), EndsAt: ends, ReceivedAt: noon,
		}}
	}
	expected := [][]incident.Alert{
		want(incident.AlertResolved, time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)),
		want(incident.AlertFiring, time.Time{}),
	}
	if diff := cmp.Diff(expected, got.alerts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHousekeepingAlertsAreNoIncidents(t *testing.T) {
	var got accepted
	_, server, _ := open(t, got.desk(), nil)
	body := payloadOf(alert("firing", "Watchdog"), alert("firing", "InfoInhibitor", "namespace", "n"), alert("firing", "A", "node", "gpu-01"))
	if status, text := post(t, server, body); status != 200 || len(got.hints) != 1 {
		t.Errorf("got %d %s", status, text)
	}
	if status, text := post(t, server, payloadOf(alert("firing", "Watchdog"))); status != 200 || text != `{"incidents":[]}`+"\n" {
		t.Errorf("got %d %s", status, text)
	}
}

// TestFieldsOfNewerReleases are passed over.
func TestFieldsOfNewerReleases(t *testing.T) {
	var got accepted
	_, server, _ := open(t, got.desk(), nil)
	body := strings.Replace(firing("job_name", "a"), `"version":"4"`, `"version":"4","notificationReason":"repeat","x":{"y":[1]}`, 1)
	body = strings.Replace(body, `"status":"firing","labels"`, `"status":"firing","id":7,"labels"`, 1)
	if status, text := post(t, server, body); status != 200 || len(got.hints) != 1 {
		t.Errorf("got %d %s", status, text)
	}
}

func TestAlertsArePosted(t *testing.T) {
	_, server, _ := open(t, &desk{}, nil)
	if status, _ := get(t, server, "/alerts"); status != http.StatusMethodNotAllowed {
		t.Errorf("GET /alerts: %d", status)
	}
}
