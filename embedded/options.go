package embedded

import (
	"errors"

	"github.com/hashicorp/go-hclog"
)

// ErrSlim is returned by Start in binaries built with tag slim.
var ErrSlim = errors.New("starting Temporal in-process: this binary was built without it (tag slim); give the address of a Temporal cluster")

// Options says where the server keeps its state and listens.
type Options struct {
	// File is the SQLite file; "" keeps everything in memory.
	File string
	// Port of the gRPC frontend and of the Web UI; 0 takes a free one.
	Port, UIPort int
	// UI starts the Web UI as well.
	UI bool
	// Namespace is created when it is not there; "" means "gpumedic".
	Namespace string
	// Log receives the server's own lines; nil drops them.
	Log hclog.Logger
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = "gpumedic"
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o
}
