package incident

import "time"

// AlertStatus says whether an alert's condition holds. The zero value is not
// valid.
type AlertStatus string

// The two states Alertmanager sends (webhook payload version 4).
const (
	AlertFiring   AlertStatus = "firing"
	AlertResolved AlertStatus = "resolved"
)

// Alert is one firing or resolved notification, as Alertmanager sends it.
type Alert struct {
	Name        string            `json:"name"`
	Status      AlertStatus       `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// StartsAt stays fixed while the same alert keeps firing.
	StartsAt time.Time `json:"starts_at"`
	// EndsAt is meaningful for resolved alerts only; Alertmanager zeroes it
	// on firing ones.
	EndsAt time.Time `json:"ends_at,omitzero"`
	// Fingerprint is Alertmanager's hash of the label set, 16 hex digits.
	Fingerprint string `json:"fingerprint"`
	// ReceivedAt is when the front door accepted it.
	ReceivedAt time.Time `json:"received_at"`
}

// Episode identifies one firing of one alert: notifications that repeat have
// the same episode, a re-fire after a resolve has a new one.
func (a Alert) Episode() string {
	return a.Fingerprint + "@" + a.StartsAt.UTC().Format(time.RFC3339Nano)
}
