package prometheus_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"gpumedic/lab/prometheus"
)

// midday is now in all tests.
var midday = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func start(t *testing.T, options prometheus.Options) *prometheus.Server {
	t.Helper()
	options.Now = func() time.Time { return midday }
	server, err := prometheus.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func client(t *testing.T, server *prometheus.Server) v1.API {
	t.Helper()
	c, err := api.NewClient(api.Config{Address: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	return v1.NewAPI(c)
}

// counter grows by one every second since an hour before midday.
func counter(at time.Time) (float64, bool) {
	return at.Sub(midday.Add(-time.Hour)).Seconds(), true
}

func TestTheEngineIsReal(t *testing.T) {
	server := start(t, prometheus.Options{})
	asked := client(t, server)
	server.Feed(
		prometheus.Series{Name: "seconds_total", Labels: map[string]string{"pod": "a"}, At: counter},
		prometheus.Series{Name: "seconds_total", Labels: map[string]string{"pod": "b"}, At: counter},
		prometheus.Series{Name: "limit", Labels: map[string]string{"pod": "a"}, At: prometheus.Always(4)},
	)
	for query, want := range map[string]string{
		`round(sum(rate(seconds_total[5m])), 0.01)`:             `{} => 2 @[1795521600]`,
		`round(rate(seconds_total[5m]) / limit, 0.01)`:          `{pod="a"} => 0.25 @[1795521600]`,
		`seconds_total{pod=~"a|c"}`:                             `seconds_total{pod="a"} => 3600 @[1795521600]`,
		`max_over_time(seconds_total{pod="b"}[10m] offset 30m)`: `{pod="b"} => 1800 @[1795521600]`,
		`no_such_metric`: ``,
	} {
		got, warnings, infos, err := asked.Query(t.Context(), query, midday)
		if err != nil || got.String() != want || len(warnings) > 0 {
			t.Errorf("%s\n got %v, warnings %v, error %v\nwant %s", query, got, warnings, err, want)
		}
		if len(infos) == 0 || infos[len(infos)-1] != prometheus.Simulated {
			t.Errorf("%s: the answer does not say that it is simulated: %v", query, infos)
		}
	}
}

func TestASeriesBeginsAndEnds(t *testing.T) {
	server := start(t, prometheus.Options{})
	from, to := midday.Add(-30*time.Minute), midday.Add(-10*time.Minute)
	server.Feed(prometheus.Series{Name: "up", At: func(at time.Time) (float64, bool) {
		return 1, !at.Before(from) && at.Before(to)
	}})
	span := v1.Range{Start: midday.Add(-time.Hour), End: midday.Add(time.Hour), Step: time.Minute}
	got, _, _, err := client(t, server).QueryRange(t.Context(), "up", span)
	if err != nil {
		t.Fatal(err)
	}
	points := got.(model.Matrix)[0].Values
	if first, last := points[0].Timestamp.Time(), points[len(points)-1].Timestamp.Time(); !first.Equal(from) || !last.Equal(to.Add(-time.Minute)) {
		t.Errorf("the series is there from %s to %s; it lives from %s and is marked stale at %s", first.UTC(), last.UTC(), from, to)
	}
}

func TestNothingIsKnownOfTheFuture(t *testing.T) {
	server := start(t, prometheus.Options{})
	server.Feed(prometheus.Series{Name: "up", At: prometheus.Always(1)})
	got, _, _, err := client(t, server).Query(t.Context(), "up", midday.Add(6*time.Minute))
	if err != nil || len(got.(model.Vector)) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSourcesComeAndGo(t *testing.T) {
	server := start(t, prometheus.Options{})
	pods := []string{"a"}
	server.FeedFrom(func() (all []prometheus.Series) {
		for _, pod := range pods {
			all = append(all, prometheus.Series{Name: "up", Labels: map[string]string{"pod": pod}, At: prometheus.Always(1)})
		}
		return all
	})
	count := func() int {
		got, _, _, err := client(t, server).Query(t.Context(), "up", midday)
		if err != nil {
			t.Fatal(err)
		}
		return len(got.(model.Vector))
	}
	first := count()
	pods = append(pods, "b")
	second := count()
	server.Forget()
	if third := count(); first != 1 || second != 2 || third != 0 {
		t.Errorf("series seen: %d, %d, %d", first, second, third)
	}
}

func TestErrorsAreThoseOfPrometheus(t *testing.T) {
	server := start(t, prometheus.Options{})
	server.Feed(prometheus.Series{Name: "x", At: prometheus.Always(1)}, prometheus.Series{Name: "x", At: prometheus.Always(2)})
	asked := client(t, server)
	for query, want := range map[string]v1.ErrorType{`rate(`: v1.ErrBadData, `sum(x)`: v1.ErrExec} {
		_, _, _, err := asked.Query(t.Context(), query, midday)
		var told *v1.Error
		if !errors.As(err, &told) || told.Type != want {
			t.Errorf("%s: %v", query, err)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/query_range?query=x&start=0&end=1&step=0":            `400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}`,
		"/api/v1/query_range?query=x&start=1&end=0&step=1":            `400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}`,
		"/api/v1/query_range?query=x&start=0&end=86400&step=1":        `400 {"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}`,
		"/api/v1/query_range?query=x&start=tomorrow&end=1&step=1":     `400 {"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": cannot parse \"tomorrow\" to a valid timestamp"}`,
		"/api/v1/query?query=" + url.QueryEscape(`1 + 1`) + "&time=0": `200 {"status":"success","data":{"resultType":"scalar","result":[0,"2"]},"infos":["` + prometheus.Simulated + `"]}`,
		"/api/v1/labels": "404 404 page not found",
	} {
		if got := get(t, server.URL()+path); got != want {
			t.Errorf("%s\n got %s\nwant %s", path, got, want)
		}
	}
}

func TestTheTokenIsAsked(t *testing.T) {
	server := start(t, prometheus.Options{Token: "secret"})
	if got := get(t, server.URL()+"/api/v1/query?query=1"); got != "401 Unauthorized" {
		t.Errorf("got %s", got)
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.Status[:4] + strings.TrimSpace(string(body))
}
