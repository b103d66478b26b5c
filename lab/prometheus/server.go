package prometheus

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// queryTimeout bounds a query, as Prometheus does.
const queryTimeout = 2 * time.Minute

// Options of a server; the zero value is good.
type Options struct {
	// Every is the pace of the scrapes; 0 = 15 s.
	Every time.Duration
	// Token that callers must present; "" = none.
	Token string
	// Now is the clock; nil = the real one.
	Now func() time.Time
}

// Server is one running Prometheus.
type Server struct {
	options  Options
	engine   *promql.Engine
	http     *http.Server
	listener net.Listener
	served   chan struct{}

	mu      sync.Mutex
	sources []func() []Series
}

// Start serves on a free port of the loopback interface until Close.
func Start(options Options) (*Server, error) {
	if options.Every == 0 {
		options.Every = 15 * time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the port of the lab's Prometheus: %w", err)
	}
	s := &Server{options: options, listener: listener, served: make(chan struct{})}
	// Prometheus's own defaults (cmd/prometheus, 3.13).
	s.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: queryTimeout, LookbackDelta: 5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true, Parser: parser.NewParser(parser.Options{}),
	})
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // it always ends with ErrServerClosed, by Close
	}()
	return s, nil
}

// URL is where clients find the server.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close stops the server and waits for its end.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	if ended := s.engine.Close(); err == nil {
		err = ended
	}
	return err
}

// Feed adds series.
func (s *Server) Feed(series ...Series) { s.FeedFrom(func() []Series { return series }) }

// FeedFrom adds a source that is asked for its series at every query, for
// series that come and go. What it once gave it should go on giving, ended.
func (s *Server) FeedFrom(source func() []Series) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = append(s.sources, source)
}

// Forget drops everything that was fed.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = nil
}

// Querier reads what is fed now; nothing of the future.
func (s *Server) Querier(mint, maxt int64) (storage.Querier, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &querier{every: s.options.Every, mint: mint, maxt: min(maxt, s.options.Now().UnixMilli())}
	for _, source := range s.sources {
		q.series = append(q.series, source()...)
	}
	return q, nil
}

// instant and span make the two sorts of queries.
func (s *Server) instant(ctx context.Context, text string, at time.Time) (promql.Query, error) {
	return s.engine.NewInstantQuery(ctx, s, nil, text, at)
}

func (s *Server) span(ctx context.Context, text string, from, to time.Time, step time.Duration) (promql.Query, error) {
	return s.engine.NewRangeQuery(ctx, s, nil, text, from, to, step)
}
