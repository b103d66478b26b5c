package frontdoor

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"gpumedic/incident"
)

// acceptWithin bounds how long one delivery may wait for Temporal; after that
// Alertmanager is told to come again.
const acceptWithin = 10 * time.Second

// takeAlerts is POST /alerts.
func (d *Door) takeAlerts(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	result := d.accept(w, r)
	d.metrics.deliveries.WithLabelValues(result).Inc()
	d.metrics.seconds.Observe(time.Since(started).Seconds())
}

// accept answers a delivery and says, for the metrics, how it ended.
func (d *Door) accept(w http.ResponseWriter, r *http.Request) string {
	if !d.authorised(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a bearer token is needed and this one is not it", http.StatusUnauthorized)
		return "unauthorized"
	}
	body := http.MaxBytesReader(w, r.Body, d.cfg.FrontDoor.MaxBodyBytes)
	alerts, err := decode(body, d.cfg.FrontDoor.MaxAlerts, d.Now())
	var no *refusal
	if errors.As(err, &no) {
		d.log.Warn("refused a delivery", "why", no.why, "remote", r.RemoteAddr)
		http.Error(w, no.why, no.status)
		return "refused"
	}
	return d.answer(w, d.deliver(r.Context(), alerts))
}

// delivered is what became of the alerts of one call.
type delivered struct {
	ids []string
	// refused says why Temporal will never take some of them.
	refused []string
	// away is the error that time can mend.
	away error
}

// deliver makes alerts durable, target by target. One target that cannot be
// taken does not hold up the others; Temporal being away does.
func (d *Door) deliver(ctx context.Context, alerts []incident.Alert) delivered {
	ctx, cancel := context.WithTimeout(ctx, acceptWithin)
	defer cancel()
	done := delivered{ids: []string{}}
	for _, next := range group(d.cfg.Targets, d.cfg.Incident.Cluster, alerts) {
		id, err := d.desk.Deliver(ctx, next.hint, next.alerts)
		switch {
		case err == nil:
			done.ids = append(done.ids, id)
			d.metrics.alerts.Add(float64(len(next.alerts)))
		case incident.KindOf(err) == incident.Invalid:
			done.refused = append(done.refused, err.Error())
		default:
			done.away = err
			return done
		}
	}
	return done
}

func (d *Door) answer(w http.ResponseWriter, done delivered) string {
	if len(done.ids) > 0 && done.away == nil {
		d.available()
	}
	switch {
	case done.away != nil:
		d.unavailable(done.away)
		http.Error(w, "the alerts are not durable yet; send them again", http.StatusServiceUnavailable)
		return "unavailable"
	case len(done.refused) > 0:
		d.log.Warn("alerts were refused for good", "why", done.refused)
		http.Error(w, strings.Join(done.refused, "\n"), http.StatusUnprocessableEntity)
		return "refused"
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string][]string{"incidents": done.ids}); err != nil {
		d.log.Debug("the sender went away before the answer", "error", err)
	}
	return "accepted"
}

// authorised compares in constant time; equal lengths are made by hashing.
func (d *Door) authorised(r *http.Request) bool {
	if d.token == "" {
		return true // only on loopback; New refuses otherwise
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, got := sha256.Sum256([]byte(d.token)), sha256.Sum256([]byte(given))
	return ok && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// unavailable says once that Temporal is away, available that it is back.
func (d *Door) unavailable(err error) {
	if d.away.CompareAndSwap(false, true) {
		d.log.Error("Temporal takes nothing; alerts are answered with 503 until it does", "error", err)
	}
}

func (d *Door) available() {
	if d.away.CompareAndSwap(true, false) {
		d.log.Info("Temporal takes alerts again")
	}
}
