package diagnosis

import (
	"fmt"
	"math"
	"strconv"
)

// number reads a capture, 0 when it is missing.
func number(m *Match, name string) float64 {
	value, err := strconv.ParseFloat(m.Captures[name], 64)
	if err != nil {
		return 0
	}
	return value
}

// readServingLoad reads a server's periodic line: how many requests run and wait,
// how fast, and how full the cache of keys and values is.
func readServingLoad(m *Match, _ string) bool {
	running, waiting := number(m, "running"), number(m, "waiting")
	full, rate := number(m, "cache_percent"), number(m, "prompt_rate")+number(m, "generation_rate")
	saturated := []string{"queue-saturation-or-batching"}
	switch {
	case full >= 85 && waiting >= 1:
		m.Reading = &Reading{Causes: saturated, Weight: 0.8,
			Meaning: fmt.Sprintf("%.0f requests wait while the cache is %.0f %% full", waiting, full)}
	case waiting >= 10 && waiting > 2*running:
		m.Reading = &Reading{Causes: saturated, Weight: 0.6, Meaning: fmt.Sprintf("%.0f requests wait for %.0f that run", waiting, running)}
	case full >= 90:
		m.Reading = &Reading{Causes: saturated, Weight: 0.42, Meaning: fmt.Sprintf("the cache is %.0f %% full", full)}
	case running >= 1 && rate == 0:
		m.Reading = &Reading{Causes: []string{"engine-dead-or-hung"}, Weight: 0.45,
			Meaning: fmt.Sprintf("%.0f requests run and no token comes", running)}
	default:
		return false
	}
	return true
}

// roundLimits are what people set as limits, in seconds.
var roundLimits = []float64{10, 15, 20, 30, 45, 60, 90, 100, 120, 180, 240, 300, 600, 900, 1800, 3600}

// readRoundLimit takes a duration that is just over a round limit for one that a
// limit ended.
func readRoundLimit(m *Match, _ string) bool {
	took := number(m, "elapsed_seconds") + number(m, "elapsed_ms")/1000
	for _, limit := range roundLimits {
		if over := took - limit; over >= 0 && over <= math.Max(0.05, 0.003*limit) {
			m.Reading = &Reading{Meaning: fmt.Sprintf("it ended after %.2f s, just over a limit of %.0f s", took, limit)}
			return true
		}
	}
	return false
}

// readStartupMemory tells what keeps a server from its share of the memory: a GPU
// that is half taken before it starts is used by others, one that is nearly free is
// asked for too much.
func readStartupMemory(m *Match, _ string) bool {
	free, total := number(m, "free_gib"), number(m, "total_gib")
	if total == 0 {
		return true
	}
	const foreign, reservation = "other-process-on-gpu", "memory-reservation-config"
	m.Reading = &Reading{Meaning: fmt.Sprintf("%.1f of %.1f GiB were free before the server took any", free, total)}
	switch share := free / total; {
	case share < 0.6:
		m.Reading.Causes, m.Reading.Weight = []string{foreign, reservation, "mig-or-sharing-config"}, 0.66
	case share < 0.85:
		m.Reading.Causes, m.Reading.Weight = []string{reservation, foreign, "mig-or-sharing-config"}, 0.55
	default:
		m.Reading.Causes, m.Reading.Weight = []string{reservation}, 0.75
	}
	return true
}
