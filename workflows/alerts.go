package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
)

// settle is how long an incident that has seen only "resolved" waits for the
// "firing" that may have been overtaken on the way.
const settle = 5 * time.Second

// listen takes in alerts for as long as the incident lives.
func (s *story) listen(ctx workflow.Context) {
	s.take(ctx, s.in.Alerts)
	channel := workflow.GetSignalChannel(ctx, AlertSignal)
	s.drain(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var delivery AlertSignalInput
			if more := channel.Receive(ctx, &delivery); !more {
				return
			}
			s.take(ctx, delivery.Alerts)
		}
	})
}

// drain takes in what has already arrived, without waiting.
func (s *story) drain(ctx workflow.Context) {
	channel := workflow.GetSignalChannel(ctx, AlertSignal)
	var delivery AlertSignalInput
	for channel.ReceiveAsync(&delivery) {
		s.take(ctx, delivery.Alerts)
		delivery = AlertSignalInput{}
	}
}

// take joins alerts to the incident. Repeated deliveries of one episode are
// counted, not listed; a resolve closes its episode, also when it came first.
func (s *story) take(ctx workflow.Context, alerts []incident.Alert) {
	for _, alert := range alerts {
		episode := alert.Episode()
		resolved := alert.Status == incident.AlertResolved
		s.seen[episode]++
		first := s.seen[episode] == 1
		if first {
			s.open[episode] = true
		}
		changes := first || (resolved && s.open[episode])
		if resolved {
			s.open[episode] = false
		}
		if changes {
			s.record.Alerts = append(s.record.Alerts, alert)
			s.note(ctx, "alert", "alert %s is %s", alert.Name, alert.Status)
		}
	}
}

// firing says whether any episode still fires.
func (s *story) firing() bool {
	for _, alert := range s.record.Alerts {
		if s.open[alert.Episode()] {
			return true
		}
	}
	return false
}

// fresh says whether any firing alert started recently enough to act on. An
// old one is a repetition of something that people know about.
func (s *story) fresh(ctx workflow.Context) bool {
	oldest := workflow.Now(ctx).Add(-s.in.Settings.StaleAfter)
	for _, alert := range s.record.Alerts {
		if s.open[alert.Episode()] && alert.StartsAt.After(oldest) {
			return true
		}
	}
	return false
}

// mayAct waits for a reason to act and says whether there is one.
func (s *story) mayAct(ctx workflow.Context) bool {
	// A delivery always comes with the start; the bound is for a defect.
	if ok, err := workflow.AwaitWithTimeout(ctx, time.Minute, func() bool { return len(s.record.Alerts) > 0 }); err != nil || !ok {
		s.end(incident.SelfResolved, "No alert arrived.", "")
		return false
	}
	if !s.firing() {
		_, _ = workflow.AwaitWithTimeout(ctx, settle, s.firing) // cancellation shows in the next step
	}
	if !s.firing() {
		s.end(incident.SelfResolved, "The alert was resolved before an incident was open; nothing was looked at or changed.", "")
		return false
	}
	if !s.fresh(ctx) {
		s.decide(ctx, "act on the alert", incident.Refuse,
			"the alert is stale: it has been firing for longer than "+s.in.Settings.StaleAfter.String())
		s.end(incident.Refused, "The alert is older than gpumedic acts on; it was recorded and nothing was changed.",
			"If the target is still ill, open an incident by hand: gpumedic start.")
		return false
	}
	return true
}
