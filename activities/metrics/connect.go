package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/config"

	"gpumedic/incident"
)

// Way is how a Prometheus is reached.
type Way struct {
	URL string
	// Token is sent as bearer token; TokenFile is read anew when it changes. At
	// most one of the two is set.
	Token, TokenFile string
	// CAFile holds the authorities for the server's certificate; "" = the system's.
	CAFile string
}

// Connect makes the client of one Prometheus. It asks nothing yet; an error
// means that the way itself is wrong.
func Connect(way Way) (v1.API, error) {
	options := config.DefaultHTTPClientConfig
	options.TLSConfig.CAFile = way.CAFile
	if way.Token != "" || way.TokenFile != "" {
		options.Authorization = &config.Authorization{Type: "Bearer", Credentials: config.Secret(way.Token), CredentialsFile: way.TokenFile}
	}
	transport, err := config.NewRoundTripperFromConfig(options, "gpumedic")
	if err != nil {
		return nil, fmt.Errorf("making the client of Prometheus: %w", err)
	}
	client, err := api.NewClient(api.Config{Address: way.URL, RoundTripper: transport})
	if err != nil {
		return nil, fmt.Errorf("making the client of Prometheus: %w", err)
	}
	return v1.NewAPI(client), nil
}

// classify turns an error of Prometheus, or of the way to it, into a Fault that
// says what to do next.
func classify(err error, doing string) error {
	kind, next := kindOf(err)
	return &incident.Fault{Kind: kind, Doing: doing, Next: next, Err: err}
}

func kindOf(err error) (incident.Kind, string) {
	var told *v1.Error
	var way *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return incident.TimedOut, "raise prometheus.timeout, or shorten prometheus.window"
	case errors.As(err, &told):
		return kindOfAnswer(told)
	case errors.As(err, &way):
		return incident.Unreachable, "check prometheus.url, and that the worker may reach it"
	}
	return incident.Unreachable, "check prometheus.url and prometheus.ca_file"
}

// kindOfAnswer sorts what Prometheus, or a proxy before it, answered. The
// client library words a refusal "client error: 403".
func kindOfAnswer(told *v1.Error) (incident.Kind, string) {
	switch told.Type {
	case v1.ErrTimeout, v1.ErrCanceled:
		return incident.TimedOut, "Prometheus itself gave up; shorten prometheus.window"
	case v1.ErrBadData, v1.ErrExec:
		return incident.Invalid, ""
	case v1.ErrClient:
		return incident.Forbidden, "check prometheus.token and prometheus.url"
	}
	return incident.Unreachable, ""
}
