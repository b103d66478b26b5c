package commtest

import (
	"fmt"
	"strings"
)

// broken is the strongest positive evidence of a fault, "" when there is none.
func broken(logs []RankLog, want Want) string {
	if e, node, found := firstError(logs); found {
		return describe(e, node, want)
	}
	for _, log := range logs {
		for _, point := range log.points {
			if point.Wrong > 0 {
				return fmt.Sprintf("%d wrong elements after %s of %s: data was corrupted on its way", point.Wrong, point.op(), bytesText(point.Bytes))
			}
		}
		for _, end := range log.ends {
			if !end.OK {
				return fmt.Sprintf("rank %d on %s reported a bad end", log.Rank, log.Node)
			}
		}
	}
	for _, log := range logs {
		if log.Exit != nil && log.Exit.Code != 0 {
			return fmt.Sprintf("rank %d on %s died after its start: exit code %d: %s", log.Rank, log.Node, log.Exit.Code, log.last)
		}
	}
	return ""
}

// firstError prefers what a rank saw itself over what it was told, that over
// having waited in vain, and an error that names missing ranks over one that
// does not.
func firstError(logs []RankLog) (event, string, bool) {
	best, node, weight := event{}, "", 0
	for _, log := range logs {
		for _, e := range log.errors {
			w := 1
			if !e.Echo {
				w += 4
			}
			if !e.TimedOut {
				w += 2
			}
			if len(e.Missing) > 0 {
				w++
			}
			if w > weight {
				best, node, weight = e, log.Node, w
			}
		}
	}
	return best, node, weight > 0
}

func describe(e event, node string, want Want) string {
	text := fmt.Sprintf("rank %d on %s: error in phase %s", e.Rank, node, e.Phase)
	if len(e.Missing) > 0 {
		text += ": did not reach " + rankList(e.Missing, want.ranks())
	}
	if e.Detail != "" {
		text += ": " + clip(e.Detail, 300)
	}
	return text
}

func rankList(ranks []int, all int) string {
	if len(ranks) == all-1 && all > 2 {
		return "any other rank"
	}
	words := make([]string, 0, len(ranks))
	for i, rank := range ranks {
		if i == 8 {
			words = append(words, fmt.Sprintf("and %d more", len(ranks)-i))
			break
		}
		words = append(words, fmt.Sprint(rank))
	}
	if len(words) == 1 {
		return "rank " + words[0]
	}
	return "ranks " + strings.Join(words, ", ")
}
