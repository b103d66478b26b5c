package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/workflows"
)

// Desk is where deliveries become durable and incidents are looked up.
type Desk interface {
	// Deliver hands alerts to the incident of hint and opens it where there is
	// none. It returns the incident's id once Temporal has stored the alerts.
	// An error of kind invalid is one that trying again cannot mend.
	Deliver(ctx context.Context, hint incident.Target, alerts []incident.Alert) (string, error)
	// Ready says whether Temporal answers.
	Ready(ctx context.Context) error
	// List gives the newest incidents first, at most limit.
	List(ctx context.Context, limit int) ([]Entry, error)
	// View shows one incident.
	View(ctx context.Context, id string) (workflows.View, error)
}

// Entry is one line of the list of incidents.
type Entry struct {
	ID       string    `json:"incident_id"`
	Status   string    `json:"status"`
	OpenedAt time.Time `json:"opened_at"`
	ClosedAt time.Time `json:"closed_at,omitzero"`
}

// Door is the HTTP server.
type Door struct {
	// Now is the clock; New sets the real one.
	Now func() time.Time
	// Clicks takes POST /slack/interactions; nil answers 404.
	Clicks http.Handler
	// SlackReady says whether Slack is connected; nil when it is not configured.
	SlackReady func() error
	// Report reads a rendered report of an incident; nil when the evidence
	// store cannot be read from here.
	Report func(ctx context.Context, view workflows.View) ([]byte, error)

	cfg     config.Config
	desk    Desk
	log     hclog.Logger
	token   string
	away    atomic.Bool
	metrics *metrics
}

// New checks the configuration: beyond loopback a token is needed.
func New(cfg config.Config, desk Desk, log hclog.Logger) (*Door, error) {
	token, err := cfg.FrontDoor.Token.Read()
	if err != nil {
		return nil, fmt.Errorf("opening the front door: %w", err)
	}
	host, _, err := net.SplitHostPort(cfg.FrontDoor.Listen)
	if err != nil {
		return nil, fmt.Errorf("opening the front door at %q: %w", cfg.FrontDoor.Listen, err)
	}
	if token == "" && !config.Loopback(host) {
		return nil, fmt.Errorf("opening the front door at %s: it is beyond loopback, so front_door.token is needed", cfg.FrontDoor.Listen)
	}
	return &Door{Now: time.Now, cfg: cfg, desk: desk, log: log, token: token, metrics: newMetrics()}, nil
}

// Handler is everything the door serves.
func (d *Door) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /alerts", d.takeAlerts)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", d.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /{$}", d.list)
	mux.HandleFunc("GET /incidents/{id...}", d.show)
	mux.HandleFunc("GET /reports/{id...}", d.showReport)
	if d.Clicks != nil {
		mux.Handle("/slack/interactions", d.Clicks)
	}
	return mux
}

// Run serves until ctx ends, then lets running requests finish.
func (d *Door) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", d.cfg.FrontDoor.Listen)
	if err != nil {
		return fmt.Errorf("opening the front door: %w", err)
	}
	return d.Serve(ctx, listener)
}

// Serve is Run on a listener of the caller's.
func (d *Door) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: d.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	d.log.Info("front door is open", "address", listener.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the front door: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := server.Shutdown(last)
	<-ended //nolint:errcheck // always http.ErrServerClosed after a shutdown
	return err
}

// ready is GET /readyz: everything the door needs answers.
func (d *Door) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	err := d.desk.Ready(ctx)
	if d.SlackReady != nil {
		err = errors.Join(err, d.SlackReady())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// metrics of the door, under the prefix gpumedic_.
type metrics struct {
	registry   *prometheus.Registry
	deliveries *prometheus.CounterVec
	alerts     prometheus.Counter
	seconds    prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gpumedic_deliveries_total", Help: "Webhook deliveries by result: accepted, refused, unauthorized, unavailable."}, []string{"result"}),
		alerts:     prometheus.NewCounter(prometheus.CounterOpts{Name: "gpumedic_alerts_accepted_total", Help: "Alerts that were made durable."}),
		seconds:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gpumedic_delivery_duration_seconds", Help: "Time to answer a delivery.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12)}),
	}
	m.registry.MustRegister(m.deliveries, m.alerts, m.seconds)
	for _, result := range []string{"accepted", "refused", "unauthorized", "unavailable"} {
		m.deliveries.WithLabelValues(result) // present from the start, so that rates work
	}
	return m
}
