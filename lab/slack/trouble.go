package slack

import (
	"fmt"
	"time"
)

// Outage is how Slack is away.
type Outage string

// The ways. The zero value means Slack is well.
const (
	// Well means no outage.
	Well Outage = ""
	// Refused closes the port: no connection at all, the page is away too.
	Refused Outage = "refused"
	// Failing answers every call with status 503 and an HTML body.
	Failing Outage = "failing"
	// Erring answers every call with ok:false, internal_error.
	Erring Outage = "erring"
)

// SetOutage starts or ends an outage. Every outage ends the Socket Mode
// connections.
func (s *Server) SetOutage(outage Outage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		return fmt.Errorf("setting outage %q: the stand-in does not run", outage)
	}
	s.outage = outage
	switch {
	case outage == Refused:
		s.hangUp()
	case outage != Well:
		s.hub.closeAll()
	}
	if outage != Refused && s.http == nil {
		return s.listen()
	}
	return nil
}

// limit makes the next calls hit the rate limit.
type limit struct {
	calls int
	after time.Duration
}

// RateLimit answers the next calls of the Web API with status 429 and
// Retry-After, which Slack gives in whole seconds.
func (s *Server) RateLimit(calls int, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit{calls: calls, after: retryAfter}
}

// trouble tells what is in the way of one call, and counts it.
func (s *Server) trouble() (outage Outage, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outage == Well && s.limit.calls > 0 {
		s.limit.calls--
		return Well, max(time.Second, s.limit.after)
	}
	return s.outage, 0
}

// away says whether there is an outage.
func (s *Server) away() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outage != Well
}
