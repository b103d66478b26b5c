package commtest

import (
	"time"

	"gpumedic/incident"
)

// clocks are the bounds of one wait.
type clocks struct {
	settings   incident.CommTestSettings
	beat       *time.Ticker
	start, end *time.Timer
	ending     time.Time // when end fires; zero = not armed
}

func newClocks(s incident.CommTestSettings) *clocks {
	c := &clocks{settings: s, beat: time.NewTicker(beatEvery), start: time.NewTimer(s.StartDeadline), end: time.NewTimer(0)}
	c.end.Stop()
	return c
}

func (c *clocks) stop() {
	c.beat.Stop()
	c.start.Stop()
	c.end.Stop()
}

// note arms what the state asks for: all ranks started, or one has failed.
func (c *clocks) note(seen sight) {
	if !seen.allStarted() {
		return
	}
	c.start.Stop()
	if c.ending.IsZero() {
		c.endIn(c.settings.Deadline)
	}
	if seen.failed > 0 && time.Until(c.ending) > afterFailure {
		c.endIn(afterFailure)
	}
}

func (c *clocks) endIn(d time.Duration) {
	c.ending = time.Now().Add(d)
	c.end.Reset(d)
}
