package main

import (
	"github.com/hashicorp/go-hclog"
	sdklog "go.temporal.io/sdk/log"
)

// temporalLog makes an hclog logger one that Temporal's SDK can extend.
type temporalLog struct{ hclog.Logger }

func (l temporalLog) Debug(msg string, pairs ...any) { l.Logger.Debug(msg, pairs...) }
func (l temporalLog) Info(msg string, pairs ...any)  { l.Logger.Info(msg, pairs...) }
func (l temporalLog) Warn(msg string, pairs ...any)  { l.Logger.Warn(msg, pairs...) }
func (l temporalLog) Error(msg string, pairs ...any) { l.Logger.Error(msg, pairs...) }

// With returns a logger that adds these pairs to every line.
func (l temporalLog) With(pairs ...any) sdklog.Logger { return temporalLog{l.Logger.With(pairs...)} }
