//go:build !slim

package embedded

import (
	"context"
	"fmt"
	"net"
	"time"

	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

// Server is a running Temporal with its UI. Stop it when done.
type Server struct {
	temporal  temporal.Server
	ui        *webUI
	log       *logger
	lock      *fileLock
	address   string
	namespace string
}

// Start brings the server up and returns when it answers, in about half a
// second. A second process on the same file is refused.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts = opts.withDefaults()
	lock, err := lockFile(opts.File)
	if err != nil {
		return nil, err
	}
	server, err := start(ctx, opts)
	if err != nil {
		lock.release()
		return nil, err
	}
	server.lock = lock
	return server, nil
}

func start(ctx context.Context, opts Options) (*Server, error) {
	ports, err := freePorts(opts.Port, 0, 0, 0, opts.UIPort)
	if err != nil {
		return nil, err
	}
	cfg := serverConfig(opts, ports)
	if err := prepareStore(cfg, opts); err != nil {
		return nil, err
	}
	server := &Server{log: newLogger(opts.Log), namespace: opts.Namespace, address: loopback(ports[0])}
	server.temporal, err = newTemporal(cfg, ports, server.log)
	if err != nil {
		return nil, fmt.Errorf("building the embedded Temporal server: %w", err)
	}
	if err := server.temporal.Start(); err != nil {
		return nil, fmt.Errorf("starting the embedded Temporal server: %w", err)
	}
	if opts.UI {
		server.ui = startUI(server.address, ports[4], opts.Namespace)
	}
	if err := server.await(ctx); err != nil {
		return nil, fmt.Errorf("waiting for the embedded Temporal server: %w", err)
	}
	return server, nil
}

func newTemporal(cfg *config.Config, ports []int, log log.Logger) (temporal.Server, error) {
	hosts := map[primitives.ServiceName]static.Hosts{}
	for i, name := range serviceNames {
		hosts[name] = static.Hosts{All: []string{loopback(ports[i])}, Self: loopback(ports[i])}
	}
	return temporal.NewServer(
		temporal.WithConfig(cfg),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(log),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithDynamicConfigClient(dynamicSettings()),
	)
}

// Address is host:port of the gRPC frontend.
func (s *Server) Address() string { return s.address }

// Namespace is the namespace that was created.
func (s *Server) Namespace() string { return s.namespace }

// UIURL is where people look, "" without UI.
func (s *Server) UIURL() string {
	if s.ui == nil {
		return ""
	}
	return s.ui.url
}

// Stop ends the UI and the server; it takes about a second.
func (s *Server) Stop() error {
	s.log.mute()
	if s.ui != nil {
		s.ui.stop()
	}
	err := s.temporal.Stop()
	s.lock.release()
	return err
}

// await returns once the frontend accepts connections.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", s.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer on %s: %w", s.address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePorts keeps the wanted ports that are not 0 and finds free ones for the
// rest. All are held open until all are known, so that no two are the same.
func freePorts(wanted ...int) ([]int, error) {
	ports := make([]int, len(wanted))
	for i, port := range wanted {
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			return nil, fmt.Errorf("taking port %d for the embedded Temporal server: %w", port, err)
		}
		defer listener.Close()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
