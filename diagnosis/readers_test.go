package diagnosis

import (
	"strings"
	"testing"
)

// reading runs one reader on a text with captures "name=value", nil when it
// refuses the line.
func reading(t *testing.T, name, text string, captures ...string) *Reading {
	t.Helper()
	m := Match{Captures: map[string]string{}}
	for _, pair := range captures {
		key, value, _ := strings.Cut(pair, "=")
		m.Captures[key] = value
	}
	if !readers[name].line(&m, text) {
		return nil
	}
	if m.Reading == nil {
		return &Reading{}
	}
	return m.Reading
}

const (
	smiHead = "| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |\n"
	smiIdle = "| N/A   33C    P0    40W / 300W |  30000MiB / 32480MiB |      0%      Default |\n"
	smiBusy = "| N/A   66C    P0   290W / 300W |  30000MiB / 32480MiB |     99%      Default |\n"
	smiFree = "| N/A   33C    P0    40W / 300W |      3MiB / 32480MiB |      0%      Default |\n"
	smiNone = "| Processes:                                                       GPU Memory |\n|  No running processes found                                                 |\n"
	smiOne  = "| Processes:                                                       GPU Memory |\n|    0   N/A  N/A      1234      C   python3                         29990MiB |\n"
)

func TestLineReaders(t *testing.T) {
	cases := []struct {
		name, reader, text string
		captures           []string
		cause              string // "" when the line says nothing
		sure               bool
	}{
		{"memory of an idle GPU nobody owns", "gpu-table", smiHead + smiIdle + smiNone, nil, "other-process-on-gpu", true},
		{"its process is listed", "gpu-table", smiHead + smiIdle + smiOne, nil, "", false},
		{"a container does not see who works", "gpu-table", smiHead + smiBusy + smiNone, nil, "", false},
		{"an empty GPU", "gpu-table", smiHead + smiFree + smiNone, nil, "", false},
		{"the list of processes is cut off", "gpu-table", smiHead + smiIdle, nil, "", false},

		{"no GPU offered", "node-resources", "Capacity:\n cpu: 16\n memory: 1Ki\n pods: 110\nAllocatable:\n cpu: 16\n memory: 1Ki\n pods: 110\n", nil, "device-plugin-not-registered", true},
		{"GPUs offered", "node-resources", "Capacity:\n cpu: 16\n nvidia.com/gpu: 8\nAllocatable:\n cpu: 16\n nvidia.com/gpu: 8\n pods: 110\n", nil, "", false},
		{"one withdrawn", "node-resources", "Capacity:\n cpu: 16\n nvidia.com/gpu: 8\nAllocatable:\n cpu: 16\n nvidia.com/gpu: 7\n pods: 110\n", nil, "unhealthy-gpu-device", true},
		{"one withdrawn, in JSON", "node-resources", "\"allocatable\": {\n \"cpu\": \"16\",\n \"nvidia.com/gpu\": \"7\"\n},\n\"capacity\": {\n \"cpu\": \"16\",\n \"nvidia.com/gpu\": \"8\"\n}\n", nil, "unhealthy-gpu-device", true},
		{"cut off", "node-resources", "Allocatable:\n cpu: 16\n", nil, "", false},

		{"queue and full cache", "serving-load", "", []string{"running=34", "waiting=18", "cache_percent=99.2", "generation_rate=700"}, "queue-saturation-or-batching", true},
		{"full cache, nobody waits", "serving-load", "", []string{"running=8", "waiting=0", "cache_percent=91.6", "generation_rate=239"}, "queue-saturation-or-batching", false},
		{"no token", "serving-load", "", []string{"running=3", "waiting=0", "cache_percent=0.7", "generation_rate=0.0"}, "engine-dead-or-hung", false},
		{"idle", "serving-load", "", []string{"running=0", "waiting=0", "cache_percent=0.0", "generation_rate=0.0"}, "", false},
		{"well", "serving-load", "", []string{"running=12", "waiting=1", "cache_percent=40", "generation_rate=900"}, "", false},

		{"just over a limit", "round-limit", "", []string{"elapsed_seconds=300.029"}, "-", false},
		{"no limit", "round-limit", "", []string{"elapsed_seconds=312.4"}, "", false},

		{"half taken before the start", "startup-memory", "", []string{"free_gib=10.4", "total_gib=79.2"}, "other-process-on-gpu", true},
		{"asked for too much", "startup-memory", "", []string{"free_gib=21.4", "total_gib=23.6"}, "memory-reservation-config", true},

		{"a large request", "request-size", "", []string{"bytes=7406166528"}, "true-capacity-oom", true},
		{"a small one", "request-size", "", []string{"bytes=176.00MiB"}, "memory-reservation-config", false},

		{"pieces in the summary", "torch-memory-summary", "CUDA OOMs: 1 | Allocated memory | 1062 MB | GPU reserved memory | 12420 MB |", nil, "memory-fragmentation", true},
		{"full in the summary", "torch-memory-summary", "CUDA OOMs: 1 | Allocated memory | 12000 MB | GPU reserved memory | 12420 MB |", nil, "true-capacity-oom", true},
		{"a summary without a failure", "torch-memory-summary", "CUDA OOMs: 0 | Allocated memory | 1062 MB | GPU reserved memory | 12420 MB |", nil, "", false},

		{"a full pool", "bfc-statistics", "Limit:  1000\nInUse:  950\nMaxInUse: 950\nLargestFreeBlock: 0", nil, "true-capacity-oom", true},
		{"a pool in pieces", "bfc-statistics", "Limit:  1000\nInUse:  500\nMaxInUse: 950\nLargestFreeBlock: 100", nil, "memory-fragmentation", true},

		{"work and idleness by turns", "utilisation-rows", "# gpu sm mem\n    0    97    61\n    0     0     0\n    0     0     0\n    0     0     0\n    0    94    58\n    0     1     0\n", nil, "-", false},
		{"steady work", "utilisation-rows", "# gpu sm mem\n    0    97    61\n    0    96    60\n    0    99    60\n    0     0     0\n    0    94    58\n    0    91    50\n", nil, "", false},
	}
	for _, tc := range cases {
		got := reading(t, tc.reader, tc.text, tc.captures...)
		switch {
		case tc.cause == "":
			if got != nil {
				t.Errorf("%s: got %+v, want nothing", tc.name, got)
			}
		case got == nil:
			t.Errorf("%s: nothing was read", tc.name)
		case tc.cause == "-": // the signature's own cause stands
			if len(got.Causes) > 0 || got.Meaning == "" {
				t.Errorf("%s: got %+v", tc.name, got)
			}
		case len(got.Causes) == 0 && tc.reader == "gpu-table":
			if got.Meaning == "" {
				t.Errorf("%s: got %+v", tc.name, got)
			}
		case got.Causes[0] != tc.cause || got.Weight >= sure != tc.sure:
			t.Errorf("%s: got %s with %.2f", tc.name, got.Causes[0], got.Weight)
		}
	}
}

// told makes a series for each list of numbers; odd ones are parts of the even.
func told(ranks ...[]float64) []*series {
	var out []*series
	for _, values := range ranks {
		s := &series{}
		for _, value := range values {
			s.add(value)
		}
		out = append(out, s)
	}
	return out
}

func TestSeriesReaders(t *testing.T) {
	steps := told([]float64{0.15, 67, 0.15, 15})
	steps[0].other = told([]float64{0.001, 66.9, 0.001, 14.9})[0]
	start := told([]float64{32.3, 0.35, 0.35, 0.35})
	start[0].other = told([]float64{29.2, 0.001, 0.001, 0.001})[0]
	fast := told([]float64{0.5, 0.5, 0.5, 0.5})
	fast[0].other = told([]float64{0.2, 0.01, 0.01, 0.01})[0]
	cases := []struct {
		name   string
		weigh  func([]*series) *Reading
		ranks  []*series
		speaks bool
	}{
		{"steps wait for data", weighStepTimes, steps, true},
		{"steps do not wait", weighStepTimes, fast, false},
		{"the first step waits for the workers to start", weighStepTimes, start, false},
		{"no part of the steps is told", weighStepTimes, told([]float64{1, 2, 3, 4}), false},
		{"memory grows on one rank", weighGrowth, told([]float64{10, 10, 10, 10}, []float64{10, 12, 14, 17}), true},
		{"memory goes up and down", weighGrowth, told([]float64{10, 14, 9, 15, 10, 14}), false},
		{"memory grows a little", weighGrowth, told([]float64{10, 10.1, 10.2, 10.3}), false},
		{"too few readings", weighGrowth, told([]float64{10, 20, 30}), false},
		{"each step slower", weighSlowerSteps, told([]float64{100, 105.1, 105.2, 106, 110, 111}), true},
		{"steps scatter", weighSlowerSteps, told([]float64{105, 100, 111, 104, 110, 112}), false},
		{"a little slower", weighSlowerSteps, told([]float64{100, 100.1, 100.2, 100.3, 100.4}), false},
		{"nothing told", weighSlowerSteps, told(nil), false},
	}
	for _, tc := range cases {
		if got := tc.weigh(tc.ranks); (got != nil) != tc.speaks {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

func TestSizeOf(t *testing.T) {
	for text, want := range map[string]float64{"1.44 GiB": 1.44 * gib, "512MB": 512 * mib, "204.80 KiB": 204.8 * kib, "7406166528": 7406166528, "0 bytes": 0, "12.3 GB": 12.3 * gib, "2 TiB": 2 * gib * kib} {
		if got, ok := sizeOf(text); !ok || got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "GiB", "..", "1.2.3 GiB"} {
		if got, ok := sizeOf(text); ok {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}
