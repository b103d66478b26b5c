package netpol

import (
	"fmt"
	"slices"
	"strings"
)

// PortRange is a closed range of port numbers.
type PortRange struct {
	First int32 `json:"first"`
	Last  int32 `json:"last"`
}

// allPorts is every port a packet can carry.
var allPorts = PortRange{First: 0, Last: 65535}

// String writes "32768-60999", or "53" for a range of one.
func (r PortRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Format writes ranges as people do: "32768-39999, 50001-60999".
func Format(ranges []PortRange) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = r.String()
	}
	return strings.Join(parts, ", ")
}

// Merge sorts ranges and joins those that touch.
func Merge(ranges []PortRange) []PortRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var merged []PortRange
	for _, r := range sorted {
		if last := len(merged) - 1; last >= 0 && r.First <= merged[last].Last+1 {
			merged[last].Last = max(merged[last].Last, r.Last)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// subtract returns what of whole no range covers. The ranges are merged.
func subtract(whole PortRange, ranges []PortRange) []PortRange {
	var left []PortRange
	next := whole.First
	for _, r := range ranges {
		if r.Last < next {
			continue
		}
		if r.First > whole.Last {
			break
		}
		if r.First > next {
			left = append(left, PortRange{next, r.First - 1})
		}
		next = r.Last + 1
	}
	if next <= whole.Last {
		left = append(left, PortRange{next, whole.Last})
	}
	return left
}
