package clicks

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// link counts the connections that listen and says once when Slack cannot be
// reached, and once when it is back, however many connections try.
type link struct {
	log hclog.Logger

	mu    sync.Mutex
	alive int
	down  bool
}

func (l *link) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alive
}

// set moves one connection to the state now; alive remembers its last one.
func (l *link) set(alive *bool, now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *alive == now {
		return
	}
	*alive = now
	if !now {
		l.alive--
		return
	}
	l.alive++
	if l.alive > 1 {
		return
	}
	if l.down {
		l.log.Info("slack can be reached again, clicks are received")
	} else {
		l.log.Info("connected to slack, clicks are received")
	}
	l.down = false
}

// failed notes that a connection could not be opened; one that ended because
// ctx did is no failure.
func (l *link) failed(ctx context.Context, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive > 0 || l.down || err == nil || ctx.Err() != nil {
		return
	}
	l.down = true
	l.log.Warn("slack cannot be reached, clicks are not received until it is back; gpumedic approve works", "error", err)
}
