//go:build !slim

package embedded

import (
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/server/common/log/tag"
)

// logger hands the server's lines to hclog one level down: what the server
// calls an error is mostly a poll that ended because somebody stopped.
type logger struct {
	out   hclog.Logger
	quiet atomic.Bool
}

func newLogger(out hclog.Logger) *logger { return &logger{out: out.Named("temporal")} }

// mute drops everything from now on; a server that stops complains at length.
func (l *logger) mute() { l.quiet.Store(true) }

func (l *logger) Debug(msg string, tags ...tag.Tag) { l.write(hclog.Trace, msg, tags) }
func (l *logger) Info(msg string, tags ...tag.Tag)  { l.write(hclog.Debug, msg, tags) }
func (l *logger) Warn(msg string, tags ...tag.Tag)  { l.write(hclog.Debug, msg, tags) }
func (l *logger) Error(msg string, tags ...tag.Tag) { l.write(hclog.Warn, msg, tags) }

func (l *logger) DPanic(msg string, tags ...tag.Tag) { l.write(hclog.Error, msg, tags) }
func (l *logger) Panic(msg string, tags ...tag.Tag)  { l.write(hclog.Error, msg, tags); panic(msg) }

// Fatal panics instead of exiting, so that the owner's cleanup still runs.
func (l *logger) Fatal(msg string, tags ...tag.Tag) { l.write(hclog.Error, msg, tags); panic(msg) }

func (l *logger) write(level hclog.Level, msg string, tags []tag.Tag) {
	if l.quiet.Load() {
		return
	}
	pairs := make([]any, 0, 2*len(tags))
	for _, t := range tags {
		pairs = append(pairs, t.Key(), t.Value())
	}
	l.out.Log(level, msg, pairs...)
}
