package prometheus

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// Simulated is the info that comes with every answer.
const Simulated = "simulated: the series come from gpumedic's lab"

// maxPoints bounds the points of a range query, as Prometheus does.
const maxPoints = 11000

// answer is the envelope of every response.
type answer struct {
	Status    string   `json:"status"`
	Data      any      `json:"data,omitempty"`
	ErrorType string   `json:"errorType,omitempty"`
	Error     string   `json:"error,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	Infos     []string `json:"infos,omitempty"`
}

type data struct {
	ResultType parser.ValueType `json:"resultType"`
	Result     parser.Value     `json:"result"`
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		mux.HandleFunc(method+" /api/v1/query", s.serve(s.askInstant))
		mux.HandleFunc(method+" /api/v1/query_range", s.serve(s.askSpan))
	}
	return s.guarded(mux)
}

// guarded lets only those in who present the token. Prometheus has no such
// thing; the proxy that stands before it in most clusters has.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "Bearer " + s.options.Token
		if s.options.Token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) != 1 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wrong is a parameter that cannot be read.
type wrong struct{ error }

// serve runs a query that a request asks for.
func (s *Server) serve(ask func(context.Context, *http.Request) (promql.Query, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		bound, err := boundOf(r)
		if err != nil {
			refuse(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), bound)
		defer cancel()
		query, err := ask(ctx, r)
		if err != nil {
			refuse(w, err)
			return
		}
		defer query.Close()
		result := query.Exec(ctx)
		if result.Err != nil {
			refuse(w, result.Err)
			return
		}
		warnings, infos := result.Warnings.AsStrings(query.String(), 10, 10)
		respond(w, http.StatusOK, answer{Status: "success", Data: data{result.Value.Type(), result.Value},
			Warnings: warnings, Infos: append(infos, Simulated)})
	}
}

func (s *Server) askInstant(ctx context.Context, r *http.Request) (promql.Query, error) {
	at := s.options.Now()
	if r.FormValue("time") != "" {
		var err error
		if at, err = readTime(r, "time"); err != nil {
			return nil, err
		}
	}
	query, err := s.instant(ctx, r.FormValue("query"), at)
	return query, invalid(err, "query")
}

func (s *Server) askSpan(ctx context.Context, r *http.Request) (promql.Query, error) {
	from, err := readTime(r, "start")
	if err != nil {
		return nil, err
	}
	to, err := readTime(r, "end")
	if err != nil {
		return nil, err
	}
	step, err := readDuration(r.FormValue("step"))
	switch {
	case err != nil:
		return nil, invalid(err, "step")
	case to.Before(from):
		return nil, invalid(errors.New("end timestamp must not be before start time"), "end")
	case step <= 0:
		return nil, invalid(errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"), "step")
	case to.Sub(from)/step > maxPoints:
		return nil, wrong{errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)")}
	}
	query, err := s.span(ctx, r.FormValue("query"), from, to, step)
	return query, invalid(err, "query")
}

// invalid says which parameter is wrong; nil stays nil.
func invalid(err error, parameter string) error {
	if err == nil {
		return nil
	}
	return wrong{fmt.Errorf("invalid parameter %q: %w", parameter, err)}
}

// boundOf is the parameter timeout, else the engine's own bound.
func boundOf(r *http.Request) (time.Duration, error) {
	text := r.FormValue("timeout")
	if text == "" {
		return queryTimeout, nil
	}
	bound, err := readDuration(text)
	return bound, invalid(err, "timeout")
}

// readTime takes seconds since 1970 or RFC 3339.
func readTime(r *http.Request, parameter string) (time.Time, error) {
	text := r.FormValue(parameter)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, invalid(fmt.Errorf("cannot parse %q to a valid timestamp", text), parameter)
	}
	return at, nil
}

// readDuration takes seconds or Prometheus's own form, 5m.
func readDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(seconds) < math.MaxInt64/1e9 {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("cannot parse %q to a valid duration", text)
	}
	return time.Duration(d), nil
}

// refuse answers with Prometheus's type and status for an error.
func refuse(w http.ResponseWriter, err error) {
	kind, status := "execution", http.StatusUnprocessableEntity
	var bad wrong
	var late promql.ErrQueryTimeout
	var gone promql.ErrQueryCanceled
	var broken promql.ErrStorage
	switch {
	case errors.As(err, &bad):
		kind, status = "bad_data", http.StatusBadRequest
	case errors.As(err, &late):
		kind, status = "timeout", http.StatusServiceUnavailable
	case errors.As(err, &gone), errors.Is(err, context.Canceled):
		kind, status = "canceled", 499 // the client went away; nginx's number, which Prometheus uses
	case errors.As(err, &broken):
		kind, status = "internal", http.StatusInternalServerError
	}
	respond(w, status, answer{Status: "error", ErrorType: kind, Error: err.Error()})
}

func respond(w http.ResponseWriter, status int, body answer) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that went away needs no answer
}
