package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// span says the window for people.
func (a *asker) span() string {
	return "the last " + short(a.hands.Settings.Window)
}

// short writes "1h" for people instead of "1h0m0s".
func short(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func size(bytes float64) string { return fmt.Sprintf("%.1f GiB", bytes/gib) }

// sortedKeys lists a map's keys in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// some lists a few words and counts the rest.
func some(words []string) string {
	const few = 4
	if len(words) <= few {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:few], ", "), len(words)-few)
}
