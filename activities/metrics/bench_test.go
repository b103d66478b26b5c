package metrics

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gpumedic/incident"
	"gpumedic/steps"
)

// BenchmarkThousandRanks is both checks over a job of 1,000 ranks with 8 GPUs each.
// The Prometheus answers at once and the same to everything: what it takes for its
// queries is not measured, the way of 8,000 series through ours is.
func BenchmarkThousandRanks(b *testing.B) {
	const ranks, gpus = 1000, 8
	instants, curves := answersFor(ranks, gpus)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := instants
		if strings.HasSuffix(r.URL.Path, "query_range") {
			body = curves
		}
		_, _ = w.Write(body) // the client's error tells
	}))
	defer server.Close()
	h := hands(b)
	api, err := Connect(Way{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	h.API = api
	var pods []string
	for i := range ranks {
		pods = append(pods, fmt.Sprintf("llama-%d", i))
	}
	p := params(b, h, pods...)
	for name, check := range checks(h) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				result, err := check(b.Context(), p)
				if err != nil || len(result.Findings) == 0 || result.Findings[0].State == incident.Unknown && name == "check-gpu-metrics" {
					b.Fatal(result.Findings, err)
				}
			}
		})
	}
}

func checks(h *Hands) map[string]func(context.Context, steps.CheckParams) (steps.CheckResult, error) {
	return map[string]func(context.Context, steps.CheckParams) (steps.CheckResult, error){
		"check-gpu-metrics": h.CheckGPUMetrics, "check-data-metrics": h.CheckDataMetrics}
}

// answersFor are a vector and a matrix with a series for each GPU.
func answersFor(ranks, gpus int) (instants, curves []byte) {
	var vector, matrix []string
	var points []string
	for i := range maxPoints {
		points = append(points, fmt.Sprintf(`[%d,"%d"]`, midday.Unix()-int64(60*(maxPoints-1-i)), 40+i%10))
	}
	for i := range ranks * gpus {
		metric := fmt.Sprintf(`{"metric":{"namespace":"training","pod":"llama-%d","gpu":"%d","node":"gpu-00"},`, i/gpus, i%gpus)
		vector = append(vector, metric+fmt.Sprintf(`"value":[%d,"40"]}`, midday.Unix()))
		matrix = append(matrix, metric+`"values":[`+strings.Join(points, ",")+`]}`)
	}
	envelope := `{"status":"success","data":{"resultType":%q,"result":[%s]}}`
	return fmt.Appendf(nil, envelope, "vector", strings.Join(vector, ",")), fmt.Appendf(nil, envelope, "matrix", strings.Join(matrix, ","))
}
