package rig

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Gate stands between the worker and the API server. It changes nothing; it
// can be shut, to play an API server that is away, and it can hold back the
// answer to one request, so that a worker can be killed between its doing and
// its knowing.
type Gate struct {
	server  *http.Server
	address string
	shut    atomic.Bool
	done    chan struct{}

	mutex sync.Mutex
	match func(*http.Request) bool
	held  chan struct{}
}

// NewGate listens on loopback and forwards with the given credentials, so the
// API server still judges the worker by its own roles.
func NewGate(upstream *rest.Config) (*Gate, error) {
	target, err := url.Parse(upstream.Host)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	transport, err := rest.TransportFor(upstream)
	if err != nil {
		return nil, fmt.Errorf("making the gate's way to the API server: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the worker: %w", err)
	}
	gate := &Gate{address: "http://" + listener.Addr().String(), done: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1, // watches and logs stream
		ModifyResponse: gate.holdBack,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	gate.server = &http.Server{Handler: gate.handler(proxy), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(gate.done)
		_ = gate.server.Serve(listener) // ends with ErrServerClosed
	}()
	return gate, nil
}

// Close ends all connections.
func (g *Gate) Close() error {
	err := g.server.Close()
	<-g.done
	return err
}

// Shut makes the API server seem away: connections break without an answer.
func (g *Gate) Shut(away bool) { g.shut.Store(away) }

// Hold keeps back the answer to the first request that matches, after the API
// server has carried it out, until the client is gone. The channel is closed
// when that happens.
func (g *Gate) Hold(match func(*http.Request) bool) <-chan struct{} {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.match, g.held = match, make(chan struct{})
	return g.held
}

func (g *Gate) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.shut.Load() {
			panic(http.ErrAbortHandler) // the connection breaks, as when nobody is there
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Gate) holdBack(answer *http.Response) error {
	g.mutex.Lock()
	hit := g.match != nil && g.match(answer.Request)
	held := g.held
	if hit {
		g.match = nil
	}
	g.mutex.Unlock()
	if !hit {
		return nil
	}
	close(held)
	select {
	case <-answer.Request.Context().Done():
	case <-time.After(time.Minute): // nobody was killed; do not hang for ever
	}
	return errors.New("held back")
}

// WriteKubeconfig writes a kubeconfig that leads through the gate.
func (g *Gate) WriteKubeconfig(dir string) (string, error) {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["lab"] = &clientcmdapi.Cluster{Server: g.address}
	cfg.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab"}
	cfg.CurrentContext = "lab"
	path := filepath.Join(dir, "worker.kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return "", fmt.Errorf("writing the worker's kubeconfig: %w", err)
	}
	return path, os.Chmod(path, 0o600)
}
