package cluster

import (
	"cmp"
	"slices"

	"gpumedic/diagnosis"
)

// waitsNamed is how many logs of those that wait longest are named.
const waitsNamed = 3

// longestWaits are the logs of the ranks that wait longest for their input, the
// longest first: that is where the probe of storage goes.
func (t transcript) longestWaits(collector *diagnosis.Collector) []string {
	type wait struct {
		log   string
		share float64
	}
	var waits []wait
	for _, log := range t.logs {
		if share, lines := collector.InputShare(log.Name); lines > 0 {
			waits = append(waits, wait{log.Name, share})
		}
	}
	slices.SortStableFunc(waits, func(a, b wait) int { return cmp.Compare(b.share, a.share) })
	var names []string
	for _, one := range waits[:min(len(waits), waitsNamed)] {
		names = append(names, one.log)
	}
	return names
}
