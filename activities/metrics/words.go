package metrics

import (
	"fmt"
	"maps"
	"slices"

	"gpumedic/incident"
)

// span says the window for people.
func (a *asker) span() string {
	return "the last " + incident.Short(a.hands.Settings.Window)
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func size(bytes float64) string { return fmt.Sprintf("%.1f GiB", bytes/gib) }

// sortedKeys lists a map's keys in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
