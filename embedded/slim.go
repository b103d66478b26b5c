//go:build slim

package embedded

import "context"

// Server stands for the server that this build has not.
type Server struct{}

// Start always answers ErrSlim.
func Start(context.Context, Options) (*Server, error) { return nil, ErrSlim }

// Address of the frontend; empty in this build.
func (*Server) Address() string { return "" }

// UIURL of the Web UI; empty in this build.
func (*Server) UIURL() string { return "" }

// Namespace that was created; empty in this build.
func (*Server) Namespace() string { return "" }

// Stop does nothing in this build.
func (*Server) Stop() error { return nil }
